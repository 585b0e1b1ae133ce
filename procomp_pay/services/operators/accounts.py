"""Add, list, change, disable and enable operators, and give them new PINs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from procomp_pay.domain.errors import Conflict, NotFound, Refused
from procomp_pay.domain.operators import (
    Operator,
    Right,
    Role,
    SecretKind,
    check_name,
    check_pin,
    folded,
    require,
)
from procomp_pay.services.context import AppContext
from procomp_pay.services.operators import secrets
from procomp_pay.services.operators.authenticate import as_operator, authenticate, is_locked, record
from procomp_pay.services.operators.authorize import changed, check
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.operators import OperatorAccount
from procomp_pay.storage.operators import repository


@dataclass(frozen=True, slots=True)
class OperatorView:
    """An operator for display, without any secret.

    :param login_until: when the last login that still holds will end.
    """

    operator_id: str
    name: str
    role: Role
    tournaments: tuple[str, ...] | None
    secret_kind: SecretKind
    created_at: datetime
    created_by: str
    disabled_at: datetime | None
    locked_until: datetime | None
    login_until: datetime | None = None

    def full(self) -> dict[str, Any]:
        """Return the JSON document."""
        moments = ("created_at", "disabled_at", "locked_until", "login_until")
        return {
            "id": self.operator_id,
            "name": self.name,
            "role": self.role.value,
            "tournaments": None if self.tournaments is None else list(self.tournaments),
            "logs_in_with": self.secret_kind.value,
            "created_by": self.created_by,
        } | {name: at.isoformat() if (at := getattr(self, name)) else None for name in moments}


def view_of(row: OperatorAccount, now: datetime, login_until: datetime | None = None) -> OperatorView:
    """Return an account for display."""
    return OperatorView(
        operator_id=row.id,
        name=row.name,
        role=row.role,
        tournaments=None if row.tournaments is None else tuple(row.tournaments),
        secret_kind=row.secret_kind,
        created_at=row.created_at,
        created_by=row.created_by,
        disabled_at=row.disabled_at,
        locked_until=row.locked_until if is_locked(row, now) else None,
        login_until=login_until,
    )


async def any_exists(ctx: AppContext) -> bool:
    """Return whether there is any operator: until then nobody has to log in."""
    async with ctx.db.reading() as session:
        return await repository.login(session, None) is not None


async def check_new(ctx: AppContext, name: str, role: Role) -> None:
    """Check a new operator before a PIN is asked for.

    :raises Forbidden: the actor is no admin. :raises Conflict: the name is taken.
    :raises Refused: a bad name, or the first operator is no admin.
    """
    require(ctx.operator, Right.ADMIN, None)
    async with ctx.db.reading() as session:
        await _check_new(session, check_name(name), role)


async def _check_new(session: AsyncSession, name: str, role: Role) -> None:
    if (known := await repository.by_name(session, folded(name))) is not None:
        raise Conflict(
            f"There is an operator {known.name} already",
            next_step="procomp-pay operator list",
        )
    if role is not Role.ADMIN and await repository.login(session, None) is None:
        raise Refused(
            "The first operator has to be an admin: nobody else could add the others",
            next_step="procomp-pay operator add NAME --role admin",
        )


async def add(
    ctx: AppContext,
    name: str,
    role: Role,
    *,
    by: str,
    pin: str | None = None,
    tournaments: Sequence[str] | None = None,
) -> tuple[OperatorView, str | None]:
    """Add an operator; return them, and the new token where no PIN was given.

    :param tournaments: ids; ``None`` for all.
    :raises Forbidden, Conflict, Refused: as :func:`check_new`; the PIN is too easy.
    """
    require(ctx.operator, Right.ADMIN, None)
    _check_tournaments(role, tournaments)
    name, now = check_name(name), ctx.clock()
    secret, kind = _secret(pin)
    secret_hash = secrets.hashed(secret)
    async with ctx.db.writing() as session:
        await check(ctx, session, Right.ADMIN, None)  # a PIN was asked for meanwhile
        await _check_new(session, name, role)
        row = OperatorAccount(
            id=ctx.new_id(),
            name=name,
            folded_name=folded(name),
            role=role,
            tournaments=_sorted(tournaments),
            secret_kind=kind,
            secret_hash=secret_hash,
            created_at=now,
            created_by=by,
        )
        session.add(row)
        await session.flush()
        await record(ctx, session, row, "operator_added", by, {"name": name} | _rights(row))
        return view_of(row, now), None if pin is not None else secret


def _secret(pin: str | None) -> tuple[str, SecretKind]:
    if pin is None:
        return secrets.new_token(), SecretKind.TOKEN
    check_pin(pin)
    return pin, SecretKind.PIN


async def many(ctx: AppContext) -> list[OperatorView]:
    """Return all operators by name.

    :raises Forbidden: the actor is no admin.
    """
    require(ctx.operator, Right.ADMIN)
    now = ctx.clock()
    async with ctx.db.reading() as session:
        until = await repository.logins_since(session, now)
        return [view_of(row, now, until.get(row.id)) for row in await repository.every(session)]


async def change(
    ctx: AppContext,
    name: str,
    *,
    by: str,
    role: Role | None = None,
    tournaments: Sequence[str] | None = None,
    everywhere: bool = False,
) -> OperatorView:
    """Give an operator another role, or other tournaments. Every login ends at once, and what is asked by one
    later is refused; a token holds, with the new role.

    :param role: ``None`` leaves it.
    :param tournaments: ids, in place of the former ones; ``None`` leaves them.
    :param everywhere: all tournaments.
    :raises NotFound: no such operator. :raises Refused: the last admin, or an admin of some tournaments.
    """
    async with ctx.db.writing() as session:
        await check(ctx, session, Right.ADMIN, None)
        admins = await repository.enabled_admins(session)
        row = await _existing(session, name)
        before = _rights(row)
        new_role = role or row.role
        kept = None if everywhere or new_role is Role.ADMIN else row.tournaments
        wanted = kept if tournaments is None else tournaments
        _check_tournaments(new_role, wanted)
        if admins == [row.id] and new_role is not Role.ADMIN:
            raise _last_admin(row)
        row.role, row.tournaments = new_role, _sorted(wanted)
        if _rights(row) != before:
            await repository.end_logins(session, row.id)
            await record(ctx, session, row, "operator_changed", by, _rights(row), before)
        return view_of(row, ctx.clock())


def _check_tournaments(role: Role, tournaments: Sequence[str] | None) -> None:
    if tournaments is not None and role is Role.ADMIN:
        raise Refused("An admin is for all tournaments", next_step="leave out --tournament")


def _sorted(tournaments: Sequence[str] | None) -> list[str] | None:
    return None if tournaments is None else sorted(set(tournaments))


def _rights(row: OperatorAccount) -> dict[str, object]:
    return {"role": row.role.value, "tournaments": row.tournaments}


def _last_admin(row: OperatorAccount) -> Refused:
    return Refused(
        f"{row.name} is the only admin: nobody could add operators any more",
        next_step="procomp-pay operator add NAME --role admin",
    )


async def disable(ctx: AppContext, name: str, *, by: str) -> OperatorView:
    """Disable an operator: every login ends at once, and no new one is possible.

    :raises NotFound: no such operator. :raises Refused: the last admin.
    """
    now = ctx.clock()
    async with ctx.db.writing() as session:
        await check(ctx, session, Right.ADMIN, None)
        admins = await repository.enabled_admins(session)
        row = await _existing(session, name)
        if admins == [row.id]:
            raise _last_admin(row)
        if row.disabled_at is None:
            row.disabled_at = now
            await record(ctx, session, row, "operator_disabled", by)
        await repository.end_logins(session, row.id)
        return view_of(row, now)


async def enable(ctx: AppContext, name: str, *, by: str) -> OperatorView:
    """Enable an operator again, and end a lock after wrong PINs.

    :raises NotFound: no such operator.
    """
    async with ctx.db.writing() as session:
        await check(ctx, session, Right.ADMIN, None)
        row = await _existing(session, name)
        row.disabled_at, row.failed_attempts, row.locked_until = None, 0, None
        await record(ctx, session, row, "operator_enabled", by)
        return view_of(row, ctx.clock())


async def change_secret(
    ctx: AppContext, name: str, *, by: str, pin: str | None = None, current: str | None = None
) -> tuple[OperatorView, str | None]:
    """Give an operator another PIN, or without one a new token, which is returned. Every login ends.

    An operator may change their own; an admin that of anybody.

    :param current: the PIN or token so far; needed for one's own.
    :raises Unauthorized: it is wrong.
    :raises NotFound: no such operator. :raises Forbidden: it is somebody else's. :raises Refused: too easy.
    """
    is_own = ctx.operator is not None and folded(ctx.operator.name) == folded(name)
    if not is_own:
        require(ctx.operator, Right.ADMIN, None)
        return await set_secret(ctx, name, by=by, pin=pin, needs_admin=True)
    own = await authenticate(ctx, name, current or "", need=Right.DESK, may_be_given=True)
    return await set_secret(ctx, name, by=by, pin=pin, own=own)


async def set_secret(
    ctx: AppContext,
    name: str,
    *,
    by: str,
    pin: str | None,
    needs_admin: bool = False,
    own: Operator | None = None,
) -> tuple[OperatorView, str | None]:
    """Set an operator's PIN or new token without asking who may: the caller has.

    :param needs_admin: check again that an admin acts.
    :param own: the operator as they were when their PIN so far was checked: the new one may have been asked
        for since, and an admin have taken the account from whoever typed it.
    :raises NotFound: no such operator. :raises Refused: too easy.
    :raises Unauthorized: ``own`` was disabled, changed, or given another PIN.
    """
    secret, kind = _secret(pin)
    secret_hash = secrets.hashed(secret)
    async with ctx.db.writing() as session:
        if needs_admin:
            await check(ctx, session, Right.ADMIN, None)
        row = await _existing(session, name)
        if own is not None and (row.disabled_at is not None or as_operator(row) != own):
            raise changed(row.name)
        row.secret_kind, row.secret_hash = kind, secret_hash
        row.failed_attempts, row.locked_until = 0, None
        await repository.end_logins(session, row.id)
        await record(ctx, session, row, "operator_secret_changed", by, {"logs_in_with": kind.value})
        return view_of(row, ctx.clock()), None if pin is not None else secret


async def _existing(session: AsyncSession, name: str) -> OperatorAccount:
    row = await repository.by_name(session, folded(name), lock=True)
    if row is None:
        raise NotFound(f"There is no operator {name[:80]!r}", next_step="procomp-pay operator list")
    return row
