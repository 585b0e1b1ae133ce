"""Compare our books with the providers', and resolve discrepancies."""
