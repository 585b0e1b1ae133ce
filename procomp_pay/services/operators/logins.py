"""Log operators in for a shift, and find out who is logged in."""

from __future__ import annotations

import secrets as random
from dataclasses import dataclass
from datetime import datetime

from procomp_pay.domain.errors import Unauthorized
from procomp_pay.domain.operators import SHIFT, Claim, Operator, Right, folded, require
from procomp_pay.domain.text import N_
from procomp_pay.services.context import AppContext
from procomp_pay.services.operators.authenticate import as_operator, authenticate, record
from procomp_pay.services.operators.secrets import token_hash
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.operators import OperatorSession
from procomp_pay.storage.operators import repository


@dataclass(frozen=True, slots=True)
class Login:
    """A login: its token goes into a file that only this user of the operating system can read."""

    operator: Operator
    token: str
    until: datetime


async def log_in(ctx: AppContext, name: str, secret: str, os_user: str) -> Login:
    """Log an operator in for a shift.

    :raises Unauthorized: name or PIN is wrong, or the account is disabled or locked.
    """
    operator = await authenticate(ctx, name, secret, need=Right.DESK, os_user=os_user)
    token, now = random.token_urlsafe(32), ctx.clock()
    async with ctx.db.writing() as session:
        row = await repository.by_id(session, operator.operator_id, lock=True)
        if row.disabled_at is not None:
            raise _not_logged_in(operator.name)
        await repository.end_logins(session, row.id, before=now)
        session.add(
            OperatorSession(
                token_hash=token_hash(token),
                operator_id=row.id,
                os_user=os_user,
                created_at=now,
                expires_at=now + SHIFT,
            )
        )
        await record(ctx, session, row, "logged_in", row.name, {"os_user": os_user})
    return Login(operator, token, now + SHIFT)


async def log_out(ctx: AppContext, token: str) -> None:
    """End a login, and earlier ones of the same system user; one that has ended already is no error."""
    async with ctx.db.writing() as session:
        await repository.end_login(session, token_hash(token))


async def acting(ctx: AppContext, claim: Claim) -> Operator | None:
    """Return the operator that a command acts for; ``None`` where there are no operators at all.

    :raises Unauthorized: nobody is logged in, the login has ended or belongs to another user of the operating
        system, the account is disabled, or the name is another one's.
    """
    async with ctx.db.selecting() as session:
        row = await repository.login(session, token_hash(claim.token) if claim.token is not None else None)
    if row is None:
        return None
    if claim.secret is not None:
        return await authenticate(ctx, claim.name, claim.secret, need=Right.DESK, os_user=claim.os_user)
    account, login = row
    if login is None or login.os_user != claim.os_user or account.disabled_at is not None:
        raise _not_logged_in(claim.name)
    if login.expires_at <= ctx.clock():
        raise _ended(account.name)
    if folded(account.name) != folded(claim.name):
        raise _not_logged_in(claim.name)
    return as_operator(account)


async def check(ctx: AppContext, session: AsyncSession, right: Right, *tournament_ids: str | None) -> None:
    """Check that the operator may do something, and still is who they were when the command began: a screen
    or a question may have been open for hours. Called in the transaction that does it.

    :param tournament_ids: as in :func:`~procomp_pay.domain.operators.require`.
    :raises Unauthorized: they logged out, the shift is over, or the account was disabled or changed.
    :raises Forbidden: they may not.
    """
    if ctx.claim is not None:
        await _check_still(ctx, session, ctx.claim)
    require(ctx.operator, right, *tournament_ids)


async def _check_still(ctx: AppContext, session: AsyncSession, claim: Claim) -> None:
    if ctx.operator is None:
        if await repository.login(session, None) is not None:  # the first operator was added meanwhile
            raise _not_logged_in(claim.name)
        return
    hashed = None if claim.token is None else token_hash(claim.token)
    account, login = await repository.login_of(session, ctx.operator.operator_id, hashed)
    name = account.name
    if account.disabled_at is not None:
        raise Unauthorized(
            N_("The account of %(name)s was disabled", name=name),
            next_step=N_("ask an admin: procomp-pay operator enable %(name)s", name=name),
        )
    if claim.secret is None and login is None:
        raise Unauthorized(
            N_("%(name)s was logged out", name=name),
            next_step=N_("log in, then begin again: procomp-pay operator login %(name)s", name=name),
        )
    if claim.secret is None and login is not None and login.expires_at <= ctx.clock():
        raise _ended(name)
    if as_operator(account) != ctx.operator:
        raise Unauthorized(
            N_("The account of %(name)s was changed", name=name),
            next_step=N_("log in, then begin again: procomp-pay operator login %(name)s", name=name),
        )


def _ended(name: str) -> Unauthorized:
    return Unauthorized(
        N_("The login of %(name)s has ended: a shift is 12 hours", name=name),
        next_step=N_("log in again: procomp-pay operator login %(name)s", name=name),
    )


def _not_logged_in(name: str) -> Unauthorized:
    return Unauthorized(
        N_("%(name)s is not logged in as an operator", name=name),
        next_step=N_("log in: procomp-pay operator login NAME"),
    )
