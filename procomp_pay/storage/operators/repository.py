"""Read and write operators, their logins and approvals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func
from sqlmodel import col, select

from procomp_pay.domain.operators import Role
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.operators import Approval, OperatorAccount, OperatorSession


async def by_name(session: AsyncSession, folded_name: str, *, lock: bool = False) -> OperatorAccount | None:
    """Return the operator of this folded name.

    :param lock: until the transaction ends.
    """
    query = select(OperatorAccount).where(OperatorAccount.folded_name == folded_name)
    return (await session.exec(query.with_for_update() if lock else query)).first()


async def by_id(session: AsyncSession, operator_id: str, *, lock: bool = False) -> OperatorAccount:
    """Return an operator, who exists: none is ever deleted.

    :param lock: until the transaction ends.
    """
    query = select(OperatorAccount).where(OperatorAccount.id == operator_id)
    return (await session.exec(query.with_for_update() if lock else query)).one()


async def every(session: AsyncSession) -> list[OperatorAccount]:
    """Return all operators by name."""
    return list((await session.exec(select(OperatorAccount).order_by(OperatorAccount.folded_name))).all())


async def enabled_admins(session: AsyncSession) -> list[str]:
    """Return the ids of the admins who are not disabled, and lock them."""
    query = select(OperatorAccount).where(
        OperatorAccount.role == Role.ADMIN, col(OperatorAccount.disabled_at).is_(None)
    )
    return [row.id for row in (await session.exec(query.with_for_update())).all()]


async def login(
    session: AsyncSession, token_hash: str | None
) -> tuple[OperatorAccount, OperatorSession | None] | None:
    """Return the login of a token with its operator; any operator with ``None`` where there is no such login;
    ``None`` where there are no operators at all. One statement, since every command asks it."""
    joined = _with_login(token_hash).order_by(col(OperatorSession.token_hash).is_(None)).limit(1)
    row = (await session.exec(joined)).first()
    return None if row is None else (row[0], row[1])


async def login_of(
    session: AsyncSession, operator_id: str, token_hash: str | None
) -> tuple[OperatorAccount, OperatorSession | None]:
    """Return an operator as they are now, with the login of a token if it is still theirs."""
    row = (await session.exec(_with_login(token_hash).where(OperatorAccount.id == operator_id))).one()
    return row[0], row[1]


def _with_login(token_hash: str | None) -> Any:
    """Return the query of operators, each with the login of a token where it is theirs."""
    return select(OperatorAccount, OperatorSession).outerjoin(
        OperatorSession,
        (col(OperatorSession.operator_id) == OperatorAccount.id)
        & (col(OperatorSession.token_hash) == token_hash),
    )


async def logins_since(session: AsyncSession, now: datetime) -> dict[str, datetime]:
    """Return when the last login of each operator that still holds will end."""
    query = (
        select(OperatorSession.operator_id, func.max(OperatorSession.expires_at))
        .where(OperatorSession.expires_at > now)
        .group_by(col(OperatorSession.operator_id))
    )
    return dict((await session.exec(query)).all())


async def end_logins(session: AsyncSession, operator_id: str, *, before: datetime | None = None) -> None:
    """Delete the logins of an operator, or only those that ended before a time."""
    statement = delete(OperatorSession).where(col(OperatorSession.operator_id) == operator_id)
    if before is not None:
        statement = statement.where(col(OperatorSession.expires_at) <= before)
    await session.exec(statement)


async def end_login(session: AsyncSession, token_hash: str) -> None:
    """Delete a login, and earlier ones of the same operator and system user: screens may be open by them."""
    row = await session.get(OperatorSession, token_hash)
    if row is not None:
        same = (
            col(OperatorSession.operator_id) == row.operator_id,
            col(OperatorSession.os_user) == row.os_user,
        )
        await session.exec(delete(OperatorSession).where(*same))


async def names(session: AsyncSession) -> dict[str, str]:
    """Return the names of all operators by id."""
    rows = await session.exec(select(OperatorAccount.id, OperatorAccount.name))
    return dict(rows.all())


async def secret_given_by(session: AsyncSession, row: OperatorAccount, chain: str) -> str | None:
    """Return who gave an operator the PIN or token that they have; ``None`` if they chose it. The first
    operator was added by nobody whose name was checked.

    :param chain: the name of the operator's chain of the audit trail.
    """
    query = (
        select(AuditEntry.actor, AuditEntry.action)
        .where(
            AuditEntry.payment_id == chain,
            col(AuditEntry.action).in_(("operator_added", "operator_secret_changed")),
        )
        .order_by(col(AuditEntry.seq).desc())
        .limit(1)
    )
    newest = (await session.exec(query)).first()
    if newest is None or newest[0] == row.name:
        return None
    before = select(OperatorAccount.id).where(OperatorAccount.created_at < row.created_at).limit(1)
    if newest[1] == "operator_added" and (await session.exec(before)).first() is None:
        return None
    return newest[0]


async def entries_since(
    session: AsyncSession, chain: str, actions: Sequence[str], since: datetime
) -> list[AuditEntry]:
    """Return the newest entries of an operator's chain of these kinds, at most a thousand."""
    query = (
        select(AuditEntry)
        .where(AuditEntry.payment_id == chain, col(AuditEntry.action).in_(actions), AuditEntry.at > since)
        .order_by(col(AuditEntry.seq).desc())
        .limit(1000)
    )
    return list((await session.exec(query)).all())


async def approval_for(
    session: AsyncSession, subject_hash: str, requested_by: str, now: datetime
) -> Approval | None:
    """Return the newest request of an operator for the same thing that has not expired."""
    query = (
        select(Approval)
        .where(
            Approval.subject_hash == subject_hash,
            Approval.requested_by == requested_by,
            Approval.expires_at > now,
        )
        .order_by(col(Approval.requested_at).desc(), col(Approval.id).desc())
        .limit(1)
    )
    return (await session.exec(query.with_for_update())).first()


async def approval(session: AsyncSession, approval_id: str) -> Approval | None:
    """Return a request, and lock it."""
    return (await session.exec(select(Approval).where(Approval.id == approval_id).with_for_update())).first()


async def delete_approvals(session: AsyncSession, before: datetime, *, limit: int) -> int:
    """Delete requests that expired before this time; return how many."""
    query = select(Approval.id).where(Approval.expires_at < before).limit(limit)
    ids = (await session.exec(query.with_for_update(skip_locked=True))).all()
    if ids:
        await session.exec(delete(Approval).where(col(Approval.id).in_(ids)))
    return len(ids)


async def open_approvals(session: AsyncSession, now: datetime) -> list[Approval]:
    """Return the requests that have not expired, oldest first."""
    query = (
        select(Approval)
        .where(Approval.expires_at > now)
        .order_by(col(Approval.requested_at), col(Approval.id))
    )
    return list((await session.exec(query)).all())


async def approvals_with(session: AsyncSession, wanted: Callable[[Any], bool]) -> list[Approval]:
    """Return the requests with such a content, also those that expired."""
    return [row for row in (await session.exec(select(Approval))).all() if wanted(row.content)]
