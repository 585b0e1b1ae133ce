"""Views of payments, refunds and disputes for the API, the terminal and reports."""
