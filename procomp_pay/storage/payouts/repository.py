"""Read and write payouts, what is in them, and the bank's lines that brought them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import case, func, or_, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.payouts import COSTS, REVERSAL, BankFileRead
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.storage.database.bulk_write import Action, Write, write_all
from procomp_pay.storage.database.insert_once import insert_once
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.payouts import BalanceEntry, BankStatementLine, Payout
from procomp_pay.storage.models.platform import Participant, Payment
from procomp_pay.storage.models.reconciliation import ReconciliationRun
from procomp_pay.storage.models.types import UtcDateTime

_payout: Any = Payout
_entry: Any = BalanceEntry
_line: Any = BankStatementLine
_payment: Any = Payment
_detail: Any = PaymentDetail
_participant: Any = Participant
_run: Any = ReconciliationRun
#: The provider of the runs that read a file of the bank.
_BANK = "bank"


@dataclass(frozen=True, slots=True)
class PayoutRow:
    """A payout with its sums.

    :param gross, fee: of its entries. :param net: their sum, which should be the payout's amount.
    :param due: the sum of all payouts that its bank line was matched with.
    :param failed_at: when the provider had the money of a failed one again; ``None`` if it is not known.
    :param bank_files: all files of the bank that were read, also those without a line about this payout.
    """

    payout: Payout
    line: BankStatementLine | None
    entries: int
    payments: int
    gross: Decimal
    fee: Decimal
    net: Decimal
    due: Decimal
    failed_at: datetime | None = None
    bank_files: tuple[BankFileRead, ...] = ()


async def save_payout(session: AsyncSession, values: dict[str, Any]) -> tuple[str, bool]:
    """Insert a payout, or bring what the provider says about it up to date; return its id, and whether it is
    new. What it was matched with stays."""
    new = await insert_once(session, Payout, values)
    which = (
        _payout.provider == values["provider"],
        _payout.ref == values["ref"],
        _payout.currency == values["currency"],
    )
    if not new:
        told = {name: values[name] for name in ("amount", "status", "expected_on", "trace", "failure")}
        await session.exec(update(Payout).where(*which).values(**told))
    query: Any = select(_payout.id).where(*which)
    found = (await session.exec(query)).one()
    return str(found[0]), new


async def save_entries(session: AsyncSession, rows: list[dict[str, Any]]) -> None:
    """Insert movements; one that is known already gets the payout and payment that are known now."""
    await write_all(session, [Write(Action.INSERT_ONCE, BalanceEntry, rows)])
    for row in rows:
        if row["payout_id"] is None:
            continue
        which = (_entry.provider == row["provider"], _entry.kind == row["kind"], _entry.ref == row["ref"])
        values = {"payout_id": row["payout_id"]} | (
            {"payment_id": row["payment_id"]} if row["payment_id"] else {}
        )
        unset = or_(_entry.payout_id.is_(None), _entry.payment_id.is_(None))
        await session.exec(update(BalanceEntry).where(*which, unset).values(**values))


async def refunds_by_ref(
    session: AsyncSession, provider: str, refs: Collection[str]
) -> dict[str, tuple[str | None, Decimal]]:
    """Return the payout and the amount of each of these refunds that is known."""
    query: Any = select(_entry.ref, _entry.payout_id, _entry.amount).where(
        _entry.provider == provider, _entry.kind == LineKind.REFUND, _entry.ref.in_(refs)
    )
    return {row[0]: (row[1], row[2]) for row in (await session.exec(query)).all()}


async def entries_net(session: AsyncSession, payout_id: str) -> Decimal:
    """Return the sum of a payout's entries."""
    query: Any = select(func.sum(_entry.net)).where(_entry.payout_id == payout_id)
    return (await session.exec(query)).scalar() or Decimal("0.00")


async def set_amount(session: AsyncSession, payout_id: str, amount: Decimal) -> None:
    """Set the amount of a payout that we add up ourselves."""
    await session.exec(update(Payout).where(_payout.id == payout_id).values(amount=amount))


