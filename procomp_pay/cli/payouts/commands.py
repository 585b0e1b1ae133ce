"""``payouts``: which payments were paid out to the bank, when the money arrived, and what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.context import load_settings, operator, run_with_context
from procomp_pay.cli.framework.options import (
    AsOption,
    JsonOption,
    SinceOption,
    UntilOption,
    command_group,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from zoneinfo import ZoneInfo

    from procomp_pay.services.context import AppContext
    from procomp_pay.services.payouts.fetch import Fetched
    from procomp_pay.services.payouts.match import Matched
    from procomp_pay.services.payouts.view import PayoutContent, PayoutView

_EXAMPLES = """[bold]Examples[/]

  procomp-pay payouts fetch
  procomp-pay payouts fetch --statement kaspi-may.xlsx
  procomp-pay payouts match --bank-file kl_to_1c.txt
  procomp-pay payouts list --since 2026-05-01
  procomp-pay payouts show po_1Abc

Exit code 6: something is missing, in doubt, or does not add up; or no line of the bank
is known yet."""

payouts = command_group("Follow the money from the providers to the bank account.", epilog=_EXAMPLES)

_COLOURS = {
    "arrived": "green", "nothing_due": "green", "on_the_way": None, "missing": "red", "failed": "yellow",
    "returned": "red", "differs": "red", "no_bank_lines": "yellow",
}  # fmt: skip
#: Entries that the terminal shows of a payout; --json has all.
_MOST_SHOWN = 200


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(payouts, name="payouts")


def _zone() -> ZoneInfo:
    from zoneinfo import ZoneInfo

    return ZoneInfo(load_settings().report_timezone)


@payouts.command("fetch")
def fetch(
    since: SinceOption = None,
    statement: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Kaspi's report of operations, instead of Stripe.")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A TOML file that names the report's columns.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Read Stripe's payouts of the last 35 days, or Kaspi's daily settlements from its report."""
    zone = _zone()

    async def from_stripe(ctx: AppContext) -> Fetched:
        from datetime import timedelta

        from procomp_pay.services.payouts.fetch import fetch_stripe

        first = formats.day(since, "--since", zone)
        begins = formats.day_begins(first) if first else ctx.clock() - timedelta(days=35)
        return await fetch_stripe(ctx, begins, ctx.clock() + timedelta(days=1))

    result = run_with_context(from_stripe) if statement is None else _from_kaspi(statement, mapping, zone)
    if as_json:
        console.print_json(result.full())
    else:
        console.say(f"{result.payouts} payouts ({result.new} new), {result.entries} movements", fg="green")
        for note in result.notes:
            console.say(console.clean(note), dim=True)
        for ref in result.incomplete:
            console.say(f"{console.clean(ref)}: what is in it does not add up to its amount", fg="red")
    if result.incomplete:
        raise typer.Exit(6)


def _from_kaspi(statement: Path, mapping: Path | None, zone: ZoneInfo) -> Fetched:
    from procomp_pay.domain.errors import Refused
    from procomp_pay.providers.statements.reader import open_statement
    from procomp_pay.services.payouts.fetch import keep_kaspi_report

    with open_statement(statement, provider="kaspi", mapping=mapping) as opened:
        owner, own = opened.owner, load_settings().kaspi_organization_bin
        if owner and own and owner != own:
            raise Refused(
                f"The report is of {owner}, not of {own} (KASPI_ORGANIZATION_BIN)",
                next_step="give our own report",
            )
        lines = list(opened)
        if opened.summary.needs_person:
            raise Refused(
                "Some lines of the report could not be read for certain, so the days cannot be added up",
                next_step=f"procomp-pay statement check {statement}",
            )
    return run_with_context(lambda ctx: keep_kaspi_report(ctx, lines, zone))


