"""The terminal. Each module is one group of commands: parse, call a use case, show.

Heavy imports stay inside functions: ``--help``, completion and a usage error must be quick.
"""
