"""Queries of the tables of operators."""
