"""Show payouts: where their money is, and what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from procomp_pay.domain.errors import NotFound
from procomp_pay.domain.payouts import NOT_ARRIVED, PayoutState, due_on, is_covered, is_open_on, state_of
from procomp_pay.domain.period import Period
from procomp_pay.domain.text import N_
from procomp_pay.services.context import AppContext
from procomp_pay.services.views.timestamps import instant
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.payouts import BalanceEntry
from procomp_pay.storage.payouts import repository as store
from procomp_pay.storage.payouts.repository import PayoutRow


@dataclass(frozen=True, slots=True)
class PayoutView:
    """A payout and its state on a day."""

    row: PayoutRow
    state: PayoutState

    @property
    def adds_up(self) -> bool:
        """Return whether all that is in it is known, to the tiyn."""
        return self.row.net == self.row.payout.amount

    @property
    def arrived_on(self) -> date | None:
        return None if self.row.line is None else self.row.line.booked_on

    @property
    def failed_at(self) -> datetime | None:
        return self.row.failed_at if self.state in (PayoutState.FAILED, PayoutState.RETURNED) else None

    def full(self) -> dict[str, Any]:
        payout, line = self.row.payout, self.row.line
        return {
            "payout_id": payout.id,
            "provider": payout.provider,
            "ref": payout.ref,
            "state": self.state.value,
            "provider_status": payout.status,
            "failure": payout.failure,
            "failed_at": instant(self.failed_at),
            "currency": payout.currency,
            "gross": self.row.gross,
            "fee": self.row.fee,
            "net": payout.amount,
            "entries": self.row.entries,
            "payments": self.row.payments,
            "adds_up": self.adds_up,
            "expected_on": payout.expected_on.isoformat(),
            "arrived_on": None if line is None else line.booked_on.isoformat(),
            "bank_line": None
            if line is None
            else {"line_id": line.id, "account": line.account, "amount": line.amount, "text": line.purpose},
            "matched_how": payout.matched_how,
            "matched_by": payout.matched_by,
            "matched_at": instant(payout.matched_at),
        }


def view_of(row: PayoutRow, today: date, as_of: datetime | None = None) -> PayoutView:
    """Return a payout's view; with ``as_of``, without a match that was made, a failure that came or a file of
    the bank that was read later."""
    payout = row.payout
    status = payout.status
    if as_of is not None and payout.matched_at is not None and payout.matched_at > as_of:
        row = replace(row, line=None)
    if as_of is not None and row.failed_at is not None and row.failed_at > as_of:
        row, status = replace(row, failed_at=None), "paid"
    arrived = None if row.line is None else row.line.amount
    files = [file for file in row.bank_files if as_of is None or file.read_at <= as_of]
    state = state_of(
        status,
        payout.amount,
        payout.expected_on,
        today,
        arrived=arrived,
        due=row.due,
        covered=arrived is None and is_covered(payout.expected_on, files),
    )
    return PayoutView(row, state)


async def list_payouts(
    ctx: AppContext, zone: ZoneInfo, since: date | None, until: date | None
) -> list[PayoutView]:
    """Return the payouts that are expected on these days, oldest first."""
    async with ctx.db.reading() as session:
        rows = await store.payouts(session, since=since, until=until)
    return [view_of(row, today(ctx, zone)) for row in rows]


def today(ctx: AppContext, zone: ZoneInfo) -> date:
    """Return the day in a zone."""
    return ctx.clock().astimezone(zone).date()


@dataclass(frozen=True, slots=True)
class DayPayout:
    """A payout on the evening of a day.

    :param payments, part: the day's payments in it, and the net of all that moved in it on that day.
    :param is_open: it is due and did not arrive, or something is wrong with it.
    """

    view: PayoutView
    payments: int
    part: Decimal
    is_open: bool

    @property
    def key(self) -> str:
        """Return what stays the same while it is open for the same cause."""
        payout, state = self.view.row.payout, self.view.state
        why = "not arrived" if state in NOT_ARRIVED else state.value
        return f"{payout.provider} {payout.ref} {payout.currency}: {why}"

    def signed(self) -> dict[str, Any]:
        """Return what a closing keeps of it."""
        payout, arrived = self.view.row.payout, self.view.arrived_on
        return {
            "provider": payout.provider,
            "ref": payout.ref,
            "currency": payout.currency,
            "net": payout.amount,
            "payments_of_the_day": self.payments,
            "part_of_the_day": self.part,
            "expected_on": payout.expected_on.isoformat(),
            "arrived_on": None if arrived is None else arrived.isoformat(),
            "open": self.is_open,
        }

    def full(self) -> dict[str, Any]:
        return self.signed() | {"state": self.view.state.value, "failed_at": instant(self.view.failed_at)}


async def payouts_of_day(
    session: AsyncSession, period: Period, tournament_id: str | None, on: date, *, followed: bool
) -> list[DayPayout]:
    """Return the payouts that a day has a part in; for all tournaments also those that are expected, arrived
    or failed on it, or are open on its evening.

    :param followed: the bank's statements are read; if not, no payout is open because it did not arrive.
    """
    begins, ends, day = period.begins, period.ends, period.since
    assert begins and ends and day  # noqa: S101, PT018 - a closing is of one day
    parts = await store.parts(session, begins, ends, tournament_id)
    found = []
    for row in await store.payouts(session):
        view = view_of(row, on)
        payout, failed = row.payout, view.failed_at
        failed_on = None if failed is None else failed.astimezone(period.zone).date()
        due = due_on(payout.provider, payout.expected_on)
        is_open = is_open_on(day, view.state, due, failed_on, followed=followed)
        is_of_day = is_open or day in (payout.expected_on, view.arrived_on, failed_on)
        if payout.id in parts or (is_of_day and tournament_id is None):
            found.append(DayPayout(view, *parts.get(payout.id, (0, Decimal("0.00"))), is_open))
    return found


@dataclass(frozen=True, slots=True)
class PayoutContent:
    """A payout with all that is in it."""

    view: PayoutView
    entries: list[tuple[BalanceEntry, str | None]]

    def full(self) -> dict[str, Any]:
        return self.view.full() | {
            "content": [
                {
                    "kind": entry.kind.value,
                    "category": entry.category,
                    "ref": entry.ref,
                    "payment_id": entry.payment_id,
                    "participant_name": name,
                    "description": entry.description,
                    "at": instant(entry.at),
                    "amount": entry.amount,
                    "fee": entry.fee,
                    "net": entry.net,
                }
                for entry, name in self.entries
            ]
        }


async def show_payout(ctx: AppContext, wanted: str, zone: ZoneInfo) -> list[PayoutContent]:
    """Return the payouts of a reference, of our id, or those that a payment is in, with their entries.

    :raises NotFound: there is none.
    """
    async with ctx.db.reading() as session:
        rows = await store.payouts(session, refs=[wanted])
        if not rows and (ids := await store.payouts_of_payment(session, wanted)):
            rows = await store.payouts(session, refs=ids)
        found = [
            PayoutContent(view_of(row, today(ctx, zone)), await store.entries(session, row.payout.id))
            for row in rows
        ]
    if not found:
        raise NotFound(
            N_("There is no payout %(ref)s, and no payout has a payment of this id", ref=wanted),
            next_step="procomp-pay payouts list",
        )
    return found


@dataclass(slots=True)
class PayoutSums:
    """Payouts of one currency by state: their number and sum."""

    currency: str
    by_state: dict[PayoutState, tuple[int, Decimal]] = field(default_factory=dict)

    def add(self, state: PayoutState, amount: Decimal) -> None:
        count, total = self.by_state.get(state, (0, Decimal("0.00")))
        self.by_state[state] = (count + 1, total + amount)

    def full(self) -> dict[str, Any]:
        return {
            "currency": self.currency,
            "states": {
                state.value: {"count": count, "amount": amount}
                for state, (count, amount) in sorted(self.by_state.items())
            },
        }


def sums_of(views: Sequence[PayoutView]) -> list[PayoutSums]:
    """Return the sums by currency, tenge first."""
    found: dict[str, PayoutSums] = {}
    for view in views:
        payout = view.row.payout
        found.setdefault(payout.currency, PayoutSums(payout.currency)).add(view.state, payout.amount)
    return [found[key] for key in sorted(found, key=lambda key: (key != "KZT", key))]


async def sums_in_period(
    session: AsyncSession, since: date | None, until: date | None, on: date
) -> list[PayoutSums]:
    """Return the sums of the payouts that are expected in a period."""
    rows = await store.payouts(session, since=since, until=until)
    return sums_of([view_of(row, on) for row in rows])


async def costs(session: AsyncSession, since: datetime | None, until: datetime | None) -> dict[str, Decimal]:
    """Return by currency what the accounts at the providers cost beyond the fees of payments."""
    return {currency: amount for currency, amount, _ in await store.costs(session, since, until)}


async def sums_of_tournament(
    session: AsyncSession, tournament_id: str, as_of: datetime, zone: ZoneInfo
) -> list[PayoutSums]:
    """Return by state the net of a tournament's movements that are in payouts which were known then."""
    parts = await store.of_tournament(session, tournament_id)
    rows = await store.payouts(session, refs=[part[0] for part in parts], recorded_by=as_of) if parts else []
    on = as_of.astimezone(zone).date()
    states = {row.payout.id: view_of(row, on, as_of).state for row in rows}
    found: dict[str, PayoutSums] = {}
    for payout_id, currency, net in sorted(parts):
        if payout_id in states:
            found.setdefault(currency, PayoutSums(currency)).add(states[payout_id], net)
    return [found[key] for key in sorted(found, key=lambda key: (key != "KZT", key))]
