"""Refunds: one, those of a tournament, and those made in the Kaspi Pay app; what a policy gives back."""
