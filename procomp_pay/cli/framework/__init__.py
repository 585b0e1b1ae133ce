"""What all commands share: the console, the context of a run, options, formats, help pages, errors."""
