"""Log operators in for a shift, and find out who is logged in."""

from __future__ import annotations

import secrets as random
from dataclasses import dataclass
from datetime import datetime

from procomp_pay.domain.errors import Unauthorized
from procomp_pay.domain.operators import SHIFT, Operator, Right, folded
from procomp_pay.domain.text import N_
from procomp_pay.services.context import AppContext
from procomp_pay.services.operators.authenticate import as_operator, authenticate, record
from procomp_pay.services.operators.secrets import token_hash
from procomp_pay.storage.models.operators import OperatorSession
from procomp_pay.storage.operators import repository


@dataclass(frozen=True, slots=True)
class Login:
    """A login: its token goes into a file that only this user of the operating system can read."""

    operator: Operator
    token: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Claim:
    """Who a command says it is, and what proves it.

    :param name: as typed, from the environment or from the file of the login.
    :param token: of the file of the login; ``None`` where there is none.
    :param secret: an operator's token from the environment, for scripts.
    :param os_user: the user of the operating system.
    """

    name: str
    os_user: str
    token: str | None = None
    secret: str | None = None


async def log_in(ctx: AppContext, name: str, secret: str, os_user: str) -> Login:
    """Log an operator in for a shift.

    :raises Unauthorized: name or PIN is wrong, or the account is disabled or locked.
    """
    operator = await authenticate(ctx, name, secret, need=Right.DESK)
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
    """End a login; one that has ended already is no error."""
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
        return await authenticate(ctx, claim.name, claim.secret, need=Right.DESK)
    account, login = row
    if login is None or login.os_user != claim.os_user or account.disabled_at is not None:
        raise _not_logged_in(claim.name)
    if login.expires_at <= ctx.clock():
        raise Unauthorized(
            N_("The login of %(name)s has ended: a shift is 12 hours", name=account.name),
            next_step=N_("log in again: procomp-pay operator login %(name)s", name=account.name),
        )
    if folded(account.name) != folded(claim.name):
        raise _not_logged_in(claim.name)
    return as_operator(account)


def _not_logged_in(name: str) -> Unauthorized:
    return Unauthorized(
        N_("%(name)s is not logged in as an operator", name=name),
        next_step=N_("log in: procomp-pay operator login NAME"),
    )
