"""Statements as CSV: line by line, and fast in blocks of columns."""
