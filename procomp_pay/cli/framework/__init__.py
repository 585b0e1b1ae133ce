"""Shared by all commands: the console, the context of a run, options, formats, help pages, errors."""
