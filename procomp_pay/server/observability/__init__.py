"""Logs, metrics and the health report."""
