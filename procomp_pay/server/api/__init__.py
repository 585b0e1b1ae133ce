"""Routes, and the models of their requests and responses."""
