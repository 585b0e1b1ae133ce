"""``db``: set the database up, and say how it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from procomp_pay.cli.framework.common import (
    AsOption,
    JsonOption,
    clean,
    hint,
    operator,
    print_json,
    run_with_context,
    say,
    settings,
)
from procomp_pay.domain.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from procomp_pay.services.context import Actor, AppContext
    from procomp_pay.services.maintenance.adoption import Adopted

_UPGRADE = """[bold]Examples[/]

  procomp-pay db upgrade

Safe to run again, and by several processes at once. Make a backup first."""
_STATUS = """[bold]Examples[/]

  procomp-pay db status
  procomp-pay db status --json

Exit code 5: it cannot be reached, or has no tables yet."""

_ADOPT = """[bold]Examples[/]

  procomp-pay db adopt --dry-run   what would be taken over, and what would not
  procomp-pay db adopt --as aida

For a platform that took payments before this desk. Its rows are read, never changed.
What is still open is asked about at its provider afterwards, by serve or maintain.
It can be stopped and run again, also beside a running serve.

Exit code 6: a person has to look at some of them first; each is named with the reason."""


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Set the database up, look at it.")
    group.command(epilog=_UPGRADE)(upgrade)
    group.command(epilog=_STATUS)(status)
    group.command(epilog=_ADOPT)(adopt)
    app.add_typer(group, name="db")


def upgrade(as_json: JsonOption = False) -> None:
    """Bring the database to the newest revision, without losing anything."""
    from procomp_pay.storage.database import migrate

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


def adopt(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    by: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take over the payments that the platform wrote without this desk."""
    using, actor = settings(), operator(by)
    examine(using.url)
    found = run_with_context(lambda ctx: _adopt(ctx, actor, dry_run=dry_run, quiet=as_json), using=using)
    if as_json:
        print_json(
            {
                "dry_run": dry_run,
                "adopted": found.taken,
                "to_be_asked": found.asked,
                "left": found.left,
                "reasons": [{"payment_id": payment, "reason": reason} for payment, reason in found.named],
            }
        )
    else:
        _show_adopted(found, dry_run=dry_run)
    if found.left:
        raise typer.Exit(6)


async def _adopt(ctx: AppContext, actor: Actor, *, dry_run: bool, quiet: bool) -> Adopted:
    from procomp_pay.cli.framework.progress import bar
    from procomp_pay.services.maintenance import adoption as use_case

    total = await use_case.size(ctx)
    with bar("looking" if dry_run else "taking over", lambda: total, quiet=quiet) as seen:
        return await use_case.adopt(ctx, actor, dry_run=dry_run, seen=seen)


def _show_adopted(found: Adopted, *, dry_run: bool) -> None:
    if not (found.taken or found.left):
        typer.echo("✓ every payment of the platform is known here already")
        return
    verb = "would be taken over" if dry_run else "taken over"
    typer.echo(f"✓ payments {verb}: {found.taken}, of which {found.asked} are asked about at their provider")
    if found.asked and not dry_run:
        hint("procomp-pay maintain")
    if found.left:
        say(f"✗ a person has to look at: {found.left}", fg="red")
    for payment, reason in found.named:
        say(f"  payment {clean(payment)} {clean(reason)}")
    if found.left > len(found.named):
        say(f"  … and {found.left - len(found.named)} more")


def examine(url: str) -> dict[str, Any]:
    """Where the database is and how far it is set up.

    :raises DatabaseUnavailable: no connection, no file, or no tables of ours.
    """
    from procomp_pay.storage.database import migrate

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
    from procomp_pay.storage.database import urls

    return clean(urls.describe(urls.parse(url)))


def _sentence(url: str) -> str:
    where = _where(url)
    return where[:1].upper() + where[1:]
