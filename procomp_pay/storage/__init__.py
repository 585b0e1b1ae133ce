"""The storage floor: tables, migrations, sessions and what is encrypted in them.

Nothing is imported here, so that a command pays only for the module it uses.
"""
