"""Channels to people and to the platform: SMTP, and signed POSTs over HTTP."""
