"""``reconcile``: the evening's question, for a person at a terminal and for cron."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from procomp_pay.cli.framework.common import (
    AsOption,
    JsonOption,
    clean,
    err,
    hint,
    operator,
    print_json,
    run_with_context,
    say,
    settings,
    show_error,
    warn_of_play_money,
)
from procomp_pay.domain.errors import ConfigurationError, PaymentError, ProviderUnavailable, Unavailable

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

Days are days in Almaty; --until counts its own day in. Without --since: a week
back, and further where something was not read yet. Exit code 0: everything
agrees. 6: something is open, see procomp-pay discrepancies list. 5: a provider
stopped answering; what was done is kept, run it again."""


class Which(StrEnum):
    """Whose books are compared."""

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
    since: Annotated[str | None, typer.Option(metavar="DAY", help="From this day, as 2026-05-01.")] = None,
    until: Annotated[str | None, typer.Option(metavar="DAY", help="Up to and with this day.")] = None,
    statement: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Compare with a statement, not with the API.")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What the columns of an unknown statement mean.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="The statement is ours, whatever speaks against it.")
    ] = False,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare our books with the providers', to the cent.

    What a provider finished, and news that were missed, are mended; the rest stays open as a discrepancy.
    """
    wanted = _window(since, until)
    using = settings()
    actor = operator(acting)
    warn_of_play_money(using, as_json=as_json)
    with ExitStack() as stack:
        orders = _orders(
            stack, provider, wanted, statement, mapping, dry_run=dry_run, is_ours=yes, using=using
        )
        progress = stack.enter_context(_progress(quiet=as_json))
        reports, trouble = run_with_context(
            lambda ctx: _run_alone(ctx, orders, actor, progress, dry_run=dry_run), using=using
        )
    _tell(reports, trouble, as_json=as_json)
    if code := _exit_code(reports, trouble):
        raise typer.Exit(code)


def _window(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """The instants of the days that were given.

    :raises typer.BadParameter: no days, the last before the first, or days that have not begun.
    """
    from procomp_pay.cli.payments import wording
    from procomp_pay.domain.errors import Refused

    try:
        first, last = wording.day(since, "--since"), wording.day(until, "--until")
        begins = wording.day_begins(first) if first else None
        ends = wording.day_begins(last, plus_days=1) if last else None
        starts = wording.day_begins(last) if last else None
    except Refused as error:
        raise typer.BadParameter(error.message) from None
    if first and last and last < first:
        raise typer.BadParameter(f"--until {last} is before --since {first}")
    now = datetime.now(UTC)
    for name, day in (("--since", begins), ("--until", starts)):
        if day is not None and day > now:
            raise typer.BadParameter(f"{name} lies in the future: nothing can have been paid yet")
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
    using: Settings,
) -> list[ReconcileRequest]:
    from procomp_pay.services.reconciliation.run import PROVIDERS, ReconcileRequest

    since, until = window
    if statement is None:
        if mapping is not None:
            raise typer.BadParameter("--mapping says what the columns of a --statement mean")
        names = [each for each in PROVIDERS if provider.value in (each, "all") and _is_set_up(using, each)]
        if not names:
            raise ConfigurationError("No provider is configured", next_step="procomp-pay doctor")
        return [ReconcileRequest(name, since, until, dry_run=dry_run) for name in names]
    found = stack.enter_context(_open(statement, None if provider is Which.ALL else provider.value, mapping))
    if not is_ours:
        _check_owner(found, using)
    return [ReconcileRequest(found.provider, since, until, found, clean(statement.name), dry_run, is_ours)]


def _check_owner(found: Statement, using: Settings) -> None:
    """
    :raises Refused: the statement names another merchant than our settings do.
    """
    from procomp_pay.domain.errors import Refused

    ours = using.kaspi_organization_bin
    if found.owner is not None and ours is not None and found.owner != ours:
        raise Refused(
            f"The statement is of BIN {found.owner}, and ours is {ours} (KASPI_ORGANIZATION_BIN): nothing "
            "was compared",
            next_step="export it from our own Kaspi Pay; or, if it is ours all the same, add --yes",
        )


def _is_set_up(using: Settings, provider: str) -> bool:
    """``all`` means all that are configured."""
    mode = using.stripe_mode if provider == "stripe" else using.kaspi_mode
    return mode.value != "off"


def _open(path: Path, provider: str | None, mapping: Path | None) -> Any:
    """The file's lines, by the reader of :mod:`procomp_pay.providers.statements`."""
    from importlib import import_module

    try:
        reader = import_module("procomp_pay.providers.statements.reader")
    except ModuleNotFoundError:
        raise ConfigurationError("This procomp-pay has no readers of statements") from None
    return reader.open_statement(path, provider=provider, mapping=mapping, looks=False)


async def _run_alone(
    ctx: AppContext,
    orders: list[ReconcileRequest],
    actor: Actor,
    seen: Callable[[str, str, int], None],
    *,
    dry_run: bool,
) -> tuple[list[Report], PaymentError | None]:
    """Every provider in turn: one that is away does not keep the other from being compared."""
    from procomp_pay.services.reconciliation.run import reconcile as compare
    from procomp_pay.storage.database.locks import reconcile_lock

    reports: list[Report] = []
    trouble: PaymentError | None = None
    async with reconcile_lock(ctx.db) as ours:
        if not ours and not dry_run:
            raise Unavailable(
                "Another reconcile is running", next_step="let it finish; cron will come again by itself"
            )
        for order in orders:
            name = order.provider
            try:
                reports.append(
                    await compare(ctx, order, actor, seen=lambda word, n, name=name: seen(name, word, n))  # type: ignore[misc]
                )
            except (ProviderUnavailable, ConfigurationError) as error:
                if len(orders) == 1:
                    raise
                trouble = error
    return reports, trouble


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[str, str, int], None]]:
    """Counts and rate on stderr, where a person looks at it."""
    if quiet or not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.completed:>9,.0f}"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err(), transient=True) as bars:
        tasks: dict[tuple[str, str], Any] = {}

        def seen(provider: str, word: str, count: int) -> None:
            key = (provider, word)
            if key not in tasks:
                tasks[key] = bars.add_task(f"{provider.title()} {word}", total=None, rate="")
            bars.update(tasks[key], completed=count)
            speed = bars.tasks[tasks[key]].speed
            bars.update(tasks[key], rate=f"{speed:,.0f}/s" if speed else "")

        yield seen


def _tell(reports: list[Report], trouble: PaymentError | None, *, as_json: bool) -> None:
    if as_json:
        document: dict[str, Any] = {"runs": [each.full() for each in reports]}
        if trouble is not None:
            document |= {"detail": clean(trouble.message), "next_step": trouble.next_step}
        print_json(document)
        return
    from procomp_pay.cli.reconciliation import reconcile_output as reconcile_words

    for report in reports:
        if sys.stdout.isatty():
            for line in reconcile_words.page(report):
                typer.echo(line)
        else:
            typer.echo(reconcile_words.summary(report))
        if report.cut:
            say(f"✗ {reconcile_words.cut(report)}", fg="red")
            hint("procomp-pay reconcile")
    if trouble is not None:
        show_error(trouble)
    if any(each.still_open for each in reports) and sys.stdout.isatty():
        hint("procomp-pay discrepancies list")


def _exit_code(reports: list[Report], trouble: PaymentError | None) -> int:
    if any(each.cut for each in reports):
        return 5
    if trouble is not None:
        return trouble.exit_code
    return 6 if any(each.needs_person for each in reports) else 0
