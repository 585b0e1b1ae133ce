"""Store, close and list discrepancies, and read reconciliation runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Text, cast
from sqlmodel import and_, col, func, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.discrepancies import ABOUT_AMOUNT, ABOUT_MONEY, DiscrepancyKind
from procomp_pay.domain.errors import InvalidAmount, NotFound, Refused
from procomp_pay.domain.labels import UnknownLabel
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.operation_number import canonical
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.refunds import DisputeState
from procomp_pay.domain.states import PaymentMethod, PaymentStatus
from procomp_pay.domain.text import N_
from procomp_pay.domain.topics import Topic
from procomp_pay.storage.database.bulk_write import insert_returning
from procomp_pay.storage.database.insert_once import insert_once
from procomp_pay.storage.database.keyset_cursor import MOST, read_cursor, write_cursor
from procomp_pay.storage.models.columns import spelled
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment
from procomp_pay.storage.models.reconciliation import Discrepancy, ReconciliationRun
from procomp_pay.storage.models.states import DiscrepancyState
from procomp_pay.storage.notifications.outbox import enqueue
from procomp_pay.storage.payments.kaspi_operations import among_used, used_by

#: The resolution of a discrepancy that was not found any more.
GONE = "gone"
#: Resolutions that remain valid if the difference is found again; otherwise it is opened again.
FINAL = frozenset({"accept", "write-off"})
#: Details in which another file, or the API, differs for the same difference.
_OF_ONE_LOOK = frozenset({"at", "line", "ref", "payment_ref", "after_restore"})
#: Details of a dispute that stay when a reconciliation finds its difference again.
_OF_A_DISPUTE = ("dispute_state", "dispute_at")
#: In the details of a difference that was found while books from a backup were completed.
AFTER_RESTORE = "after_restore"


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions on discrepancies; ``None`` means any."""

    kind: DiscrepancyKind | None = None
    state: DiscrepancyState | None = None
    provider: str | None = None
    tournament_id: str | None = None
    payment_id: str | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference that a run found. ``detail`` must stay the same while the difference is the same."""

    fingerprint: str
    kind: DiscrepancyKind
    provider: str
    payment_id: str | None
    detail: dict[str, Any]


async def keep(
    session: AsyncSession, differences: list[Difference], *, ids: list[str], run_id: str | None, now: datetime
) -> list[str]:
    """Store differences, each once. Return the outcome of each: ``opened``, ``again``, ``reopened``, or
    ``accepted`` if an operator has already decided about the same difference.

    :param ids: ids for new rows, one for each difference of a page.
    """
    unique = {
        difference.fingerprint: _new_row(difference, row_id, run_id, now)
        for difference, row_id in zip(differences, ids, strict=True)
    }
    opened = await insert_returning(session, Discrepancy, list(unique.values()), "fingerprint")
    outcomes, rows = dict.fromkeys(opened, "opened"), dict[str, Discrepancy]()
    if existing := unique.keys() - opened:
        result = await session.exec(
            select(Discrepancy)
            .where(col(Discrepancy.fingerprint).in_(existing))
            .order_by(col(Discrepancy.fingerprint))
            .with_for_update()
        )
        rows = {row.fingerprint: row for row in result.all()}
    for difference in differences:
        fingerprint = difference.fingerprint
        if fingerprint in rows and fingerprint not in outcomes:
            outcomes[fingerprint] = _update(rows[fingerprint], difference, run_id, now)
    return [outcomes[difference.fingerprint] for difference in differences]


def _new_row(difference: Difference, row_id: str, run_id: str | None, now: datetime) -> dict[str, Any]:
    return {
        "id": row_id,
        "fingerprint": difference.fingerprint,
        "kind": difference.kind.value,
        "provider": difference.provider,
        "payment_id": difference.payment_id,
        "run_id": run_id,
        "detail": difference.detail,
        "state": DiscrepancyState.OPEN,
        "opened_at": now,
        "last_seen_at": now,
    }


def _update(row: Discrepancy, difference: Difference, run_id: str | None, now: datetime) -> str:
    old_detail, row.last_seen_at = row.detail, now
    row.provider = row.provider or difference.provider
    if row.state is DiscrepancyState.OPEN:
        row.detail, row.run_id = row.detail | difference.detail, run_id or row.run_id
        return "again"
    # payments that fit are no longer looked for once it was decided
    is_matched = "candidates" in (difference.detail.get("theirs") or {})
    ignored = _OF_ONE_LOOK if is_matched else _OF_ONE_LOOK | {"candidates"}
    same = (
        _comparable(old_detail, ignored) == _comparable(difference.detail, ignored)
        if "ours" in old_detail
        else _is_same_amount(old_detail, difference.detail)
    )
    if row.resolution in FINAL and same:
        return "accepted"
    kept = {name: old_detail[name] for name in _OF_A_DISPUTE if name in old_detail}
    _reopen(row, difference.detail | kept | _earlier_operations(old_detail, {}), now)
    row.run_id = run_id
    return "reopened"


def _reopen(row: Discrepancy, detail: dict[str, Any], now: datetime) -> None:
    """Open a resolved row again, with the former decision in its detail."""
    row.detail = detail | {"before": {"resolution": row.resolution, "by": row.resolved_by, "note": row.note}}
    row.state, row.opened_at = DiscrepancyState.OPEN, now
    row.resolution = row.note = row.resolved_by = row.resolved_at = None


def _earlier_operations(old_detail: dict[str, Any], detail: dict[str, Any]) -> dict[str, Any]:
    """Return the Kaspi numbers that a new detail would drop, by which
    :func:`~procomp_pay.storage.payments.kaspi_operations.came_under` finds their money."""
    earlier, number = old_detail.get("earlier_operations", []), old_detail.get("operation")
    if number not in (None, detail.get("operation"), *earlier):
        earlier = [*earlier, number]
    return {"earlier_operations": earlier} if earlier else {}


async def other_money(
    session: AsyncSession, payment_ids: Collection[str]
) -> dict[str, dict[str, tuple[DiscrepancyKind, str]]]:
    """Return the Kaspi numbers under which more money came for these payments, by payment, each with the kind
    and the key of the discrepancy that tells of it first."""
    query = (
        select(Discrepancy)
        .where(col(Discrepancy.payment_id).in_(payment_ids), _is_about_money())
        .order_by(col(Discrepancy.opened_at).desc(), col(Discrepancy.id).desc())
    )
    of_payments: dict[str, dict[str, tuple[DiscrepancyKind, str]]] = {}
    for row in (await session.exec(query)).all():
        told = DiscrepancyKind(row.kind), row.fingerprint.split(":", 2)[2]
        of_payments.setdefault(str(row.payment_id), {}).update(dict.fromkeys(operations_in(row.detail), told))
    return of_payments


def _is_about_money() -> Any:
    return col(Discrepancy.kind).in_([kind.value for kind in ABOUT_MONEY])


def operations_in(detail: Mapping[str, Any]) -> list[str]:
    """Return the Kaspi numbers of money about which settlement opened a discrepancy of a payment."""
    return [*filter(None, (detail.get("operation"),)), *detail.get("earlier_operations", [])]


def _is_same_amount(old_detail: dict[str, Any], detail: dict[str, Any]) -> bool:
    """Return whether a discrepancy was opened by settlement and is about the same received amount."""
    received, theirs = old_detail.get("paid") or {}, detail.get("theirs") or {}
    names = [name for name in ("amount", "currency") if name in received and theirs.get(name) is not None]
    return all(received[name] == theirs[name] for name in names)


def _comparable(detail: dict[str, Any], ignored: Collection[str]) -> list[dict[str, Any]]:
    """Return both sides without the details that depend on the reading: time, line and reference."""
    return [
        {name: value for name, value in (detail.get(side) or {}).items() if name not in ignored}
        for side in ("ours", "theirs")
    ]


def close(row: Discrepancy, *, how: str, note: str, by: str, now: datetime) -> None:
    """Resolve a row that the caller has locked."""
    row.state, row.resolution, row.note = DiscrepancyState.RESOLVED, how, note
    row.resolved_by, row.resolved_at = by, now


async def close_if_open(
    session: AsyncSession,
    kind: DiscrepancyKind,
    payment_id: str,
    key: str,
    *,
    note: str,
    by: str,
    now: datetime,
) -> None:
    """Close the discrepancy with this kind, payment and key, if it is open: settlement removed its cause."""
    same = Discrepancy.fingerprint == _fingerprint(kind, payment_id, key)
    row = (await session.exec(select(Discrepancy).where(same).with_for_update())).first()
    if row is not None and row.state is DiscrepancyState.OPEN:
        close(row, how=GONE, note=note, by=by, now=now)


async def one(session: AsyncSession, row_id: str, *, lock: bool = False) -> Discrepancy:
    """Return a discrepancy.

    :raises NotFound: no such discrepancy.
    """
    query = select(Discrepancy).where(Discrepancy.id == row_id).execution_options(populate_existing=True)
    row = (await session.exec(query.with_for_update() if lock else query)).one_or_none()
    if row is None:
        raise NotFound(
            N_("There is no discrepancy %(id)s", id=repr(row_id[:64])),
            next_step="procomp-pay discrepancies list",
        )
    return row


@dataclass(frozen=True, slots=True)
class PaymentOf:
    """The payment that a discrepancy is about; no name if its participant was removed."""

    provider: str
    charged: Money
    full_name: str | None


async def payment_of(session: AsyncSession, payment_id: str) -> PaymentOf | None:
    """Return the payment of a discrepancy; ``None`` if it is not ours."""
    query: Any = (
        select(PaymentDetail, Participant.full_name)
        .join(Participant, col(Participant.id) == col(PaymentDetail.participant_id), isouter=True)
        .where(PaymentDetail.payment_id == payment_id)
    )
    row = (await session.exec(query)).first()
    if row is None:
        return None
    detail, name = row
    provider = "kaspi" if detail.channel.is_kaspi else "stripe"
    return PaymentOf(provider, Money(detail.charged_amount, detail.charged_currency), name)


async def open_ones(
    session: AsyncSession, provider: str, *, unseen_since: datetime, after: str
) -> list[Discrepancy]:
    """Return a hundred of a provider's open rows that a run did not find again, ordered by id."""
    result = await session.exec(
        select(Discrepancy)
        .join(Payment, col(Payment.id) == col(Discrepancy.payment_id), isouter=True)
        .where(
            Discrepancy.state == DiscrepancyState.OPEN,
            col(Discrepancy.last_seen_at) < unseen_since,
            col(Discrepancy.id) > after,
            _is_of(provider),
        )
        .order_by(col(Discrepancy.id))
        .limit(100)
    )
    return list(result.all())


