"""Count a day for its closing: both sides by method and currency, clerks, and what is open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.errors import Refused
from procomp_pay.domain.events import Source
from procomp_pay.domain.period import Period, offsets
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.refunds import DisputeState
from procomp_pay.domain.states import AnyMethod, PaymentMethod
from procomp_pay.domain.text import N_
from procomp_pay.services.context import AppContext
from procomp_pay.services.operators.approvals import ApprovalView, waiting
from procomp_pay.services.payouts.view import DayPayout, payouts_of_day, today
from procomp_pay.services.reconciliation.discrepancies import DiscrepancyView, view_of
from procomp_pay.services.reports.tournament_closing import THE_APP
from procomp_pay.services.views.timestamps import instant
from procomp_pay.storage.closing import day as queries
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.payments import kaspi_operations
from procomp_pay.storage.payouts import repository as payouts
from procomp_pay.storage.reports import money
from procomp_pay.storage.reports.attempts import Scope, one_moment
from procomp_pay.storage.reports.tournament_closing import ClosingPayment

_NONE = Decimal("0.00")
#: The clerk of refunds that nobody requested here.
AT_PROVIDER = N_("(at the provider)")
#: Kinds of discrepancies about money that came and may have to go back.
_TO_GIVE_BACK = frozenset(
    {
        DiscrepancyKind.DUPLICATE_PAYMENT, DiscrepancyKind.LATE_PAYMENT, DiscrepancyKind.AMOUNT_MISMATCH,
        DiscrepancyKind.CURRENCY_MISMATCH, DiscrepancyKind.PARTICIPANT_MISMATCH,
    }
)  # fmt: skip


@dataclass(slots=True)
class Side:
    """Payments and refunds in our books, or at a provider. Sums are positive."""

    paid: int = 0
    paid_sum: Decimal = _NONE
    refunds: int = 0
    refund_sum: Decimal = _NONE
    lost_sum: Decimal = _NONE

    @property
    def kept(self) -> Decimal:
        return self.paid_sum - self.refund_sum - self.lost_sum

    def full(self) -> dict[str, Any]:
        return {
            "payments": self.paid,
            "paid": self.paid_sum,
            "refunds": self.refunds,
            "refunded": self.refund_sum,
            "disputes_lost": self.lost_sum,
            "kept": self.kept,
        }


@dataclass(slots=True)
class BothSides:
    """One method and currency on both sides.

    :param not_seen: paid payments of which no record of the provider was read.
    :param in_dispute: what the provider holds back until open disputes end; on neither side.
    :param other_currency: movements on a balance of another currency, which cannot be compared by sums.
    """

    method: str
    currency: str
    ours: Side = field(default_factory=Side)
    theirs: Side = field(default_factory=Side)
    fees: Decimal = _NONE
    without_fee: int = 0
    not_seen: int = 0
    in_dispute: Decimal = _NONE
    other_currency: int = 0

    @property
    def difference(self) -> Decimal:
        """Return how much more the provider has; negative if it has less."""
        return self.theirs.kept - self.ours.kept

    @property
    def agrees(self) -> bool:
        same = (self.ours.paid_sum, self.ours.refund_sum) == (self.theirs.paid_sum, self.theirs.refund_sum)
        return same and not self.difference and not self.not_seen

    def full(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "currency": self.currency,
            "ours": self.ours.full(),
            "provider": self.theirs.full(),
            "difference": self.difference,
            "provider_fees": self.fees,
            "payments_without_fee": self.without_fee,
            "not_seen_at_provider": self.not_seen,
            "held_by_disputes": self.in_dispute,
            "in_another_currency": self.other_currency,
        }


@dataclass(slots=True)
class Clerk:
    """What one person did in one currency; a refund counts under who made it, not under who took the
    payment."""

    name: str
    currency: str
    taken: int = 0
    taken_sum: Decimal = _NONE
    verified: int = 0
    verified_sum: Decimal = _NONE
    refunds: int = 0
    refund_sum: Decimal = _NONE

    def full(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "currency": self.currency,
            "payments_taken": self.taken,
            "taken": self.taken_sum,
            "receipts_verified": self.verified,
            "verified": self.verified_sum,
            "refunds_made": self.refunds,
            "refunded": self.refund_sum,
        }


@dataclass(frozen=True, slots=True)
class ByHand:
    """A refund to be made in the Kaspi Pay app.

    :param number: of the operation there, as its History shows it.
    """

    payment_id: str | None
    number: str
    amount: Decimal
    currency: str
    name: str
    why: str
    discrepancy_id: str | None = None
    #: It is another operation than the payment's own.
    is_second: bool = False

    @property
    def key(self) -> str:
        return self.discrepancy_id or f"{self.payment_id}:{self.amount}"

    def signed(self) -> dict[str, Any]:
        """Return it without the name."""
        return {
            "payment_id": self.payment_id,
            "operation_number": self.number,
            "amount": self.amount,
            "currency": self.currency,
            "why": self.why,
            "discrepancy_id": self.discrepancy_id,
        }

    def full(self) -> dict[str, Any]:
        return self.signed() | {"participant_name": self.name}


@dataclass(slots=True)
class DayFigures:
    """A day as of one moment."""

    as_of: datetime
    both: list[BothSides] = field(default_factory=list)
    unknown: list[DiscrepancyView] = field(default_factory=list)
    clerks: list[Clerk] = field(default_factory=list)
    open: list[DiscrepancyView] = field(default_factory=list)
    by_hand: list[ByHand] = field(default_factory=list)
    unfinished: list[dict[str, Any]] = field(default_factory=list)
    payouts: list[DayPayout] = field(default_factory=list)
    #: Requests that wait for a second operator; nothing of them was done yet.
    approvals: list[ApprovalView] = field(default_factory=list)
    #: A statement of the bank was given at least once.
    payouts_followed: bool = True
    payments: list[ClosingPayment] = field(default_factory=list)
    numbers: dict[str, list[str]] = field(default_factory=dict)

    def sums(self) -> dict[str, Any]:
        """Return what is signed: sums, clerks, and the ids of what is open. It is kept, so it names nobody
        who paid."""
        return {
            "sums": [line.full() for line in self.both],
            "money_of_no_payment": [view.discrepancy_id for view in self.unknown],
            "clerks": [clerk.full() for clerk in self.clerks],
            "open_discrepancies": [view.discrepancy_id for view in self.open],
            "refunds_by_hand": [refund.signed() for refund in self.by_hand],
            "payouts": [payout.signed() for payout in self.payouts],
        }

    def full(self) -> dict[str, Any]:
        """Return the document for ``--json``."""
        return self.sums() | {
            "as_of": instant(self.as_of),
            "unfinished": self.unfinished,
            "open_discrepancies": [view.full() for view in self.open],
            "refunds_by_hand": [refund.full() for refund in self.by_hand],
            "payouts": [payout.full() for payout in self.payouts],
            "waiting_approvals": [approval.full() for approval in self.approvals],
        }


async def count(
    ctx: AppContext, period: Period, tournament_id: str | None, told: Mapping[str, Any]
) -> DayFigures:
    """Count a day, as of now.

    :param told: what Kaspi's API said when each payment was asked for: paid and refunded in all, by payment.
    """
    figures = DayFigures(ctx.clock())
    scope = Scope(tournament_id, period.begins, period.ends)
    async with ctx.db.reading() as session:
        await one_moment(ctx.db, session)
        await _count_both(session, period, scope, figures, told)
        if tournament_id is None and scope.since is not None and scope.until is not None:
            await _add_unknown(session, figures, scope.since, scope.until)
        figures.clerks = await _clerks(session, scope)
        figures.open = [
            await view_of(session, row) for row in await queries.open_discrepancies(session, tournament_id)
        ]
        figures.payouts_followed = await are_payouts_followed(session)
        figures.payouts = await payouts_of_day(
            session, period, tournament_id, today(ctx, period.zone), followed=figures.payouts_followed
        )
        figures.payments = await queries.of_the_day(session, scope)
        if scope.until is not None:
            figures.unfinished = await unfinished(session, tournament_id, scope.until)
        figures.approvals = await waiting(ctx, session, tournament_id)
        ids = [row.payment.id for row in figures.payments]
        figures.numbers = await kaspi_operations.of_payments(session, ids)
        figures.by_hand = await _by_hand(ctx, session, scope, figures.open)
    figures.both.sort(key=lambda line: (line.method, line.currency != "KZT", line.currency))
    return figures


async def are_payouts_followed(session: AsyncSession) -> bool:
    """Return whether any statement of the bank was given: without, nobody can know what arrived."""
    return bool(await payouts.files_read(session))


async def unfinished(
    session: AsyncSession, tournament_id: str | None, before: datetime
) -> list[dict[str, Any]]:
    """Return the events that are not handled, and the payments and refunds of unknown outcome."""
    scope = Scope(tournament_id, None, before)
    listed: list[dict[str, Any]] = [
        {"what": "event", "id": name, "status": state, "name": kind}
        for name, kind, state in await queries.unhandled_events(session, before)
    ]
    listed += [
        {
            "what": "payment", "id": row.payment.id, "status": row.payment.status.value,
            "name": row.full_name or "", "amount": row.detail.charged_amount,
            "currency": row.detail.charged_currency.value,
        }
        for row in await queries.unfinished(session, scope)
    ]  # fmt: skip
    return listed + [
        {
            "what": "refund", "id": refund.id, "status": refund.state.value, "name": name or "",
            "amount": refund.amount, "currency": refund.currency.value, "payment_id": refund.payment_id,
        }
        for refund, name in await queries.pending_refunds(session, tournament_id, before)
    ]  # fmt: skip


def _line(figures: DayFigures, method: AnyMethod | None, currency: str) -> BothSides:
    name = (method or PaymentMethod.KASPI_QR).public_name
    for line in figures.both:
        if (line.method, line.currency) == (name, currency):
            return line
    figures.both.append(BothSides(name, currency))
    return figures.both[-1]


async def _count_both(
    session: AsyncSession, period: Period, scope: Scope, figures: DayFigures, told: Mapping[str, Any]
) -> None:
    since, until = scope.since, scope.until
    if since is None or until is None:
        raise Refused(N_("A closing is of one day"))
    by = money.By(offsets(period.zone, since, until))
    async for moved in money.received(session, scope, by):
        line = _line(figures, moved.group.method, str(moved.group.currency))
        line.ours.paid += moved.count
        line.ours.paid_sum += moved.amount
    async for moved in money.paid_back(session, scope, by):
        line = _line(figures, moved.group.method, str(moved.group.currency))
        line.ours.refunds += moved.count
        line.ours.refund_sum += moved.amount
    async for moved in money.disputes(session, scope, by):
        if moved.state is DisputeState.LOST:
            _line(figures, moved.group.method, str(moved.group.currency)).ours.lost_sum += moved.amount
    for group in await queries.at_provider(session, scope):
        _add_movements(_line(figures, group.method, group.charged), group)
    for row in await queries.not_seen(session, scope):
        line = _line(figures, row.method, row.currency)
        line.without_fee += 1
        if row.payment_id not in told:
            line.not_seen += 1
            continue
        paid, back = (Decimal(each) for each in told[row.payment_id])
        line.theirs.paid += 1
        line.theirs.paid_sum += paid
        line.theirs.refunds += bool(back)
        line.theirs.refund_sum += back


def _add_movements(line: BothSides, group: queries.Moved) -> None:
    """Add a provider's movements; amounts on a balance of another currency are only counted."""
    if group.kind is LineKind.PAYMENT:
        line.without_fee += group.count - group.with_fee
    if group.currency != group.charged:
        line.other_currency += group.count
        return
    line.fees += group.fee
    match group.kind:
        case LineKind.PAYMENT:
            line.theirs.paid += group.count
            line.theirs.paid_sum += group.amount
        case LineKind.REFUND | LineKind.REFUND_FAILED:
            line.theirs.refunds += group.count if group.kind is LineKind.REFUND else -group.count
            line.theirs.refund_sum -= group.amount
        case LineKind.DISPUTE | LineKind.DISPUTE_REVERSED if group.dispute is DisputeState.LOST:
            line.theirs.lost_sum -= group.amount
        case LineKind.DISPUTE | LineKind.DISPUTE_REVERSED:
            line.in_dispute -= group.amount


