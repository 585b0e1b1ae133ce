"""The HTTP server: the API, the webhooks and the background loops."""