async def count_open(session: AsyncSession, provider: str | None) -> int:
    """Return the number of open discrepancies."""
    query = select(func.count(col(Discrepancy.id))).where(Discrepancy.state == DiscrepancyState.OPEN)
    if provider is not None:
        query = query.join(Payment, col(Payment.id) == col(Discrepancy.payment_id), isouter=True)
        query = query.where(_is_of(provider))
    return (await session.exec(query)).one()


def _is_of(provider: str) -> Any:
    """Return the condition for a provider's rows. Some have no provider: their payment has, and else the key
    of the event that told of them (``kaspi:…``, ``kaspi_bill:…``)."""
    by_event = col(Discrepancy.fingerprint).contains(":None:kaspi", autoescape=True)
    kaspi = func.coalesce(col(Payment.method) == PaymentMethod.KASPI_QR, by_event)
    by_payment = kaspi if provider == "kaspi" else ~kaspi
    return or_(Discrepancy.provider == provider, and_(col(Discrepancy.provider).is_(None), by_payment))


async def page(
    session: AsyncSession, filters: Filter, *, limit: int, cursor: str | None = None
) -> tuple[list[Discrepancy], str | None]:
    """Return a page, newest first, and the cursor of the next one.

    :raises Refused: a limit outside 1..200, or an invalid cursor.
    """
    if not 1 <= limit <= MOST:
        raise Refused(f"limit is 1 to {MOST}, not {limit}")
    query: Any = select(Discrepancy).join(
        Payment, col(Payment.id) == col(Discrepancy.payment_id), isouter=True
    )
    for column, value in (
        (Discrepancy.kind, filters.kind.value if filters.kind else None),
        (Discrepancy.state, filters.state),
        (Discrepancy.payment_id, filters.payment_id),
        (Payment.tournament_id, filters.tournament_id),
    ):
        if value is not None:
            query = query.where(column == value)
    if filters.provider is not None:
        query = query.where(_is_of(filters.provider))
    if cursor is not None:
        at, row_id = read_cursor(cursor)
        older = and_(col(Discrepancy.opened_at) == at, col(Discrepancy.id) < row_id)
        query = query.where(or_(col(Discrepancy.opened_at) < at, older))
    query = query.order_by(col(Discrepancy.opened_at).desc(), col(Discrepancy.id).desc()).limit(limit + 1)
    rows = list((await session.exec(query)).all())
    more = rows[limit - 1] if len(rows) > limit else None
    return rows[:limit], write_cursor(more.opened_at, more.id) if more else None


