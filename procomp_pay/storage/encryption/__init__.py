"""Encrypted columns: the ring of keys, and the replacement of old ones."""