@payouts.command("match")
def match(
    bank_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="1C text, MT940, or CSV with --columns.")
    ] = None,
    account: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="The account that the file is of.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="MAP",
            help="A CSV file's columns: date=Дата,credit=Кредит,debit=Дебет,purpose=Назначение.",
        ),
    ] = None,
    payout: Annotated[
        list[str] | None, typer.Option(metavar="REF", help="With --line: this payout arrived by it.")
    ] = None,
    line: Annotated[
        str | None, typer.Option(metavar="LINE", help="The id of a bank line, as payouts match shows it.")
    ] = None,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Match payouts with the bank's statement, to the tiyn; what is in doubt stays open and is named."""
    from procomp_pay.providers.bank.reader import read_bank_file
    from procomp_pay.services.payouts import match as matching

    actor, zone = operator(acting), _zone()
    if (line is None) != (not payout):
        raise typer.BadParameter("--payout and --line belong together")
    if line is not None and payout:
        found = run_with_context(lambda ctx: matching.match_by_hand(ctx, payout, line, actor))
        if as_json:
            console.print_json({"payout_ids": list(found.payout_ids), "line_id": found.line_id})
        else:
            console.say("matched", fg="green")
        return
    file = None
    if bank_file is not None:
        file = read_bank_file(bank_file, account=account, columns=columns_of(columns))
    result = run_with_context(
        lambda ctx: matching.match_payouts(ctx, file, actor, zone, is_ours=account is not None)
    )
    if as_json:
        console.print_json(result.full())
    else:
        _show_matched(result)
    if not result.is_clean:
        raise typer.Exit(6)


def columns_of(columns: str | None) -> dict[str, str] | None:
    """Parse ``date=Дата,credit=Кредит``; raise BadParameter for a name that is none of ours."""
    if columns is None:
        return None
    from procomp_pay.providers.bank.csv_statement import COLUMNS

    pairs = dict(part.partition("=")[::2] for part in columns.split(","))
    wrong = [name for name in pairs if name.strip() not in COLUMNS]
    if wrong or not all(pairs.values()):
        raise typer.BadParameter(f"--columns takes {', '.join(COLUMNS)}, each with =Name")
    return {name.strip(): theirs for name, theirs in pairs.items()}


def _show_matched(result: Matched) -> None:
    if result.read:
        console.say(f"{result.read} lines read, {result.kept} may be about payouts, {result.new} new")
    for found, views, line in result.matches:
        names = ", ".join(console.clean(view.row.payout.ref) for view in views)
        amount = formats.amount(line.amount)
        console.say(
            f"{names} arrived on {line.booked_on}: {amount} {line.currency} ({found.how})", fg="green"
        )
    for question, views, lines in result.questions:
        names = ", ".join(console.clean(view.row.payout.ref) for view in views)
        console.say(f"in doubt: {names}: {question.why}", fg="yellow")
        for line in lines:
            console.print_lines([f"  {_line_text(line)}"])
        if lines and views:
            console.hint(f"procomp-pay payouts match --payout {views[0].row.payout.ref} --line {lines[0].id}")
    for line in result.unexplained:
        console.say(f"no payout is known for: {_line_text(line)}", fg="yellow")
    for view in result.missing:
        payout = view.row.payout
        console.say(
            f"missing: {console.clean(payout.ref)}, {formats.amount(payout.amount)} {payout.currency}, "
            f"expected on {payout.expected_on}",
            fg="red",
        )
    _say_no_bank_lines(result.unknown)
    if result.is_clean:
        console.say("nothing is missing", fg="green")


def _say_no_bank_lines(views: Sequence[PayoutView]) -> None:
    from procomp_pay.domain.payouts import awaited_until

    unknown = [view.row.payout.expected_on for view in views if view.state.value == "no_bank_lines"]
    if not unknown:
        return
    console.say(
        f"No statement of the bank covers all days from {min(unknown)} to {awaited_until(max(unknown))}, so "
        "nobody can know what arrived",
        fg="yellow",
    )
    console.hint("procomp-pay payouts match --bank-file FILE")


