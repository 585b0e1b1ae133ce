"""Tournaments, participants, persons and reminders."""
