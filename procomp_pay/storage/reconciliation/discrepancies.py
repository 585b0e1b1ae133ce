"""Store discrepancies: found, found again, closed, resolved; and list them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import and_, col, func, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.errors import NotFound, Refused
from procomp_pay.domain.states import PaymentMethod, PaymentStatus
from procomp_pay.domain.transitions import DiscrepancyKind, Topic
from procomp_pay.storage.database.insert_once import insert_once, insert_returning
from procomp_pay.storage.database.keyset_cursor import MOST, read_cursor, write_cursor
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.models.queues import Discrepancy, ReconciliationRun
from procomp_pay.storage.models.states import DiscrepancyState
from procomp_pay.storage.notifications.outbox import enqueue

#: How a discrepancy ended that was not found any more.
GONE = "gone"
#: Resolutions that last if the difference is found again: the others open it again.
FINAL = frozenset({"accept", "write-off"})
#: Details that another file, or the API, words differently for the same difference.
_OF_ONE_LOOK = frozenset({"at", "line", "ref", "payment_ref"})


@dataclass(frozen=True, slots=True)
class Filter:
    """Which ones; ``None`` means any."""

    kind: DiscrepancyKind | None = None
    state: DiscrepancyState | None = None
    provider: str | None = None
    tournament_id: str | None = None
    payment_id: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What a run found, as it is kept. ``detail`` must be stable while the difference is the same."""

    fingerprint: str
    kind: DiscrepancyKind
    provider: str
    payment_id: str | None
    detail: dict[str, Any]


async def keep(
    session: AsyncSession, found: list[Found], *, ids: list[str], run_id: str | None, now: datetime
) -> list[str]:
    """Write differences down, each once. What became of each: ``opened``, ``again``, ``reopened``, or
    ``accepted`` if an operator has decided about the very same one.

    :param ids: for new rows; as many as there are differences, at most a page's.
    """
    unique = {
        each.fingerprint: _new_row(each, row_id, run_id, now) for each, row_id in zip(found, ids, strict=True)
    }
    opened = await insert_returning(session, Discrepancy, list(unique.values()), "fingerprint")
    became, rows = dict.fromkeys(opened, "opened"), dict[str, Discrepancy]()
    if before := unique.keys() - opened:
        known = await session.exec(
            select(Discrepancy)
            .where(col(Discrepancy.fingerprint).in_(before))
            .order_by(col(Discrepancy.fingerprint))
            .with_for_update()
        )
        rows = {row.fingerprint: row for row in known.all()}
    for each in found:
        if each.fingerprint in rows and each.fingerprint not in became:
            became[each.fingerprint] = _touch(rows[each.fingerprint], each, run_id, now)
    return [became[each.fingerprint] for each in found]


def _new_row(found: Found, row_id: str, run_id: str | None, now: datetime) -> dict[str, Any]:
    return {
        "id": row_id,
        "fingerprint": found.fingerprint,
        "kind": found.kind.value,
        "provider": found.provider,
        "payment_id": found.payment_id,
        "run_id": run_id,
        "detail": found.detail,
        "state": DiscrepancyState.OPEN,
        "opened_at": now,
        "last_seen_at": now,
    }


def _touch(row: Discrepancy, found: Found, run_id: str | None, now: datetime) -> str:
    before, row.last_seen_at = row.detail, now
    row.provider = row.provider or found.provider
    if row.state is DiscrepancyState.OPEN:
        row.detail, row.run_id = row.detail | found.detail, run_id or row.run_id
        return "again"
    same = _facts(before) == _facts(found.detail) if "ours" in before else _is_what_came(before, found.detail)
    if row.resolution in FINAL and same:
        return "accepted"
    decided = {"resolution": row.resolution, "by": row.resolved_by, "note": row.note}
    row.detail = found.detail | {"before": decided}
    row.state, row.opened_at, row.run_id = DiscrepancyState.OPEN, now, run_id
    row.resolution = row.note = row.resolved_by = row.resolved_at = None
    return "reopened"


def _is_what_came(before: dict[str, Any], detail: dict[str, Any]) -> bool:
    """Return whether a discrepancy was opened by settlement and is about the same received amount."""
    came, told = before.get("paid") or {}, detail.get("theirs") or {}
    names = [name for name in ("amount", "currency") if name in came and told.get(name) is not None]
    return all(came[name] == told[name] for name in names)


def _facts(detail: dict[str, Any]) -> list[dict[str, Any]]:
    """Return both sides without what depends on one reading: when, in which line, under which of its
    names.
    """
    return [
        {name: value for name, value in (detail.get(side) or {}).items() if name not in _OF_ONE_LOOK}
        for side in ("ours", "theirs")
    ]


def close(row: Discrepancy, *, how: str, note: str, by: str, now: datetime) -> None:
    """Resolve a row that the caller has locked."""
    row.state, row.resolution, row.note = DiscrepancyState.RESOLVED, how, note
    row.resolved_by, row.resolved_at = by, now


async def one(session: AsyncSession, row_id: str, *, lock: bool = False) -> Discrepancy:
    """
    :raises NotFound: no such discrepancy.
    """
    query = select(Discrepancy).where(Discrepancy.id == row_id).execution_options(populate_existing=True)
    row = (await session.exec(query.with_for_update() if lock else query)).one_or_none()
    if row is None:
        raise NotFound(f"There is no discrepancy {row_id[:64]!r}", next_step="procomp-pay discrepancies list")
    return row


