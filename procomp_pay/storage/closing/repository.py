"""Find, begin and lock the closing of a day."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import String, literal
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.storage.audit.chain import CLOSING_CHAIN
from procomp_pay.storage.database.insert_once import insert_once
from procomp_pay.storage.models import exact_json
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.closing import ClosingDay

#: The name of a closing's chain of the audit trail.
_CHAIN = literal(CLOSING_CHAIN, String) + col(ClosingDay.id)


def digest(sums: Mapping[str, Any]) -> str:
    """Return the SHA-256 of figures, as a signature names them."""
    return hashlib.sha256(exact_json.dumps(sums, canonical=True).encode()).hexdigest()


async def with_chain_ends(session: AsyncSession, chains: list[str]) -> dict[str, tuple[ClosingDay, int]]:
    """Return closings by their chains, each with the number of its chain's last entry at that moment."""
    last = select(func.max(AuditEntry.seq)).where(AuditEntry.payment_id == _CHAIN).scalar_subquery()
    ids = [chain.removeprefix(CLOSING_CHAIN) for chain in chains]
    rows = await session.exec(select(ClosingDay, last).where(col(ClosingDay.id).in_(ids)))
    return {CLOSING_CHAIN + row.id: (row, seq or 0) for row, seq in rows.all()}


async def without_chain(session: AsyncSession) -> list[str]:
    """Return the chains that closings should have, and of which there is no entry."""
    chained = select(AuditEntry.id).where(AuditEntry.payment_id == _CHAIN).exists()
    ids = await session.exec(select(ClosingDay.id).where(~chained).order_by(ClosingDay.id))
    return [CLOSING_CHAIN + each for each in ids.all()]


async def find(
    session: AsyncSession, tournament_id: str, day: str, *, lock: bool = False
) -> ClosingDay | None:
    """Return the closing of a day; ``tournament_id`` is empty for all tournaments."""
    query = select(ClosingDay).where(ClosingDay.tournament_id == tournament_id, ClosingDay.day == day)
    query = query.execution_options(populate_existing=True)
    return (await session.exec(query.with_for_update() if lock else query)).one_or_none()


async def with_reasons(session: AsyncSession, wanted: Callable[[str], bool]) -> list[str]:
    """Return the closings with such a reason for a skipped step, at present or in their trail, by id."""
    rows = await session.exec(select(ClosingDay.id, ClosingDay.steps))
    found = {
        closing_id
        for closing_id, steps in rows.all()
        if any(wanted(step["reason"]) for step in dict(steps).values() if step.get("reason"))
    }
    entry = col(AuditEntry.payment_id).startswith(CLOSING_CHAIN), col(AuditEntry.note).is_not(None)
    for chain, note in (
        await session.exec(select(AuditEntry.payment_id, AuditEntry.note).where(*entry))
    ).all():
        if wanted(str(note)):
            found.add(chain.removeprefix(CLOSING_CHAIN))
    return sorted(found)


async def locked(session: AsyncSession, closing_id: str) -> ClosingDay:
    """Return a closing, and lock it."""
    query = select(ClosingDay).where(ClosingDay.id == closing_id).with_for_update()
    return (await session.exec(query.execution_options(populate_existing=True))).one()


async def begin(session: AsyncSession, values: dict[str, Any]) -> bool:
    """Insert a closing; return False if another process has begun it."""
    return await insert_once(session, ClosingDay, values)
