"""The pages that a customer's browser shows: HTML for people, no part of the API."""
