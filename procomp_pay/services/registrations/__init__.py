"""Tournaments, participants and persons: terms, lists from files, search, reminders, erasure."""
