"""Check who calls: bearer tokens, and the keys that they are signed with."""