async def payouts(
    session: AsyncSession,
    *,
    since: date | None = None,
    until: date | None = None,
    refs: Sequence[str] = (),
    recorded_by: datetime | None = None,
) -> list[PayoutRow]:
    """Return payouts by the day on which they are expected, oldest first.

    :param refs: only these, by the provider's or our own id.
    """
    sums = (
        select(
            _entry.payout_id.label("payout_id"),
            func.count().label("entries"),
            func.count(case((_entry.kind == LineKind.PAYMENT, 1))).label("payments"),
            func.sum(_entry.amount).label("gross"),
            func.sum(_entry.fee).label("fee"),
            func.sum(_entry.net).label("net"),
        )
        .where(_entry.payout_id.is_not(None))
        .group_by(_entry.payout_id)
        .subquery()
    )
    due = (
        select(_payout.bank_line_id.label("line_id"), func.sum(_payout.amount).label("due"))
        .where(_payout.bank_line_id.is_not(None))
        .group_by(_payout.bank_line_id)
        .subquery()
    )
    failed = (
        select(_entry.description.label("ref"), func.min(_entry.at, type_=UtcDateTime()).label("at"))
        .where(_entry.category == REVERSAL)
        .group_by(_entry.description)
        .subquery()
    )
    query: Any = (
        select(
            _payout,
            _line,
            sums.c.entries,
            sums.c.payments,
            sums.c.gross,
            sums.c.fee,
            sums.c.net,
            due.c.due,
            failed.c.at,
        )
        .join(_line, _line.id == _payout.bank_line_id, isouter=True)
        .join(sums, sums.c.payout_id == _payout.id, isouter=True)
        .join(due, due.c.line_id == _payout.bank_line_id, isouter=True)
        .join(failed, failed.c.ref == _payout.ref, isouter=True)
        .order_by(_payout.expected_on, _payout.provider, _payout.ref, _payout.currency)
    )
    if since is not None:
        query = query.where(_payout.expected_on >= since)
    if until is not None:
        query = query.where(_payout.expected_on <= until)
    if refs:
        query = query.where(or_(_payout.id.in_(refs), _payout.ref.in_(refs)))
    if recorded_by is not None:
        query = query.where(_payout.recorded_at <= recorded_by)
    none = Decimal("0.00")
    files = tuple(await files_read(session))
    return [
        PayoutRow(
            row[0],
            row[1],
            row[2] or 0,
            row[3] or 0,
            row[4] or none,
            row[5] or none,
            row[6] or none,
            row[7] or none,
            row[8],
            files,
        )
        for row in (await session.exec(query)).all()
    ]


async def entries(session: AsyncSession, payout_id: str) -> list[tuple[BalanceEntry, str | None]]:
    """Return a payout's entries with the names of their participants, oldest first."""
    query: Any = (
        select(_entry, _participant.full_name, _participant.id)
        .join(_detail, _detail.payment_id == _entry.payment_id, isouter=True)
        .join(_participant, _participant.id == _detail.participant_id, isouter=True)
        .where(_entry.payout_id == payout_id)
        .order_by(_entry.at, _entry.id)
    )
    # a missing name is read as unknown; a fee has no participant at all
    return [(row[0], row[1] if row[2] else None) for row in (await session.exec(query)).all()]


async def payouts_of_payment(session: AsyncSession, payment_id: str) -> list[str]:
    """Return the payouts that a payment's money is in."""
    query: Any = (
        select(_entry.payout_id)
        .where(_entry.payment_id == payment_id, _entry.payout_id.is_not(None))
        .distinct()
    )
    return [row[0] for row in (await session.exec(query)).all()]


async def accounts(session: AsyncSession) -> set[str]:
    """Return the accounts whose lines were read."""
    query: Any = select(_line.account).distinct()
    return {row[0] for row in (await session.exec(query)).all()}


async def save_lines(session: AsyncSession, rows: list[dict[str, Any]]) -> int:
    """Insert lines of the bank; return the number of those that are new."""
    new = 0
    for row in rows:
        new += await insert_once(session, BankStatementLine, row)
    return new


async def files_read(session: AsyncSession) -> list[BankFileRead]:
    """Return the files of the bank that were read."""
    query: Any = select(_run.started_at, _run.window_from, _run.window_until).where(_run.provider == _BANK)
    return [
        BankFileRead(read_at, begins and begins.date(), ends and ends.date() - timedelta(days=1))
        for read_at, begins, ends in (await session.exec(query)).all()
    ]


