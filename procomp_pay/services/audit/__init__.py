"""The audit trail: show, verify, seal and archive it."""
