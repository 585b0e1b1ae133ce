"""Which column of a statement means what, and how its cells are read."""
