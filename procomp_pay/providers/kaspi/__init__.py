"""Kaspi: its Public QR API in three schemes, and gateways in front of it."""
