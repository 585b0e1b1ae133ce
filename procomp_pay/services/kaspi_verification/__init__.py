"""Kaspi verification."""
