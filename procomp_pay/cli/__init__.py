"""The command line. A module holds one command, or one group: parse, call a service, show.

Heavy imports stay inside functions, so that ``--help``, completion and usage errors are quick.
"""
