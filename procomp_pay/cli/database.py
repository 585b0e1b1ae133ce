"""``db``: set the database up, and say how it stands."""

from __future__ import annotations

from typing import Any

import typer

from procomp_pay.cli.common import JsonOption, clean, print_json, settings
from procomp_pay.domain.errors import DatabaseUnavailable

_UPGRADE = """[bold]Examples[/]

  procomp-pay db upgrade

Safe to run again, and by several processes at once. Make a backup first."""
_STATUS = """[bold]Examples[/]

  procomp-pay db status
  procomp-pay db status --json

Exit code 5: it cannot be reached, or has no tables yet."""


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Set the database up, look at it.")
    group.command(epilog=_UPGRADE)(upgrade)
    group.command(epilog=_STATUS)(status)
    app.add_typer(group, name="db")


def upgrade(as_json: JsonOption = False) -> None:
    """Bring the database to the newest revision, without losing anything."""
    from procomp_pay.storage import migrate

    url = settings().url
    before = migrate.current(url)
    migrate.upgrade(url)
    after = migrate.current(url)
    if as_json:
        print_json({"where": _where(url), "before": before, "revision": after})
    elif before == after:
        typer.echo(f"{_sentence(url)} is up to date (revision {after})")
    else:
        typer.echo(f"{_sentence(url)} is now at revision {after} (before: {before or 'empty'})")


def status(as_json: JsonOption = False) -> None:
    """The database: where it is, its revision, and what is pending."""
    url = settings().url
    found = examine(url)
    if as_json:
        print_json(found)
    else:
        typer.echo(f"{_sentence(url)} is at revision {found['revision']}, the newest is {found['head']}")
        typer.echo(
            "Nothing is pending"
            if not found["pending"]
            else f"Pending: {', '.join(found['pending'])}\n  → procomp-pay db upgrade"
        )


def examine(url: str) -> dict[str, Any]:
    """Where the database is and how far it is set up.

    :raises DatabaseUnavailable: no connection, no file, or no tables of ours.
    """
    from procomp_pay.storage import migrate

    now = migrate.current(url)
    if now is None:
        raise DatabaseUnavailable(
            f"{_sentence(url)} is not set up yet: it has no tables of procomp-pay",
            next_step="procomp-pay db upgrade",
        )
    return {
        "where": _where(url),
        "revision": now,
        "head": migrate.head(),
        "pending": migrate.pending(url),
    }


def _where(url: str) -> str:
    from procomp_pay.storage import urls

    return clean(urls.describe(urls.parse(url)))


def _sentence(url: str) -> str:
    where = _where(url)
    return where[:1].upper() + where[1:]