async def interrupted(session: AsyncSession, provider: str) -> list[ReconciliationRun]:
    """Return runs whose state is "running". Under the reconciliation lock these are runs that were killed."""
    result = await session.exec(
        select(ReconciliationRun).where(
            ReconciliationRun.provider == provider, ReconciliationRun.state == "running"
        )
    )
    return list(result.all())


async def last_window_end(session: AsyncSession, provider: str) -> datetime | None:
    """Return the latest time up to which a successful run has read a provider."""
    result = await session.exec(
        select(func.max(ReconciliationRun.window_until)).where(
            ReconciliationRun.provider == provider,
            ReconciliationRun.state == "done",
            ReconciliationRun.source == "api",
        )
    )
    return result.one()


async def payment_awaiting_decision(
    session: AsyncSession, participant_id: str, statuses: Collection[PaymentStatus]
) -> str | None:
    """Return a participant's payment for which other money came and no decision was made: another amount in
    one of these statuses, or money in a status that only the platform knows.
    """
    result = await session.exec(awaiting_decision(participant_id, statuses).limit(1))
    payment_id: str | None = result.first()
    return payment_id


def awaiting_decision(participant_id: Any, statuses: Collection[PaymentStatus]) -> Any:
    """Return the query of :func:`payment_awaiting_decision`."""
    kinds = [kind.value for kind in ABOUT_AMOUNT]
    return (
        select(PaymentDetail.payment_id)
        .join(Discrepancy, col(Discrepancy.payment_id) == col(PaymentDetail.payment_id))
        .join(Payment, col(Payment.id) == col(PaymentDetail.payment_id))
        .where(
            PaymentDetail.participant_id == participant_id,
            Discrepancy.state == DiscrepancyState.OPEN,
            or_(
                and_(col(Discrepancy.kind).in_(kinds), col(Payment.status).in_(statuses)),
                and_(
                    Discrepancy.kind == DiscrepancyKind.STATUS_MISMATCH.value,
                    or_(col(Payment.status).is_(None), ~col(Payment.status).in_(list(PaymentStatus))),
                ),
            ),
        )
    )


