"""Discrepancies, movements, and the staging tables of a comparison."""
