"""A closing sheet as tables."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from procomp_pay.cli import words
from procomp_pay.cli.reporting_cells import Cell, Missing, Section, columns, known
from procomp_pay.domain.states import PaymentMethod

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from procomp_pay.payments.report_closing_book import Check, Closing, ClosingLine, Sum

_SUMS = "Currency|Payments|Paid|-Open|Taken|Refunded|-On its way|-Disputes lost|Kept"
_METHODS = {method.public_name: name for method, name in words.METHODS.items()}


def sections(sheet: Closing) -> list[Section]:
    """All tables, sums first, every payment last."""
    return [
        Section("Totals", columns(_SUMS), [_sum(each)[1:] for each in sheet.totals]),
        Section("By method", columns(f"Method|{_SUMS}"), [_sum(each) for each in sheet.by_method]),
        Section("By clerk", columns(f"Clerk|{_SUMS}"), [_sum(each) for each in sheet.by_clerk]),
        _fees(sheet),
        _disagreements(sheet),
        _checks(sheet),
        _payments(sheet),
    ]


def _sum(each: Sum) -> list[Cell]:
    return [
        _METHODS.get(each.name, each.name),
        each.currency,
        each.started,
        each.paid,
        each.waiting,
        each.taken,
        each.refunded,
        each.under_way,
        each.lost,
        each.kept,
    ]


def _disagreements(sheet: Closing) -> Section:
    rows: list[list[Cell]] = [
        [", ".join(line.flags), line.participant_name, line.charged.amount, line.charged.currency.value,
         line.payment_id]
        for line in sheet.odd
    ]  # fmt: skip
    note = ""
    if sheet.strange:
        note = f"Open discrepancies about money that is of no payment of ours: {sheet.strange}."
    heads = "What|Participant|Amount|Currency|Payment"
    return Section("What does not agree", columns(heads), rows, note=note)


def _checks(sheet: Closing) -> Section:
    rows = [_check(each, sheet.zone) for each in sheet.checks]
    heads = "Provider|Last run|Result|-From|-Until|-Found"
    return Section("Reconciliation", columns(heads), rows)


def _check(check: Check, zone: ZoneInfo) -> list[Cell]:
    counts = ", ".join(f"{name} {check.counts[name]}" for name in sorted(check.counts))
    at = check.finished_at or check.started_at
    return [
        check.provider,
        _local(at, zone),
        check.state,
        _local(check.window_from, zone),
        _local(check.window_until, zone),
        counts or Missing.NONE,
    ]


def _payments(sheet: Closing) -> Section:
    heads = (
        "Started|-Paid|Participant|-Category|Method|Amount|Currency|-Clerk|Status|Refunded|-Flags"
        "|-At the provider|-Payment"
    )
    rows = [_payment(line, sheet.zone) for line in sheet.lines]
    totals: list[list[Cell]] = [_payments_total(each) for each in sheet.totals]
    return Section("Payments", columns(heads), [*rows, *totals], totals=len(totals))


def _payment(line: ClosingLine, zone: ZoneInfo) -> list[Cell]:
    return [
        _local(line.started_at, zone),
        _local(line.paid_at, zone),
        line.participant_name,
        line.category or "",
        words.METHODS[PaymentMethod(line.method)],
        line.charged.amount,
        line.charged.currency.value,
        line.clerk,
        line.status.value.lower(),
        line.refunded,
        ", ".join(line.flags),
        " ".join(line.numbers),
        line.payment_id,
    ]


def _local(at: datetime | None, zone: ZoneInfo) -> Cell:
    return Missing.NONE if at is None else at.astimezone(zone).replace(tzinfo=None)


def _payments_total(each: Sum) -> list[Cell]:
    paid = f"{each.paid} paid"
    return [paid, "", "", "", "taken", each.taken, each.currency, "", "", each.refunded, "", "", ""]


def _fees(sheet: Closing) -> Section:
    """What stays after the providers' fees; not known while a fee is missing."""
    kept = {each.currency: each.kept for each in sheet.totals}
    rows: list[list[Cell]] = []
    for currency in [*kept, *(each for each in sheet.fees if each not in kept)]:
        before, fee = kept.get(currency, Decimal("0.00")), sheet.fees.get(currency)
        if fee is None and not sheet.without_fee:
            fee = Decimal("0.00")
        net = None if sheet.without_fee or fee is None else before - fee
        rows.append([currency, before, known(fee), known(net)])
    note = f"The fee of {sheet.without_fee} paid payments is not known yet." if sheet.without_fee else ""
    return Section("After provider fees", columns("Currency|Kept|Fees|Net"), rows, note=note)