async def holding_dispute(session: AsyncSession, payment: PaymentDetail) -> DisputeState | None:
    """Return the state of a dispute over a payment that holds its money back: of the one that the payment's
    row keeps, else of one in a discrepancy, whatever was decided about that; ``None`` if there is none.

    The caller holds the lock of the payment.
    """
    if payment.dispute_state is not None and payment.dispute_state.holds_refunds_back:
        return payment.dispute_state  # also of a dispute whose id is not known
    return next(iter((await holding_disputes(session, payment)).values()), None)


async def holding_disputes(session: AsyncSession, payment: PaymentDetail) -> dict[str, DisputeState]:
    """Return the disputes that hold a payment's money back, by their ids."""
    states = {payment.dispute_id: payment.dispute_state} if payment.dispute_id else {}
    result = await session.exec(
        select(Discrepancy).where(
            Discrepancy.payment_id == payment.payment_id,
            Discrepancy.kind == DiscrepancyKind.STATUS_MISMATCH.value,
        )
    )
    for row in result.all():
        states.setdefault(row.fingerprint.split(":", 2)[2], dispute_in(row)[0])
    return {name: state for name, state in states.items() if state is not None and state.holds_refunds_back}


async def of_disputes(
    session: AsyncSession, payment_id: str, dispute_ids: Collection[str]
) -> dict[str, Discrepancy]:
    """Return the rows of disputes over a payment, open or not, by the disputes' ids, and lock them in the
    order of :func:`keep`."""
    ids = {_fingerprint(DiscrepancyKind.STATUS_MISMATCH, payment_id, each): each for each in dispute_ids}
    result = await session.exec(
        select(Discrepancy)
        .where(col(Discrepancy.fingerprint).in_(ids))
        .order_by(col(Discrepancy.fingerprint))
        .with_for_update()
    )
    return {ids[row.fingerprint]: row for row in result.all()}


def dispute_in(row: Discrepancy | None) -> tuple[DisputeState | None, datetime | None]:
    """Return the newest known state of a dispute in its row, and the time of the event that told it."""
    state, at = ((row.detail if row is not None else {}).get(name) for name in _OF_A_DISPUTE)
    return DisputeState(state) if state else None, datetime.fromisoformat(at) if at else None


