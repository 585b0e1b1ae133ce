"""``reconcile``: compare our books with the providers, in a terminal or from cron."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.context import load_settings, operator, run_with_context, show_mode_notice
from procomp_pay.cli.framework.language import _
from procomp_pay.cli.framework.options import AsOption, JsonOption, SinceOption, UntilOption
from procomp_pay.cli.framework.progress import counters
from procomp_pay.domain.errors import ConfigurationError, PaymentError, ProviderUnavailable, Unavailable
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from procomp_pay.config import Settings
    from procomp_pay.providers.statements.reader import Statement
    from procomp_pay.services.context import Actor, AppContext
    from procomp_pay.services.reconciliation.report import Report
    from procomp_pay.services.reconciliation.run import ReconcileRequest

_EXAMPLES = """[bold]Examples[/]

  procomp-pay reconcile
  procomp-pay reconcile --provider stripe --since 2026-05-01 --until 2026-05-03
  procomp-pay reconcile --statement balance.csv --dry-run
  55 23 * * *  procomp-pay reconcile >> /var/log/procomp-pay.log 2>&1

Days are days in Almaty; --until is inclusive. Default of --since: a week ago, or
earlier where something has not been read yet. Default with --statement: the
period that the file names, else the whole days of its first and last line.

Exit codes: 0 everything matches, 6 discrepancies are open (procomp-pay discrepancies
list), 5 a provider stopped answering (what was done is kept: run it again)."""


class Which(StrEnum):
    """The values of ``--provider``."""

    STRIPE = "stripe"
    KASPI = "kaspi"
    ALL = "all"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EXAMPLES)(reconcile)


def reconcile(
    provider: Annotated[
        Which, typer.Option(case_sensitive=False, metavar="NAME", help="stripe, kaspi or all.")
    ] = Which.ALL,
    since: SinceOption = None,
    until: UntilOption = None,
    statement: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Compare with a statement instead of the API.")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A TOML file that names the columns of the statement.")
    ] = None,
    recover: Annotated[
        bool,
        typer.Option(
            "--recover",
            help="After a restore: rebuild also lost payments that can still be paid (with --since); with "
            "--statement: let nobody be charged whose payment may be among unknown lines.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done; change nothing.")
    ] = False,
    yes: Annotated[
        bool,
        typer.Option("--yes", "-y", help="Use the statement although it seems to be another merchant's."),
    ] = False,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare our books with the providers, to the cent.

    Missed updates are repaired; everything else becomes a discrepancy.
    """
    window = _window(since, until)
    if recover and statement is None and (since is None or provider is Which.KASPI):
        raise typer.BadParameter(
            N_(
                "--recover reads Stripe from the day of the backup on: give --since DAY; for Kaspi, "
                "a --statement"
            )
        )
    settings = load_settings()
    actor = operator(acting)
    show_mode_notice(settings, as_json=as_json)
    with ExitStack() as stack:
        orders = _orders(
            stack,
            provider,
            window,
            statement,
            mapping,
            dry_run=dry_run,
            is_ours=yes,
            recover=recover,
            settings=settings,
        )
        progress = stack.enter_context(counters(quiet=as_json))
        reports, trouble = run_with_context(
            lambda ctx: _run_alone(ctx, orders, actor, progress, dry_run=dry_run), settings=settings
        )
    _show(reports, trouble, as_json=as_json)
    if code := _exit_code(reports, trouble):
        raise typer.Exit(code)