def _line_text(line: object) -> str:
    return console.clean(
        f"{line.id}  {line.booked_on}  {formats.amount(line.amount)} {line.currency}  {line.purpose[:60]}"  # type: ignore[attr-defined]
    )


@payouts.command("list")
def list_all(since: SinceOption = None, until: UntilOption = None, as_json: JsonOption = False) -> None:
    """Show payouts by the day on which the money is expected, and where it is."""
    zone = _zone()
    first, last = formats.day(since, "--since", zone), formats.day(until, "--until", zone)

    async def work(ctx: AppContext) -> list[PayoutView]:
        from procomp_pay.services.payouts.view import list_payouts

        return await list_payouts(ctx, zone, first, last)

    views = run_with_context(work)
    if as_json:
        console.print_json({"items": [view.full() for view in views]})
        return
    if not views:
        console.say("There are no payouts", dim=True)
        console.hint("procomp-pay payouts fetch")
        return
    rows = [
        [
            view.row.payout.expected_on.isoformat(),
            view.row.payout.provider,
            console.clean(view.row.payout.ref)[:30],
            formats.amount(view.row.payout.amount),
            view.row.payout.currency,
            str(view.row.payments),
            _state(view),
        ]
        for view in views
    ]
    head = ["expected", "from", "payout", "net", "", "payments", "state"]
    console.print_long(console.grid(head, rows, right=(3, 5)))
    _say_no_bank_lines(views)


def _state(view: PayoutView) -> str:
    words = view.state.value.replace("_", " ")
    if view.arrived_on is not None:
        words += f" {view.arrived_on:%d.%m}"
    return console.coloured(words + ("" if view.adds_up else ", does not add up"), _COLOURS[view.state.value])


@payouts.command("show")
def show(
    wanted: Annotated[
        str, typer.Argument(metavar="PAYOUT|PAYMENT", help="po_..., a day, or a payment's id.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Show a payout with all payments, refunds and fees in it; or the payouts that a payment is in."""
    zone = _zone()

    async def work(ctx: AppContext) -> list[PayoutContent]:
        from procomp_pay.services.payouts.view import show_payout

        return await show_payout(ctx, wanted, zone)

    found = run_with_context(work)
    if as_json:
        console.print_json({"items": [each.full() for each in found]})
        return
    for content in found:
        console.print_long(_content(content))


def _content(content: PayoutContent) -> list[str]:
    view, payout = content.view, content.view.row.payout
    line = view.row.line
    rows = [
        ("payout", f"{console.clean(payout.ref)} ({payout.provider})"),
        ("state", _state(view)),
        ("gross", f"{formats.amount(view.row.gross)} {payout.currency}"),
        ("fees", formats.amount(view.row.fee)),
        ("net", formats.amount(payout.amount)),
        ("expected", payout.expected_on.isoformat()),
    ]
    if payout.failure:
        failed = "" if view.failed_at is None else f", {formats.clock_time(view.failed_at)}"
        rows.append(("failure", console.clean(payout.failure) + failed))
    if line is not None:
        rows.append(("bank line", _line_text(line)))
        rows.append(("matched", f"by {payout.matched_how}, {console.clean(payout.matched_by or '')}"))
    entries = [
        [
            formats.clock_time(entry.at),
            entry.category,
            formats.amount(entry.amount),
            formats.amount(entry.fee),
            formats.amount(entry.net),
            console.clean(name or entry.description or entry.ref)[:40],
            entry.payment_id or "",
        ]
        for entry, name in content.entries[:_MOST_SHOWN]
    ]
    lines = [*console.label_rows(rows), ""]
    lines += console.grid(["when", "what", "gross", "fee", "net", "who", "payment"], entries, right=(2, 3, 4))
    if len(content.entries) > _MOST_SHOWN:
        lines.append(f"and {len(content.entries) - _MOST_SHOWN} more: --json")
    return lines