async def open_ones(
    session: AsyncSession, provider: str, *, unseen_since: datetime, after: str = "", limit: int = 100
) -> list[Discrepancy]:
    """Open rows of a provider that a run did not find again, by id."""
    found = await session.exec(
        select(Discrepancy)
        .join(Payment, col(Payment.id) == col(Discrepancy.payment_id), isouter=True)
        .where(
            Discrepancy.state == DiscrepancyState.OPEN,
            col(Discrepancy.last_seen_at) < unseen_since,
            col(Discrepancy.id) > after,
            _is_of(provider),
        )
        .order_by(col(Discrepancy.id))
        .limit(limit)
    )
    return list(found.all())


async def count_open(session: AsyncSession, provider: str | None = None) -> int:
    """Return the number of open discrepancies."""
    query = select(func.count(col(Discrepancy.id))).where(Discrepancy.state == DiscrepancyState.OPEN)
    if provider is not None:
        query = query.join(Payment, col(Payment.id) == col(Discrepancy.payment_id), isouter=True)
        query = query.where(_is_of(provider))
    return (await session.exec(query)).one()


def _is_of(provider: str) -> Any:
    """Return the condition for a provider's rows. Old rows have none: their payment has it."""
    kaspi = col(Payment.method) == PaymentMethod.KASPI_QR
    by_method = kaspi if provider == "kaspi" else or_(~kaspi, col(Payment.method).is_(None))
    return or_(Discrepancy.provider == provider, and_(col(Discrepancy.provider).is_(None), by_method))


async def page(
    session: AsyncSession, wanted: Filter, *, limit: int, cursor: str | None = None
) -> tuple[list[Discrepancy], str | None]:
    """One page, newest first, and the cursor of the next one.

    :raises Refused: a limit outside 1..200, or an invalid cursor.
    """
    if not 1 <= limit <= MOST:
        raise Refused(f"limit is 1 to {MOST}, not {limit}")
    query: Any = select(Discrepancy).join(
        Payment, col(Payment.id) == col(Discrepancy.payment_id), isouter=True
    )
    for column, value in (
        (Discrepancy.kind, wanted.kind.value if wanted.kind else None),
        (Discrepancy.state, wanted.state),
        (Discrepancy.payment_id, wanted.payment_id),
        (Payment.tournament_id, wanted.tournament_id),
    ):
        if value is not None:
            query = query.where(column == value)
    if wanted.provider is not None:
        query = query.where(_is_of(wanted.provider))
    if cursor is not None:
        at, row_id = read_cursor(cursor)
        older = and_(col(Discrepancy.opened_at) == at, col(Discrepancy.id) < row_id)
        query = query.where(or_(col(Discrepancy.opened_at) < at, older))
    query = query.order_by(col(Discrepancy.opened_at).desc(), col(Discrepancy.id).desc()).limit(limit + 1)
    rows = list((await session.exec(query)).all())
    more = rows[limit - 1] if len(rows) > limit else None
    return rows[:limit], write_cursor(more.opened_at, more.id) if more else None


async def interrupted(session: AsyncSession, provider: str) -> list[ReconciliationRun]:
    """Runs that say that they run. Asked under the lock of reconcile: they were killed."""
    found = await session.exec(
        select(ReconciliationRun).where(
            ReconciliationRun.provider == provider, ReconciliationRun.state == "running"
        )
    )
    return list(found.all())


async def last_window_end(session: AsyncSession, provider: str) -> datetime | None:
    """Up to when a provider was read without a gap by a run that ended well."""
    found = await session.exec(
        select(func.max(ReconciliationRun.window_until)).where(
            ReconciliationRun.provider == provider,
            ReconciliationRun.state == "done",
            ReconciliationRun.source == "api",
        )
    )
    return found.one()


async def payment_awaiting_decision(
    session: AsyncSession, participant_id: str, statuses: Collection[PaymentStatus]
) -> str | None:
    """Return a participant's payment for which another amount came and no decision was made."""
    kinds = [DiscrepancyKind.AMOUNT_MISMATCH.value, DiscrepancyKind.CURRENCY_MISMATCH.value]
    found = await session.exec(
        select(PaymentDetail.payment_id)
        .join(Discrepancy, col(Discrepancy.payment_id) == col(PaymentDetail.payment_id))
        .join(Payment, col(Payment.id) == col(PaymentDetail.payment_id))
        .where(
            PaymentDetail.participant_id == participant_id,
            Discrepancy.state == DiscrepancyState.OPEN,
            col(Discrepancy.kind).in_(kinds),
            col(Payment.status).in_(statuses),
        )
        .limit(1)
    )
    return found.first()


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
) -> bool:
    """Open a discrepancy for manual review, with an alert; the same one found again is touched, not doubled.

    :param key: what makes it the same one, beside its kind and payment.
    :param alerts: False if the caller enqueues a more specific alert.
    """
    fingerprint = f"{kind}:{payment_id}:{key}"
    row = (await session.exec(select(Discrepancy).where(Discrepancy.fingerprint == fingerprint))).first()
    if row is not None:
        row.last_seen_at = now
        if row.state is DiscrepancyState.OPEN:
            row.detail = row.detail | detail  # who overrode what reconcile had found
        return False
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
    return opened
