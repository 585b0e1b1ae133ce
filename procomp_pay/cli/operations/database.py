"""``db``: set up the database, show its state, adopt a platform's payments."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.context import load_settings, operator, run_with_context
from procomp_pay.cli.framework.options import AsOption, JsonOption, command_group
from procomp_pay.domain.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from procomp_pay.services.context import Actor, AppContext
    from procomp_pay.services.maintenance.adoption import Adopted

_UPGRADE = """[bold]Examples[/]

  procomp-pay db upgrade

Safe to repeat, and to run from several processes at once. Make a backup first."""
_STATUS = """[bold]Examples[/]

  procomp-pay db status
  procomp-pay db status --json

Exit code 5: the database is unreachable, or has no tables yet."""

_ADOPT = """[bold]Examples[/]

  procomp-pay db adopt --dry-run   show what would be adopted, and what would not
  procomp-pay db adopt --as aida
  procomp-pay db adopt --assign PAYMENT=PARTICIPANT   say whose payment it is

For a platform that took payments before procomp-pay. Its rows are read, never changed.
Open payments are polled at their provider afterwards, by serve or maintain.
Can be stopped and repeated, even beside a running serve.

Exit code 6: some payments need manual review; each is listed with the reason."""


_PRISMA = """[bold]Examples[/]

  procomp-pay db prisma-config

Put the lines into defineConfig({ … }) of the platform's prisma.config.ts, so that its prisma migrate dev and
db push leave the tables of procomp-pay alone. Repeat it after an upgrade that added tables."""


_MAP = """[bold]Examples[/]

  procomp-pay db map --suggest > platform.toml   write a first map from the catalog
  procomp-pay db map                             check the map in PLATFORM_MAP

