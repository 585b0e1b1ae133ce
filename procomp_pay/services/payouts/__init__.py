"""Payouts: fetched from the providers, matched with the bank's lines, shown."""