async def _add_unknown(session: AsyncSession, figures: DayFigures, since: datetime, until: datetime) -> None:
    """Add the money that providers have and no payment of ours explains, by the day on which it came."""
    for row in await queries.unknown_money(session, since):
        theirs = row.detail.get("theirs") or {}
        try:
            at = datetime.fromisoformat(str(theirs.get("at")))
        except ValueError:
            continue
        if since <= at < until:
            figures.unknown.append(await view_of(session, row))


async def _clerks(session: AsyncSession, scope: Scope) -> list[Clerk]:
    clerks: dict[tuple[str, str], Clerk] = {}

    def clerk(name: str, currency: str) -> Clerk:
        return clerks.setdefault((name, currency), Clerk(name, currency))

    for name, source, currency, number, amount in await queries.taken(session, scope):
        line = clerk(THE_APP if source == Source.APP.value else name, currency)
        line.taken += number
        line.taken_sum += amount
    for name, number, amount in await queries.verified(session, scope):
        line = clerk(name, "KZT")
        line.verified += number
        line.verified_sum += amount
    for refund, is_ours in await queries.refunds_made(session, scope):
        line = clerk(refund.requested_by if is_ours else AT_PROVIDER, refund.currency.value)
        line.refunds += 1
        line.refund_sum += refund.amount
    return [clerks[key] for key in sorted(clerks, key=lambda key: (key[0].casefold(), key))]


