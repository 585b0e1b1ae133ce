"""Payouts, their entries, and the bank's lines."""
