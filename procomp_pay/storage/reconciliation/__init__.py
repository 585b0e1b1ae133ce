"""Discrepancies, settlements, and the staging tables of a comparison."""
