"""Aggregates for reports and metrics."""
