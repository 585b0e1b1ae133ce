"""Operators: accounts, logins, approvals."""
