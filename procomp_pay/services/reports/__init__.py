"""The report of a period, and the closing sheet of a tournament."""