def dispute_detail(state: DisputeState, at: datetime | None) -> dict[str, Any]:
    """Return what :func:`dispute_in` reads from a row's detail."""
    return {"dispute_state": state.value, "dispute_at": at.isoformat() if at is not None else None}


def write_dispute(
    row: Discrepancy, detail: dict[str, Any], *, over: str | None, by: str, now: datetime
) -> None:
    """Write the newest state of a dispute into its row, whatever was decided about that.

    :param over: why nobody has to look at it here, with which an open row is closed; else a resolved one is
        opened again, unless somebody accepted the dispute in a state that weighed as much.
    """
    before, _ = dispute_in(row)
    row.detail, row.last_seen_at = row.detail | detail, now
    after, _ = dispute_in(row)
    is_worse = before is not None and after is not None and after.weight > before.weight
    if over is not None and row.state is DiscrepancyState.OPEN:
        close(row, how=GONE, note=over, by=by, now=now)
    elif (
        over is None and row.state is not DiscrepancyState.OPEN and (row.resolution not in FINAL or is_worse)
    ):
        _reopen(row, row.detail, now)


def unknown_money() -> list[Any]:
    """Return the conditions of money at Kaspi whose owner books from a backup do not know."""
    return [
        Discrepancy.state == DiscrepancyState.OPEN,
        Discrepancy.kind == DiscrepancyKind.MISSING_LOCALLY.value,
        Discrepancy.provider == "kaspi",
        col(Discrepancy.payment_id).is_(None),
        cast(col(Discrepancy.detail), Text).contains(f'"{AFTER_RESTORE}"'),
    ]


async def unknown_money_after_restore(session: AsyncSession, fees: Collection[Money]) -> str | None:
    """Return the operation number of so much money at Kaspi whose owner books from a backup do not know;
    ``None`` if there is none.

    :param fees: every fee at Kaspi of some day: it may have been paid when another one held.
    """
    if not fees:
        return None
    result = await session.exec(
        select(Discrepancy).where(*unknown_money()).order_by(col(Discrepancy.opened_at), col(Discrepancy.id))
    )
    wanted = {(LineKind.PAYMENT.value, fee.amount, fee.currency.value) for fee in fees}
    lines = [row.detail.get("theirs") or {} for row in result.all()]
    numbers = [
        str(line.get("payment_ref") or line.get("ref"))
        for line in lines
        if tuple(line.get(name) for name in ("kind", "amount", "currency")) in wanted
    ]
    used = await among_used(session, {canonical(number) for number in numbers})
    return next((number for number in numbers if canonical(number) not in used), None)


async def unapplied(session: AsyncSession, number: str, *, decided: bool = False) -> list[Discrepancy]:
    """Return what is open about a Kaspi operation whose money belongs to no payment, and lock it.

    :param decided: also what somebody decided about such money: it may have been given back.
    """
    is_meant: Any = col(Discrepancy.state) == spelled(DiscrepancyState.OPEN)
    if decided:
        is_meant = or_(is_meant, col(Discrepancy.resolution).in_(FINAL))
    query = select(Discrepancy).where(
        is_meant,
        Discrepancy.kind == DiscrepancyKind.MISSING_LOCALLY.value,
        col(Discrepancy.payment_id).is_(None),
        cast(col(Discrepancy.detail), Text).contains(number, autoescape=True),
    )
    rows = (await session.exec(query.order_by(col(Discrepancy.fingerprint)).with_for_update())).all()
    # the text may have it as an account or a sum, too
    return [row for row in rows if number in unapplied_numbers(row.detail)]


async def unapplied_decided_by(session: AsyncSession, key: str, number: str | None) -> str | None:
    """Return who decided about money that belonged to no payment, and lock the rows; ``None`` if nobody did.

    :param key: of the event that told of it, as in :func:`open_discrepancy`.
    :param number: of its Kaspi operation, of which a statement may have told as well; ``None`` if unknown.
    """
    own = Discrepancy.fingerprint == _fingerprint(DiscrepancyKind.MISSING_LOCALLY, None, key)
    rows = list((await session.exec(select(Discrepancy).where(own).with_for_update())).all())
    if number is not None:
        rows += await unapplied(session, number, decided=True)
    return next(filter(None, map(decided_by, rows)), None)


def decided_by(row: Discrepancy) -> str | None:
    """Return who decided about the money of such a discrepancy, also if it was found again and reopened."""
    if row.resolution in FINAL:
        return row.resolved_by
    return row.detail["before"].get("by") if was_decided(row.resolution, row.detail) else None


