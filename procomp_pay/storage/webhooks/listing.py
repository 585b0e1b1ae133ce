"""List the inbox, newest first, by keyset."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import and_, col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.errors import Refused
from procomp_pay.storage.database.keyset_cursor import MOST, read_cursor, write_cursor
from procomp_pay.storage.models.queues import WebhookEvent
from procomp_pay.storage.models.states import EventState


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
    if filters.type is not None:
        kind = col(WebhookEvent.type)
        starts = kind.startswith(filters.type[:-1], autoescape=True)
        conditions.append(starts if filters.type.endswith("*") else kind == filters.type)
    return conditions
