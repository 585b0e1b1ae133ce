"""Claim events of the inbox, mark them as processed, and list them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import literal_column
from sqlmodel import and_, col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.errors import Refused
from procomp_pay.storage.database.bulk_write import Action, Write
from procomp_pay.storage.database.keyset_cursor import MOST, read_cursor, write_cursor
from procomp_pay.storage.models.columns import listed, spelled
from procomp_pay.storage.models.states import EventState
from procomp_pay.storage.models.webhooks import WebhookEvent

#: In the place of a payload that was dropped after its time.
DROPPED = ""


async def of_event(session: AsyncSession, provider: str, event_id: str) -> WebhookEvent:
    """Return an event that is in the inbox."""
    query = select(WebhookEvent).where(WebhookEvent.provider == provider, WebhookEvent.event_id == event_id)
    return (await session.exec(query)).one()


async def claim_event(session: AsyncSession, row_id: str) -> WebhookEvent | None:
    """Lock a pending event until the transaction ends, also before it is due; return ``None`` if it is not
    pending or locked by another transaction.
    """
    rows = await session.exec(
        select(WebhookEvent)
        .where(WebhookEvent.id == row_id, WebhookEvent.state == spelled(EventState.PENDING))
        .with_for_update(skip_locked=True)
    )
    return rows.first()


@dataclass(frozen=True, slots=True)
class ClaimedEvent:
    """An event that was claimed with others.

    :param payload_enc: empty where the caller knows the content.
    """

    id: str
    event_id: str
    type: str
    payload_enc: str
    provider: str
    received_at: datetime
    attempts: int


@dataclass(frozen=True, slots=True)
class ProcessedEvent:
    """The result of processing a claimed event.

    :param id: of the row. :param state: PENDING if it is retried.
    :param lag_s: seconds since it arrived.
    :param waits: it waits for another event, such as its payment's own: nothing went wrong.
    """

    id: str
    event_id: str
    type: str
    state: EventState
    payment_id: str | None = None
    lag_s: float = 0.0
    waits: bool = False


async def claim_many(
    session: AsyncSession, now: datetime, *, limit: int | None = None, of: list[str] | None = None
) -> list[ClaimedEvent]:
    """Lock up to ``limit`` pending events that are due, oldest first; skip those that are locked already.

    :param of: the ids of rows whose contents are known: of these only, without their payloads.
    """
    columns: list[Any] = [
        WebhookEvent.id,
        WebhookEvent.event_id,
        WebhookEvent.type,
        WebhookEvent.payload_enc if of is None else literal_column("''"),
        WebhookEvent.provider,
        WebhookEvent.received_at,
        WebhookEvent.attempts,
    ]
    query: Any = (
        select(*columns)
        .where(WebhookEvent.state == spelled(EventState.PENDING), col(WebhookEvent.next_attempt_at) <= now)
        .order_by(col(WebhookEvent.next_attempt_at), col(WebhookEvent.received_at))
        .limit(limit)
        .with_for_update(skip_locked=True, of=WebhookEvent)
    )
    if of is None:
        rows = await session.exec(query)
    elif session.get_bind().dialect.name == "postgresql":
        row_id = listed("rows")
        rows = await session.exec(query.join(row_id.table, row_id == WebhookEvent.id), params={"rows": of})
    else:
        rows = await session.exec(query.where(col(WebhookEvent.id).in_(of)))
    return [ClaimedEvent(*row) for row in rows.all()]


def marks(events: Sequence[ProcessedEvent], claimed: Sequence[ClaimedEvent], now: datetime) -> Write:
    """Return what marks claimed events as processed."""
    attempts = {event.id: event.attempts for event in claimed}
    return Write(
        Action.UPDATE,
        WebhookEvent,
        [
            {
                "id": event.id,
                "state": event.state,
                "payment_id": event.payment_id,
                "last_error": None,
                "attempts": attempts[event.id] + 1,
                "handled_at": now,
            }
            for event in events
        ],
    )


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Conditions on events; ``None`` means any. ``since`` is inclusive.

    :param type: the exact type, or its beginning followed by ``*``.
    """

    state: EventState | None = None
    type: str | None = None
    provider: str | None = None
    payment_id: str | None = None
    since: datetime | None = None
    has_payload: bool | None = None

    @property
    def is_any(self) -> bool:
        return self == EventFilter()


async def page(
    session: AsyncSession, filters: EventFilter, *, limit: int, cursor: str | None = None
) -> tuple[list[WebhookEvent], str | None]:
    """Return a page, and the cursor of the next one; ``None`` at the end.

    :raises Refused: a limit outside 1..200, or an invalid cursor.
    """
    if not 1 <= limit <= MOST:
        raise Refused(f"limit is 1 to {MOST}, not {limit}")
    query: Any = (
        select(WebhookEvent)
        .where(*_conditions(filters))
        .order_by(col(WebhookEvent.received_at).desc(), col(WebhookEvent.id).desc())
        .limit(limit + 1)
    )
    if cursor is not None:
        at, row_id = read_cursor(cursor)
        before = and_(col(WebhookEvent.received_at) == at, col(WebhookEvent.id) < row_id)
        query = query.where(or_(col(WebhookEvent.received_at) < at, before))
    rows = list((await session.exec(query)).all())
    more = rows[limit - 1] if len(rows) > limit else None
    return rows[:limit], write_cursor(more.received_at, more.id) if more else None


async def find(session: AsyncSession, name: str, *, lock: bool = False) -> WebhookEvent | None:
    """Return an event by the id of its row or the provider's id."""
    query: Any = select(WebhookEvent).where(or_(WebhookEvent.id == name, WebhookEvent.event_id == name))
    if lock:
        query = query.with_for_update()
    event: WebhookEvent | None = (await session.exec(query.limit(1))).first()
    return event


def _conditions(filters: EventFilter) -> list[Any]:
    conditions: list[Any] = []
    if filters.state is not None:
        conditions.append(WebhookEvent.state == filters.state)
    if filters.provider is not None:
        conditions.append(WebhookEvent.provider == filters.provider)
    if filters.payment_id is not None:
        conditions.append(WebhookEvent.payment_id == filters.payment_id)
    if filters.since is not None:
        conditions.append(col(WebhookEvent.received_at) >= filters.since)
    if filters.has_payload:
        conditions.append(WebhookEvent.payload_enc != DROPPED)
    if filters.type is not None:
        kind = col(WebhookEvent.type)
        starts = kind.startswith(filters.type[:-1], autoescape=True)
        conditions.append(starts if filters.type.endswith("*") else kind == filters.type)
    return conditions