def was_decided(resolution: str | None, detail: Mapping[str, Any]) -> bool:
    """Return whether somebody decided about such a discrepancy, as :func:`decided_by`."""
    return bool({resolution, (detail.get("before") or {}).get("resolution")} & FINAL)


def unapplied_numbers(detail: Mapping[str, Any]) -> set[str]:
    """Return the numbers of the operation that brought nobody's money: of a statement's line, a bill or a
    callback."""
    line = detail.get("theirs") or {}
    # 0.1.0 wrote what a gateway told of a refund as "paid"
    went_back = "went_back" in detail or "refund" in str(detail.get("status")).lower()
    if went_back or line.get("kind", LineKind.PAYMENT.value) != LineKind.PAYMENT.value:
        return set()
    told = (line.get("ref"), line.get("payment_ref"), detail.get("txn_id"), detail.get("operation"))
    return {canonical(str(number)) for number in told if number is not None}


def unapplied_money(detail: Mapping[str, Any]) -> Money | None:
    """Return how much came by that operation, also in a currency that is none of ours; ``None`` if that is
    not known."""
    line = detail.get("theirs") or {}
    told = (line.get("amount"), detail.get("sum"), detail.get("paid"))
    amount = next((str(amount) for amount in told if amount is not None), "")
    currency = line.get("currency") or Currency.KZT
    try:
        number = Money.parse(amount, Currency.KZT).amount
    except InvalidAmount:
        return None
    return Money(number, Currency(currency) if currency in list(Currency) else UnknownLabel(currency))


async def is_explained(session: AsyncSession, detail: Mapping[str, Any]) -> bool:
    """Return whether a payment of ours was settled by the operation that such a discrepancy is about, or has
    one of its own about that money."""
    money = unapplied_money(detail)
    for number in unapplied_numbers(detail):
        used = await used_by(session, number)
        if used is not None and money in (None, Money(used.amount, Currency.KZT)):
            return True
        if used is None and await _is_other_money(session, number, money):
            return True
    return False


async def _is_other_money(session: AsyncSession, number: str, money: Money | None) -> bool:
    query = select(Discrepancy).where(
        col(Discrepancy.payment_id).is_not(None),
        _is_about_money(),
        cast(col(Discrepancy.detail), Text).contains(f'"{number}"', autoescape=True),
    )
    rows = [row for row in (await session.exec(query)).all() if number in operations_in(row.detail)]
    paid = [row.detail.get("paid") or {} for row in rows]
    return any(
        money is None or (each.get("amount"), each.get("currency")) == (money.amount, str(money.currency))
        for each in paid
    )


def _fingerprint(kind: DiscrepancyKind, payment_id: str | None, key: str) -> str:
    return f"{kind}:{payment_id}:{key}"


async def open_discrepancy(
    session: AsyncSession,
    kind: DiscrepancyKind,
    payment_id: str | None,
    detail: dict[str, Any],
    *,
    key: str,
    row_id: str,
    now: datetime,
    alerts: bool = True,
) -> None:
    """Open a discrepancy for manual review, with an alert; if it exists, only its time is updated.

    :param key: identifies the discrepancy, with its kind and payment.
    :param alerts: False if the caller enqueues a more specific alert.
    """
    fingerprint = _fingerprint(kind, payment_id, key)
    row = (await session.exec(select(Discrepancy).where(Discrepancy.fingerprint == fingerprint))).first()
    if row is not None:
        row.last_seen_at = now
        if row.state is DiscrepancyState.OPEN:
            # an override adds the operator to what reconcile found
            row.detail = row.detail | detail | _earlier_operations(row.detail, detail)
        return
    opened = await insert_once(
        session,
        Discrepancy,
        {
            "id": row_id,
            "fingerprint": fingerprint,
            "kind": kind.value,
            "payment_id": payment_id,
            "detail": detail,
            "state": DiscrepancyState.OPEN,
            "opened_at": now,
            "last_seen_at": now,
        },
    )
    if opened and alerts:
        await enqueue(
            session,
            Topic.ALERT_DISCREPANCY,
            {"discrepancy_id": row_id, "kind": kind.value, "payment_id": payment_id},
            row_id=row_id,
            now=now,
            payment_id=payment_id,
            dedup_key=f"{Topic.ALERT_DISCREPANCY}:{row_id}",
        )
