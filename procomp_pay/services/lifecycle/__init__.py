"""The life of a payment after its start: creation at the provider, polling, expiry and cancellation."""
