"""Commands that write files for accounting."""
