"""Stripe and Kaspi, reached over real HTTP. They return plain values; they never write."""
