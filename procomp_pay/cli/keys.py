"""``keys``: the keys that sensitive columns are encrypted with."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, help="Keys for the encrypted columns.")
    group.command("new", epilog="[bold]Examples[/]\n\n  procomp-pay keys new")(new)
    app.add_typer(group, name="keys")


def new() -> None:
    """Make a new random key for ENCRYPTION_KEYS and print it. Put it first; keep the older ones behind it."""
    from procomp_pay.storage.crypto import new_key

    typer.echo(new_key())
