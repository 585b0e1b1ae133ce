"""Movements of money for accounting, one row each."""
