"""The inbox of webhook events, and the cursors of their lists."""
