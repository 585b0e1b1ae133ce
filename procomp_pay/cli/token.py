"""``token``: a token for the API, where we hold the secret that signs it."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the group."""
