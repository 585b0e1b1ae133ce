"""The Stripe side of the sandbox; `provider.StripeSandbox` is its entry."""