async def _by_hand(
    ctx: AppContext, session: AsyncSession, scope: Scope, views: Iterable[DiscrepancyView]
) -> list[ByHand]:
    """Return the refunds that have to be made in the Kaspi Pay app: of open discrepancies where Kaspi has no
    refund by API, and those that Kaspi refused; of a payment once, beside a second operation, and never while
    another refund of it is on its way."""
    wanted = [view for view in views if view.provider == "kaspi" and view.kind in _TO_GIVE_BACK]
    failed = []
    if scope.until is not None:
        failed = await queries.failed_refunds(session, scope.tournament_id, scope.until)
    ids = {view.payment_id for view in wanted if view.payment_id} | {row.payment_id for row in failed}
    rows = await queries.rows_of(session, ids)
    numbers = await kaspi_operations.of_payments(session, sorted(ids))
    listed = await queries.being_refunded(session, ids)
    # a number that was verified for another payment: the money came once
    listed |= await kaspi_operations.counted_elsewhere(session, ids)
    refunds = []
    for view in wanted:
        row = rows.get(view.payment_id or "")
        if row is None or "settled" in view.detail:
            continue
        number, is_second = _operation(view, row, numbers)
        # what settled the payment is not the money of another amount
        if not is_second and (view.is_about_amount or can_refund(ctx, row)):
            continue
        amount = _came(view) if is_second else row.detail.charged_amount - row.detail.refunded_amount
        name = number if is_second else row.payment.id  # two discrepancies may be about one sum
        if amount <= 0 or name in listed or not (is_second or row.detail.completed_at is not None):
            continue
        listed.add(name)
        why = view.kind.lower().replace("_", " ")
        refunds.append(
            ByHand(
                row.payment.id,
                number,
                amount,
                "KZT",
                row.full_name or "",
                why,
                view.discrepancy_id,
                is_second,
            )
        )
    for refund in failed:
        row = rows.get(refund.payment_id)
        if row is None or refund.payment_id in listed:
            continue
        amount = min(refund.amount, row.detail.charged_amount - row.detail.refunded_amount)
        number, why = _operation_of(row, numbers), refund.failure_reason or "refused"
        refunds.append(ByHand(row.payment.id, number, amount, "KZT", row.full_name or "", why))
    return refunds


def can_refund(ctx: AppContext, row: ClosingPayment) -> bool:
    """Return whether the payment's provider refunds by API."""
    try:
        ctx.providers.of(row.detail.channel).ready_to_refund(row.payment.id)
    except Refused:
        return False
    return True


def _operation(
    view: DiscrepancyView, row: ClosingPayment, numbers: Mapping[str, list[str]]
) -> tuple[str, bool]:
    """Return the number of the operation to refund, and whether it is a second one beside the payment's."""
    own = _operation_of(row, numbers)
    settled_by = {own, row.payment.kaspi_qr_code, row.detail.provider_ref}
    second = view.second_operation(settled_by, is_settled=row.detail.completed_at is not None)
    return (own, False) if second is None else (second, True)


def _operation_of(row: ClosingPayment, numbers: Mapping[str, list[str]]) -> str:
    known = numbers.get(row.payment.id) or [row.payment.kaspi_transaction_id or row.detail.provider_ref or ""]
    return known[0]


def _came(view: DiscrepancyView) -> Decimal:
    money_of = view.detail.get("paid") or view.detail.get("theirs") or {}
    return Decimal(str(money_of.get("amount") or 0))
