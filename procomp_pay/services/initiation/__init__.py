"""Start payments."""
