"""Read, lock, list and claim payments, refunds and Kaspi operations."""
