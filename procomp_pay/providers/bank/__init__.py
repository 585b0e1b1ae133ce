"""Statements of the bank account that providers pay to: 1C's text, MT940 and CSV."""
