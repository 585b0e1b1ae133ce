"""Lists of the inbox, newest first, by keyset."""

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
    """Which events; ``None`` means any. ``since`` is included.

    :param type: word for word, or its beginning with a ``*`` at the end.
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
    session: AsyncSession, wanted: EventFilter, *, limit: int, cursor: str | None = None
) -> tuple[list[WebhookEvent], str | None]:
    """One page and the cursor of the next one, ``None`` at the end.

    :raises Refused: a limit outside 1..200, or an invalid cursor.
    """
    if not 1 <= limit <= MOST:
        raise Refused(f"limit is 1 to {MOST}, not {limit}")
    query: Any = (
        select(WebhookEvent)
        .where(*_conditions(wanted))
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
    """An event by its row's id or the provider's."""
    query: Any = select(WebhookEvent).where(or_(WebhookEvent.id == name, WebhookEvent.event_id == name))
    if lock:
        query = query.with_for_update()
    found: WebhookEvent | None = (await session.exec(query.limit(1))).first()
    return found


def _conditions(wanted: EventFilter) -> list[Any]:
    found: list[Any] = []
    if wanted.state is not None:
        found.append(WebhookEvent.state == wanted.state)
    if wanted.provider is not None:
        found.append(WebhookEvent.provider == wanted.provider)
    if wanted.payment_id is not None:
        found.append(WebhookEvent.payment_id == wanted.payment_id)
    if wanted.since is not None:
        found.append(col(WebhookEvent.received_at) >= wanted.since)
    if wanted.type is not None:
        kind = col(WebhookEvent.type)
        starts = kind.startswith(wanted.type[:-1], autoescape=True)
        found.append(starts if wanted.type.endswith("*") else kind == wanted.type)
    return found
