"""Store the keys by which participants are searched, and narrow a search by them.

A key is a help, never the truth: a participant without one, or whose key was made of another name, is read
and compared by the name itself. So a search finds what it would find without any key.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import ColumnElement, func
from sqlmodel import and_, col, delete, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.name_search import KEY_VERSION, fragments, stored_keys
from procomp_pay.storage.database.bulk_write import Action, Write, write_all
from procomp_pay.storage.database.chunks import chunks
from procomp_pay.storage.models.platform import Participant
from procomp_pay.storage.models.registrations import ParticipantSearch

#: The most typed words that narrow a search, so that the statement stays short.
_WORDS = 6
#: Rows of one statement.
_AT_ONCE = 1000


def narrowed(query: Any, typed: str) -> Any:
    """Return a query of participants without those whose names cannot match what was typed."""
    words = fragments(typed)[:_WORDS]
    if not words or _no_database_takes(typed):
        return query
    key = col(ParticipantSearch.search_key)
    fits = and_(*(or_(*(key.contains(text, autoescape=True) for text in texts)) for texts in words))
    return query.join(ParticipantSearch, _is_of_participant(), isouter=True).where(or_(_is_stale(), fits))


async def stale(session: AsyncSession, *, limit: int) -> dict[str, str]:
    """Return the names of participants whose key is missing or made of another name, by their ids."""
    query: Any = (
        select(Participant.id, _name())
        .join(ParticipantSearch, _is_of_participant(), isouter=True)
        .where(_is_stale())
        .limit(limit)
    )
    return dict((await session.exec(query)).all())


async def store(session: AsyncSession, names: Mapping[str, str]) -> None:
    """Store the keys of these names.

    :param names: by the participant's id.
    """
    # sorted, so that two transactions wait for each other and do not deadlock
    for batch in chunks(sorted(names.items()), _AT_ONCE):
        keys = stored_keys([name for _, name in batch])
        rows = [
            {"participant_id": one, "full_name": name, "key_version": KEY_VERSION, "search_key": key}
            for (one, name), key in zip(batch, keys, strict=True)
        ]
        await write_all(session, [Write(Action.REPLACE, ParticipantSearch, rows)])


async def forget(session: AsyncSession, participant_ids: Collection[str]) -> None:
    """Delete the keys of these participants."""
    which = col(ParticipantSearch.participant_id).in_(list(participant_ids))
    await session.exec(delete(ParticipantSearch).where(which))


async def forget_removed(session: AsyncSession) -> None:
    """Delete the keys of participants whom the platform has deleted."""
    exists = select(Participant.id).where(_is_of_participant()).exists()
    await session.exec(delete(ParticipantSearch).where(~exists))


def _no_database_takes(typed: str) -> bool:
    """Return whether a statement with this text would fail: it has NUL, bytes that are no UTF-8, or is longer
    than any name (SQLite takes 50,000 bytes)."""
    return len(typed) > 1000 or any(c == "\0" or "\ud800" <= c <= "\udfff" for c in typed)


def _is_of_participant() -> ColumnElement[bool]:
    return col(ParticipantSearch.participant_id) == col(Participant.id)


def _name() -> Any:
    # the platform's column may be nullable
    return func.coalesce(col(Participant.full_name), "")


def _is_stale() -> ColumnElement[bool]:
    return or_(
        col(ParticipantSearch.participant_id).is_(None),
        col(ParticipantSearch.full_name) != _name(),
        col(ParticipantSearch.key_version) != KEY_VERSION,
    )