For a platform whose tables, columns or labels have other names (Prisma's @@map and @map).

Exit code 7: the platform's tables do not fit."""


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = command_group("Set up the database, show its state.")
    group.command(epilog=_UPGRADE)(upgrade)
    group.command(epilog=_STATUS)(status)
    group.command(epilog=_ADOPT)(adopt)
    group.command("map", epilog=_MAP)(show_map)
    group.command("prisma-config", epilog=_PRISMA)(prisma_config)
    app.add_typer(group, name="db")


def upgrade(as_json: JsonOption = False) -> None:
    """Upgrade the database to the newest revision. Nothing is lost."""
    from procomp_pay.storage.database import migrate

    url = load_settings().url
    before = migrate.current(url)
    adopts = before is None and migrate.has_platform(url)
    migrate.upgrade(url)
    after = migrate.current(url)
    if as_json:
        platform = None if before is not None else "adopted" if adopts else "made"
        console.print_json({"where": _where(url), "before": before, "revision": after, "platform": platform})
    elif before == after:
        typer.echo(f"{_sentence(url)} is up to date (revision {after})")
    else:
        typer.echo(f"{_sentence(url)} is now at revision {after} (before: {before or 'empty'})")
        if before is None:
            typer.echo(
                "The platform's tables were there: they are adopted, and not changed\n"
                "  → procomp-pay db adopt --dry-run"
                if adopts
                else "The platform's tables were not there: they are made, for a desk that stands alone"
            )


def show_map(
    suggest: Annotated[
        bool, typer.Option("--suggest", help="Print a first map, from the names in the database.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check the map of the platform's names, or suggest one."""
    from procomp_pay import config
    from procomp_pay.storage.database import migrate

    if suggest:
        suggested = migrate.suggested_map(config.load_settings(platform_map=None).url)  # it may not exist yet
        console.print_json({"map": suggested}) if as_json else typer.echo(suggested, nl=False)
        return
    settings = load_settings()
    migrate.check_platform(settings.url)
    file = None if settings.platform_map is None else str(settings.platform_map)
    if as_json:
        console.print_json({"file": file})
    else:
        names = f"the names in {console.clean(file)}" if file else "its own names: PLATFORM_MAP is not set"
        typer.echo(f"✓ the platform's tables fit, by {names}")


def prisma_config(as_json: JsonOption = False) -> None:
    """Print what keeps Prisma Migrate away from our tables."""
    from procomp_pay.storage.database import migrate

    url = load_settings().url
    examine(url)
    names = migrate.own_tables(url)
    if as_json:
        console.print_json({"experimental": {"externalTables": True}, "tables": {"external": names}})
        return
    lines = "\n".join(f"    {json.dumps(name, ensure_ascii=False)}," for name in names)
    typer.echo(f"experimental: {{ externalTables: true }},\ntables: {{\n  external: [\n{lines}\n  ],\n}},")


def status(as_json: JsonOption = False) -> None:
    """Show where the database is, its revision, and pending upgrades."""
    url = load_settings().url
    database = examine(url)
    if as_json:
        console.print_json(database)
    else:
        typer.echo(
            f"{_sentence(url)} is at revision {database['revision']}, the newest is {database['head']}"
        )
        typer.echo(
            "Nothing is pending"
            if not database["pending"]
            else f"Pending: {', '.join(database['pending'])}\n  → procomp-pay db upgrade"
        )
        for note, step in platform_notes(database):
            typer.echo(f"{note[:1].upper()}{note[1:]}\n  → {step}")


def adopt(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done; change nothing.")
    ] = False,
    assign: Annotated[
        list[str] | None,
        typer.Option("--assign", metavar="PAYMENT=PARTICIPANT", help="Whose payment it is; may be repeated."),
    ] = None,
    by: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Adopt the payments that the platform took before procomp-pay."""
    settings, actor = load_settings(), operator(by)
    assigned = _assigned(assign or [])
    examine(settings.url)
    result = run_with_context(
        lambda ctx: _adopt(ctx, actor, assigned, dry_run=dry_run, quiet=as_json), settings=settings
    )
    if as_json:
        console.print_json(
            {
                "dry_run": dry_run,
                "adopted": result.taken,
                "to_be_asked": result.asked,
                "kept": result.kept,
                "left": result.left,
                "reasons": [{"payment_id": payment, "reason": reason} for payment, reason in result.named],
                "unpaid_links": [asdict(link) for link in result.links],
            }
        )
    else:
        _show_adopted(result, dry_run=dry_run)
    if result.left:
        raise typer.Exit(6)


def _assigned(pairs: list[str]) -> dict[str, str]:
    assigned = {}
    for pair in pairs:
        payment, sign, participant = pair.partition("=")
        if not (sign and payment and participant):
            raise typer.BadParameter(f"{pair!r} is not PAYMENT=PARTICIPANT", param_hint="--assign")
        assigned[payment] = participant
    return assigned


async def _adopt(
    ctx: AppContext, actor: Actor, assign: dict[str, str], *, dry_run: bool, quiet: bool
) -> Adopted:
    from procomp_pay.cli.framework.progress import bar
    from procomp_pay.services.maintenance import adoption as use_case

    total = await use_case.size(ctx)
    with bar("checking" if dry_run else "adopting", lambda: total, quiet=quiet) as on_progress:
        return await use_case.adopt(ctx, actor, assign=assign, dry_run=dry_run, on_progress=on_progress)


def _show_adopted(result: Adopted, *, dry_run: bool) -> None:
    if not (result.taken or result.kept or result.left):
        typer.echo("✓ all payments of the platform are already known")
    else:
        _show_payments(result, dry_run=dry_run)
    for link in result.links:
        meaning = "yet is marked as PAID: find out which is true" if link.marked_paid else "so has not paid"
        console.say(
            f"! participant {console.clean(link.participant_id)} is linked to payment "
            f"{console.clean(link.payment_id)}, which is {console.clean(link.status)}, {meaning}",
            fg="yellow",
        )


def _show_payments(result: Adopted, *, dry_run: bool) -> None:
    verb = "would be adopted" if dry_run else "adopted"
    typer.echo(f"✓ payments {verb}: {result.taken}, of which {result.asked} are polled at their provider")
    if result.asked and not dry_run:
        console.hint("procomp-pay maintain")
    if result.kept:
        verb = "would be accepted" if dry_run else "accepted"
        typer.echo(f"✓ payments {verb} as the platform's own, such as cash: {result.kept}")
    if result.left:
        console.say(f"✗ for manual review: {result.left}", fg="red")
    for payment, reason in result.named:
        console.say(f"  payment {console.clean(payment)} {console.clean(reason)}")
    if result.left > len(result.named):
        console.say(f"  … and {result.left - len(result.named)} more")


def examine(url: str) -> dict[str, Any]:
    """Return where the database is, its revision and the pending ones.

    :raises DatabaseUnavailable: there is no connection, no file, or no tables of ours.
    :raises ConfigurationError: there are none of ours yet, and ``PLATFORM_MAP`` does not fit the platform's.
    """
    from procomp_pay.config import platform_map
    from procomp_pay.storage.database import migrate

    now = migrate.current(url)
    if now is None:
        if platform_map.current():
            migrate.check_platform(url)
        raise DatabaseUnavailable(
            f"{_sentence(url)} is not set up yet: it has no tables of procomp-pay",
            next_step="procomp-pay db upgrade",
        )
    pending = migrate.pending(url)
    notes = None if pending else migrate.platform_notes(url)
    return {
        "where": _where(url),
        "revision": now,
        "head": migrate.HEAD,
        "pending": pending,
        "platform_faults": notes.faults if notes else [],
        "unknown_labels": notes.unknown_labels if notes else {},
        "unadopted_payments": notes.unadopted if notes else None,
        "missing_indexes": notes.missing_indexes if notes else [],
    }


def platform_notes(database: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what is worth knowing of the platform's tables, each with what to do.

    :param database: as :func:`examine` returns it.
    """
    notes = []
    if faults := database["platform_faults"]:
        notes.append(
            (
                f"tables that no longer fit procomp-pay: {console.clean('; '.join(faults))}",
                "undo it in the platform's Prisma schema, or correct PLATFORM_MAP: see docs/platform",
            )
        )
    if labels := database["unknown_labels"]:
        notes.append(
            (
                f"labels that only the platform knows: {label_note(labels)}",
                "nothing: rows with them are shown, and left alone",
            )
        )
    if count := database["unadopted_payments"]:
        notes.append(
            (f"payments that the platform took by itself: {count}", "procomp-pay db adopt --dry-run")
        )
    if missing := database["missing_indexes"]:
        notes.append(
            (f"missing indexes: {', '.join(missing)}", "let the platform add them: docs/platform/indexes.sql")
        )
    return notes


def label_note(labels: dict[str, list[str]]) -> str:
    """Return the labels that only the platform knows as ``PaymentStatus DISPUTED, HELD; Currency UZS``."""
    return "; ".join(f"{name} {', '.join(map(console.clean, added))}" for name, added in labels.items())


def _where(url: str) -> str:
    from procomp_pay.storage.database import urls

    return console.clean(urls.describe(urls.parse(url)))


def _sentence(url: str) -> str:
    where = _where(url)
    return where[:1].upper() + where[1:]
