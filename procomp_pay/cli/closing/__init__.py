"""The guided closing of a day."""
