"""``payouts``: which payments were paid out to the bank, when the money arrived, and what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from procomp_pay.cli.display import wording
from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.context import load_settings, operator, run_with_context
from procomp_pay.cli.framework.language import _, in_words, language, translated
from procomp_pay.cli.framework.options import (
    AsOption,
    JsonOption,
    SinceOption,
    UntilOption,
    command_group,
)
from procomp_pay.cli.reports.cells import as_text
from procomp_pay.domain.language import Language
from procomp_pay.domain.text import N_

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
_STATES = {
    "arrived": N_("it arrived"), "nothing_due": N_("nothing due"), "on_the_way": N_("on the way"),
    "missing": N_("not arrived"), "failed": N_("it failed"), "returned": N_("returned"),
    "differs": N_("another sum"), "no_bank_lines": N_("no bank statement"),
}  # fmt: skip
#: Kinds of Kaspi's movements, and Stripe's reporting categories:
#: https://docs.stripe.com/reports/reporting-categories
_CATEGORIES = {
    "payment": N_("payment"), "charge": N_("payment"), "refund": N_("refund"),
    "refund_failed": N_("refund failed"), "refund_failure": N_("refund failed"),
    "partial_capture_reversal": N_("refund"), "dispute": N_("dispute"),
    "dispute_reversal": N_("dispute reversed"), "dispute_reversed": N_("dispute reversed"),
    "fee": N_("provider's fee"), "network_cost": N_("network cost"), "tax": N_("tax"),
    "payout_reversal": N_("payout returned"), "other": N_("other"), "other_adjustment": N_("other"),
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
        console.say(
            _(
                "%(payouts)s payouts (%(new)s new), %(entries)s movements",
                payouts=result.payouts,
                new=result.new,
                entries=result.entries,
            ),
            fg="green",
        )
        for note in result.notes:
            console.say(console.clean(translated(note)), dim=True)
        for ref in result.incomplete:
            text = _("%(payout)s: what is in it does not add up to its amount", payout=console.clean(ref))
            console.say(text, fg="red")
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
                N_(
                    "The report is of %(owner)s, not of %(own)s (KASPI_ORGANIZATION_BIN)",
                    owner=owner,
                    own=own,
                ),
                next_step=N_("give our own report"),
            )
        lines = list(opened)
        if opened.summary.needs_person:
            raise Refused(
                N_("Some lines of the report could not be read for certain, so the days cannot be added up"),
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
        raise typer.BadParameter(N_("--payout and --line belong together"))
    if line is not None and payout:
        found = run_with_context(lambda ctx: matching.match_by_hand(ctx, payout, line, actor))
        if as_json:
            console.print_json({"payout_ids": list(found.payout_ids), "line_id": found.line_id})
        else:
            console.say(_("matched"), fg="green")
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
        raise typer.BadParameter(N_("--columns takes %(names)s, each with =Name", names=", ".join(COLUMNS)))
    return {name.strip(): theirs for name, theirs in pairs.items()}


def _show_matched(result: Matched) -> None:
    if result.read:
        console.say(
            _(
                "%(read)s lines read, %(kept)s may be about payouts, %(new)s new",
                read=result.read,
                kept=result.kept,
                new=result.new,
            )
        )
    for found, views, line in result.matches:
        names = ", ".join(console.clean(view.row.payout.ref) for view in views)
        text = _(
            "%(payouts)s arrived on %(day)s: %(amount)s %(currency)s (%(how)s)",
            payouts=names,
            day=as_text(line.booked_on),
            amount=as_text(line.amount),
            currency=line.currency,
            how=in_words(found.how, wording.HOW),
        )
        console.say(text, fg="green")
    for question, views, lines in result.questions:
        names = ", ".join(console.clean(view.row.payout.ref) for view in views)
        console.say(_("in doubt: %(payouts)s: %(why)s", payouts=names, why=question.why), fg="yellow")
        for line in lines:
            console.print_lines([f"  {_line_text(line)}"])
        if lines and views:
            console.hint(f"procomp-pay payouts match --payout {views[0].row.payout.ref} --line {lines[0].id}")
    for line in result.unexplained:
        console.say(_("no payout is known for: %(line)s", line=_line_text(line)), fg="yellow")
    for view in result.missing:
        payout = view.row.payout
        text = _(
            "missing: %(payout)s, %(amount)s %(currency)s, expected on %(day)s",
            payout=console.clean(payout.ref),
            amount=as_text(payout.amount),
            currency=payout.currency,
            day=as_text(payout.expected_on),
        )
        console.say(text, fg="red")
    _say_no_bank_lines(result.unknown)
    if result.is_clean:
        console.say(_("nothing is missing"), fg="green")


def _say_no_bank_lines(views: Sequence[PayoutView]) -> None:
    from procomp_pay.domain.payouts import awaited_until

    unknown = [view.row.payout.expected_on for view in views if view.state.value == "no_bank_lines"]
    if not unknown:
        return
    text = _(
        "No statement of the bank covers all days from %(first)s to %(last)s, "
        "so nobody can know what arrived",
        first=as_text(min(unknown)),
        last=as_text(awaited_until(max(unknown))),
    )
    console.say(text, fg="yellow")
    console.hint("procomp-pay payouts match --bank-file FILE")


def _line_text(line: object) -> str:
    return console.clean(
        f"{line.id}  {as_text(line.booked_on)}  {as_text(line.amount)} {line.currency}  {line.purpose[:60]}"  # type: ignore[attr-defined]
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
        console.say(_("There are no payouts"), dim=True)
        console.hint("procomp-pay payouts fetch")
        return
    rows = [
        [
            as_text(view.row.payout.expected_on),
            view.row.payout.provider,
            console.clean(view.row.payout.ref)[:30],
            as_text(view.row.payout.amount),
            view.row.payout.currency,
            str(view.row.payments),
            _state(view),
        ]
        for view in views
    ]
    head = [_("expected"), _("from"), _("payout"), _("net"), "", _("payments"), _("state")]
    console.print_long(console.table(head, rows, right=(3, 5)))
    _say_no_bank_lines(views)


def _state(view: PayoutView) -> str:
    words = in_words(view.state.value, _STATES).replace("_", " ")
    if view.arrived_on is not None:
        words += f" {view.arrived_on:%d.%m}"
    if not view.adds_up:
        words += ", " + _("does not add up")
    return console.coloured(words, _COLOURS[view.state.value])


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
        (_("payout"), f"{console.clean(payout.ref)} ({payout.provider})"),
        (_("state"), _state(view)),
        (_("gross"), f"{as_text(view.row.gross)} {payout.currency}"),
        (_("fees"), as_text(view.row.fee)),
        (_("net"), as_text(payout.amount)),
        (_("expected"), as_text(payout.expected_on)),
    ]
    if payout.failure:
        failed = "" if view.failed_at is None else f", {formats.clock_time(view.failed_at)}"
        rows.append((_("failure"), console.clean(wording.reason(payout.failure)) + failed))
    if line is not None:
        rows.append((_("bank line"), _line_text(line)))
        by = _("by %(name)s", name=payout.matched_how)
        how = by if language() is Language.ENGLISH else in_words(payout.matched_how or "", wording.HOW)
        rows.append((_("matched"), f"{how}, {console.clean(payout.matched_by or '')}"))
    entries = [
        [
            formats.clock_time(entry.at),
            in_words(entry.category, _CATEGORIES),
            as_text(entry.amount),
            as_text(entry.fee),
            as_text(entry.net),
            console.clean(name or entry.description or entry.ref)[:40],
            entry.payment_id or "",
        ]
        for entry, name in content.entries[:_MOST_SHOWN]
    ]
    lines = [*console.label_rows(rows, max(11, *(len(label) for label, _value in rows))), ""]
    head = [_("when"), _("what"), _("gross"), _("fees"), _("net"), _("who"), _("payment")]
    lines += console.table(head, entries, right=(2, 3, 4))
    if len(content.entries) > _MOST_SHOWN:
        lines.append(_("and %(n)s more: --json", n=len(content.entries) - _MOST_SHOWN))
    return lines
