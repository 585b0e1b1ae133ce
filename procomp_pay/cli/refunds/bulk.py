"""``refund --tournament --all``: the dry run, the question, the bar and the report."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from procomp_pay.cli.framework.common import (
    clean,
    err,
    hint,
    operator,
    print_json,
    run_with_context,
    say,
    settings,
    warn_of_play_money,
)
from procomp_pay.cli.payments import wording
from procomp_pay.cli.payments.tables import bold, dim
from procomp_pay.cli.refunds.options import RefundOptions
from procomp_pay.services.refunds import bulk
from procomp_pay.services.refunds.bulk_report import Ending, Line, Report, Tally
from procomp_pay.services.registrations.tournaments import find_tournament

if TYPE_CHECKING:
    from procomp_pay.services.context import AppContext

#: Lines of one kind that are shown; ``--json`` has more.
_MOST_SHOWN = 20
_TITLES = {
    Ending.TO_DO: "to go back",
    Ending.BACK: "went back",
    Ending.ON_ITS_WAY: "on their way, the bank takes its time",
    Ending.UNKNOWN: "not known yet, kept and followed up",
    Ending.FAILED: "did NOT go back",
    Ending.DISPUTED: "left alone: disputed",
    Ending.BY_HAND: "to give back by hand",
}


@dataclass(frozen=True, slots=True)
class _Found:
    order: bulk.BulkRefundRequest
    name: str
    report: Report


def refund_all(tournament: str, options: RefundOptions) -> None:
    """Pay a whole tournament back."""
    using = settings()
    actor = operator(options.acting)

    async def look(ctx: AppContext) -> _Found:
        found = await find_tournament(ctx, tournament)
        order = bulk.BulkRefundRequest(found.tournament_id, options.reason)
        return _Found(order, found.name, await bulk.survey(ctx, order))

    found = run_with_context(look, using=using)
    warn_of_play_money(using, as_json=options.as_json)
    if options.dry_run and options.as_json:
        print_json({"dry_run": True, "tournament_id": found.order.tournament_id} | found.report.full())
        return
    if not options.as_json:
        _show(found.report, f"{found.name}: what would happen ({options.reason})", err=not options.dry_run)
    if options.dry_run:
        say("Dry run: nothing was done.", fg="yellow")
        return
    total = found.report.of(Ending.TO_DO).count
    if (
        total
        and not options.yes
        and not typer.confirm(f"Pay back {total} payments?", default=False, err=True)
    ):
        say("Left as it is.", fg="yellow")
        raise typer.Exit(3)

    async def work(ctx: AppContext) -> Report:
        with _until_ctrl_c() as stop, _bar(total, quiet=options.as_json) as seen:
            return await bulk.run(ctx, found.order, actor, seen=seen, stop=stop)

    report = run_with_context(work, using=using)
    if options.as_json:
        print_json({"dry_run": False, "tournament_id": found.order.tournament_id} | report.full())
    else:
        _show(report, found.name, err=False)
        _what_next(report)
    if code := exit_code(report):
        raise typer.Exit(code)


def exit_code(report: Report) -> int:
    """130 after Ctrl-C, 5 where asking again may help, 6 where a person has to, else 0."""
    if report.stopped:
        return 130
    if report.gave_up or report.of(Ending.UNKNOWN).count:
        return 5
    return 6 if report.needs_person else 0


def _show(report: Report, title: str, *, err: bool) -> None:
    lines = [bold(clean(title))]
    for ending, heading in _TITLES.items():
        tally = report.of(ending)
        if tally.count:
            lines.append(f"  {heading}")
            lines += _totals(tally)
            lines += _names(tally)
    if len(lines) == 1:
        lines.append("  nothing is left to go back")
    if report.refunded_before:
        lines.append(f"  {report.refunded_before} had gone back before")
    if report.still_open:
        lines.append(f"  {report.still_open} can still be paid: cancel them, or run this again afterwards")
    for line in lines:
        typer.echo(line, err=err)


def _totals(tally: Tally) -> list[str]:
    return [
        f"    {wording.METHODS[method]:<12} {each.count:>6}  {_money(each.amount):>18} {currency}"
        for (method, currency), each in sorted(tally.sums.items())
    ]


def _money(amount: object) -> str:
    return f"{amount:,.2f}".replace(",", "\N{NO-BREAK SPACE}")


def _names(tally: Tally) -> list[str]:
    reasons = {line.why for line in tally.named}
    lines = [f"    {dim(clean(why))}" for why in reasons if len(reasons) == 1]
    lines += [
        f"      {_who(line)}" + (f"  {dim(clean(line.why))}" if len(reasons) > 1 else "")
        for line in tally.named[:_MOST_SHOWN]
    ]
    if tally.named and tally.count > _MOST_SHOWN:
        lines.append(dim(f"      … and {tally.count - _MOST_SHOWN} more"))
    return lines


def _who(line: Line) -> str:
    return f"{clean(line.view.participant_name)}  {line.money}  {line.view.payment_id}"


def _what_next(report: Report) -> None:
    if report.stopped:
        say("Stopped. Nothing is lost; the same command goes on with the rest.", fg="yellow")
    elif report.gave_up:
        say("The provider does not answer: stopped. The same command goes on later.", fg="yellow")
    elif report.of(Ending.UNKNOWN).count:
        say("Some outcomes are not known yet: run the same command again in a minute.", fg="yellow")
    if report.of(Ending.DISPUTED).count:
        hint("procomp-pay list --disputed")


@contextmanager
def _until_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Ctrl-C asks to stop after the refunds in hand; a second one stops at once."""
    loop, asked = asyncio.get_running_loop(), asyncio.Event()

    def stop() -> None:
        asked.set()
        loop.remove_signal_handler(signal.SIGINT)
        say("\nStopping after the refunds in hand. Once more to stop at once.", fg="yellow")

    with suppress(NotImplementedError):  # Windows has no handlers on its loop
        loop.add_signal_handler(signal.SIGINT, stop)
    try:
        yield asked.is_set
    finally:
        with suppress(NotImplementedError):
            loop.remove_signal_handler(signal.SIGINT)


@contextmanager
def _bar(total: int, *, quiet: bool) -> Iterator[Callable[[Line], None]]:
    """A progress bar on stderr, where a person looks at it."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("paying back"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=err(), transient=True) as progress:
        task = progress.add_task("", total=total)

        def seen(line: Line) -> None:
            if line.ending not in (Ending.DISPUTED, Ending.BY_HAND):
                progress.advance(task)

        yield seen
