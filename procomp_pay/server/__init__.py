"""The HTTP server: the app's API, Stripe's webhook, the background loops. Parse, call a use case, answer."""
