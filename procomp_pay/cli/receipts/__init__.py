"""The command for receipts."""
