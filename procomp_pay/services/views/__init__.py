"""What the API, the terminal and reports show of payments, refunds and disputes."""
