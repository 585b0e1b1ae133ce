"""The storage layer: tables, migrations, sessions and the encryption of columns.

Nothing is imported here, so that a command pays only for the module it uses.
"""
