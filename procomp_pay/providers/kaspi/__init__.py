"""Kaspi."""
