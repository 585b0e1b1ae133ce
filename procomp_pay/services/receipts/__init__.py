"""Receipts of payments, for the customer; no fiscal receipts, whose numbers can be recorded."""
