"""The demo: a tournament morning with real processes."""
