"""Kaspi by hand: verify payments, set up devices."""
