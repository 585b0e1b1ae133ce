"""What decides whether a payment may be started."""