async def save_file_read(
    session: AsyncSession, row_id: str, file: BankFileRead, *, account: str, kind: str, by: str
) -> None:
    """Store that a file of the bank was read, once for the same days.

    :param kind: what the file was read as.
    """
    if any((file.first, file.last) == (known.first, known.last) for known in await files_read(session)):
        return
    begins = None if file.first is None else datetime.combine(file.first, time(), UTC)
    ends = None if file.last is None else datetime.combine(file.last, time(), UTC) + timedelta(days=1)
    values = {
        "id": row_id, "provider": _BANK, "source": kind, "state": "done", "window_from": begins,
        "window_until": ends, "started_at": file.read_at, "finished_at": file.read_at, "started_by": by,
        "counts": {"account": account},
    }  # fmt: skip
    await insert_once(session, ReconciliationRun, values)


async def lines_of(session: AsyncSession, account: str, since: date, until: date) -> list[BankStatementLine]:
    """Return the lines of an account that were booked on these days."""
    query: Any = select(_line).where(
        _line.account == account, _line.booked_on >= since, _line.booked_on <= until
    )
    return [row[0] for row in (await session.exec(query)).all()]


async def free_lines(session: AsyncSession) -> list[BankStatementLine]:
    """Return the bank's lines that belong to no payout, oldest first."""
    used = select(_payout.bank_line_id).where(_payout.bank_line_id == _line.id).exists()
    query: Any = select(_line).where(~used).order_by(_line.booked_on, _line.id)
    return [row[0] for row in (await session.exec(query)).all()]


async def set_match(
    session: AsyncSession, payout_ids: Sequence[str], line_id: str, how: str, by: str, at: datetime
) -> None:
    """Record that payouts arrived by a line, unless they have one already."""
    await session.exec(
        update(Payout)
        .where(_payout.id.in_(payout_ids), _payout.bank_line_id.is_(None))
        .values(bank_line_id=line_id, matched_how=how, matched_by=by, matched_at=at)
    )


async def costs(
    session: AsyncSession, since: datetime | None, until: datetime | None
) -> list[tuple[str, Decimal, int]]:
    """Return the account's own costs, of no payment: currency, sum (positive for money taken), count."""
    query: Any = (
        select(_entry.currency, -func.sum(_entry.net), func.count())
        .where(_entry.kind == LineKind.OTHER, _entry.payment_id.is_(None), _entry.category.in_(sorted(COSTS)))
        .group_by(_entry.currency)
        .order_by(_entry.currency)
    )
    if since is not None:
        query = query.where(_entry.at >= since)
    if until is not None:
        query = query.where(_entry.at < until)
    return [(row[0], row[1], row[2]) for row in (await session.exec(query)).all()]


async def parts(
    session: AsyncSession, since: datetime, until: datetime, tournament_id: str | None
) -> dict[str, tuple[int, Decimal]]:
    """Return by payout what of it moved in a period: its payments and the net of all. A payment counts when
    we booked it, anything else when it moved at the provider."""
    booked = case((_entry.kind == LineKind.PAYMENT, _detail.completed_at))
    at = func.coalesce(booked, _entry.at, type_=UtcDateTime())
    query: Any = (
        select(_entry.payout_id, func.count(case((_entry.kind == LineKind.PAYMENT, 1))), func.sum(_entry.net))
        .join(_detail, _detail.payment_id == _entry.payment_id, isouter=True)
        .join(_payment, _payment.id == _entry.payment_id, isouter=True)
        .where(_entry.payout_id.is_not(None), at >= since, at < until)
        .group_by(_entry.payout_id)
    )
    if tournament_id is not None:
        query = query.where(_payment.tournament_id == tournament_id)
    return {row[0]: (row[1], row[2]) for row in (await session.exec(query)).all()}


async def of_tournament(session: AsyncSession, tournament_id: str) -> list[tuple[str, str, Decimal]]:
    """Return for each payout the net of a tournament's movements in it: payout, currency, net."""
    query: Any = (
        select(_entry.payout_id, _entry.currency, func.sum(_entry.net))
        .join(_payment, _payment.id == _entry.payment_id)
        .where(_payment.tournament_id == tournament_id, _entry.payout_id.is_not(None))
        .group_by(_entry.payout_id, _entry.currency)
    )
    return [tuple(row) for row in (await session.exec(query)).all()]