def _window(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """Return the first instant of ``since`` and the end of ``until``; None where one was not given.

    :raises typer.BadParameter: one is not a day, or in the future, or they are in the wrong order.
    """
    from procomp_pay.domain.errors import Refused

    try:
        first, last = formats.day(since, "--since"), formats.day(until, "--until")
        begins = formats.day_begins(first) if first else None
        ends = formats.day_begins(last, plus_days=1) if last else None
        starts = formats.day_begins(last) if last else None
    except Refused as error:
        raise typer.BadParameter(error.message) from None
    if first and last and last < first:
        raise typer.BadParameter(N_("--until %(until)s is before --since %(since)s", until=last, since=first))
    now = datetime.now(UTC)
    for name, day in (("--since", begins), ("--until", starts)):
        if day is not None and day > now:
            raise typer.BadParameter(N_("%(name)s is in the future", name=name))
    return begins, ends


def _orders(
    stack: ExitStack,
    provider: Which,
    window: tuple[datetime | None, datetime | None],
    statement: Path | None,
    mapping: Path | None,
    *,
    dry_run: bool,
    is_ours: bool,
    recover: bool,
    settings: Settings,
) -> list[ReconcileRequest]:
    from procomp_pay.providers.statements.reader import open_statement
    from procomp_pay.services.reconciliation.run import PROVIDERS, ReconcileRequest

    since, until = window
    if statement is None:
        if mapping is not None:
            raise typer.BadParameter(N_("--mapping needs --statement"))
        names = [name for name in PROVIDERS if provider.value in (name, "all") and _is_set_up(settings, name)]
        if not names:
            raise ConfigurationError(N_("No provider is configured"), next_step="procomp-pay doctor")
        return [ReconcileRequest(name, since, until, dry_run=dry_run, recover=recover) for name in names]
    name = None if provider is Which.ALL else provider.value
    opened = stack.enter_context(open_statement(statement, provider=name, mapping=mapping, looks=False))
    if not is_ours:
        check_owner(opened, settings)
    return [
        ReconcileRequest(
            opened.provider, since, until, opened, console.clean(statement.name), dry_run, is_ours, recover
        )
    ]


def check_owner(statement: Statement, settings: Settings) -> None:
    """Check that a statement is ours.

    :raises Refused: it names another merchant than the settings do.
    """
    from procomp_pay.domain.errors import Refused

    ours = settings.kaspi_organization_bin
    if statement.owner is not None and ours is not None and statement.owner != ours:
        raise Refused(
            N_(
                "The statement belongs to BIN %(theirs)s, ours is %(ours)s (KASPI_ORGANIZATION_BIN): "
                "nothing was compared",
                theirs=statement.owner,
                ours=ours,
            ),
            next_step=N_("export it from our own Kaspi Pay; if it is ours after all, add --yes"),
        )


def _is_set_up(settings: Settings, provider: str) -> bool:
    """Return whether a provider is configured."""
    mode = settings.stripe_mode if provider == "stripe" else settings.kaspi_mode
    return mode.value != "off"


async def _run_alone(
    ctx: AppContext,
    orders: list[ReconcileRequest],
    actor: Actor,
    on_progress: Callable[[str, int], None],
    *,
    dry_run: bool,
) -> tuple[list[Report], PaymentError | None]:
    """Reconcile one provider after the other; one that is unavailable does not stop the next."""
    from procomp_pay.services.reconciliation.run import reconcile as compare
    from procomp_pay.storage.database.locks import only_process

    reports: list[Report] = []
    trouble: PaymentError | None = None
    async with only_process(ctx.db, "reconcile") as ours:
        if not ours and not dry_run:
            raise Unavailable(
                N_("Another reconcile is running"), next_step=N_("let it finish; cron starts the next one")
            )
        for request in orders:
            try:
                reports.append(
                    await compare(ctx, request, actor, on_progress=_named(request.provider, on_progress))
                )
            except (ProviderUnavailable, ConfigurationError) as error:
                if len(orders) == 1:
                    raise
                trouble = error
    return reports, trouble


def _named(provider: str, show: Callable[[str, int], None]) -> Callable[[str, int], None]:
    return lambda word, count: show(f"{provider.title()} {_(word)}", count)


def _show(reports: list[Report], trouble: PaymentError | None, *, as_json: bool) -> None:
    if as_json:
        document: dict[str, Any] = {"runs": [report.full() for report in reports]}
        if trouble is not None:
            document |= {"detail": console.clean(trouble.message), "next_step": trouble.next_step}
        console.print_json(document)
        return
    from procomp_pay.cli.reconciliation import reconcile_output

    for report in reports:
        if sys.stdout.isatty():
            console.print_lines(reconcile_output.page(report))
        else:
            typer.echo(reconcile_output.summary(report))
        if report.cut:
            console.say(f"✗ {reconcile_output.cut(report)}", fg="red")
            console.hint("procomp-pay reconcile")
    if trouble is not None:
        console.show_error(trouble)
    if any(report.still_open for report in reports) and sys.stdout.isatty():
        console.hint("procomp-pay discrepancies list")


def _exit_code(reports: list[Report], trouble: PaymentError | None) -> int:
    if any(report.cut for report in reports):
        return 5
    if trouble is not None:
        return trouble.exit_code
    return 6 if any(report.needs_person for report in reports) else 0
