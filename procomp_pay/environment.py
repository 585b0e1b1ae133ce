"""Read a single value from the environment or ``.env``, where all settings are not needed.

Shell completion must answer at once, and tables are declared while modules are imported.
"""

from __future__ import annotations

import os
from pathlib import Path


def given() -> dict[str, str]:
    """Return the values by their names in lower case: of the environment, and below it of ``.env``. What is
    empty counts as not set.

    :raises OSError, UnicodeDecodeError: the file cannot be read.
    """
    values = {name.lower(): value for name, value in os.environ.items() if value}
    if (file := Path(".env")).is_file() or file.is_fifo():
        from dotenv import dotenv_values

        values = {name.lower(): value for name, value in dotenv_values(file).items() if value} | values
    return values
