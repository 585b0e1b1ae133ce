"""Queries of tournaments, participants, persons and terms."""
