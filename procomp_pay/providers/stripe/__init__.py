"""Stripe: payments, lists, payouts, and the webhook: its signature and its events."""
