"""The use cases, called by the terminal and by the server. Transactions begin and end here."""
