"""Manual verification of Kaspi payments."""
