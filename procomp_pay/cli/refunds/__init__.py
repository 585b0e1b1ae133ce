"""Refunds: one payment, a whole tournament, or a record of one made in the Kaspi Pay app."""
