"""Log operators in for a shift, and find out who is logged in."""

from __future__ import annotations

import secrets as random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from procomp_pay.domain.errors import Refused
from procomp_pay.domain.operators import SHIFT, Credentials, Operator, Right, folded
from procomp_pay.domain.text import N_
from procomp_pay.services.context import AppContext
from procomp_pay.services.operators.accounts import set_secret
from procomp_pay.services.operators.authenticate import as_operator, authenticate, given_by, record
from procomp_pay.services.operators.authorize import changed, ended, not_logged_in
from procomp_pay.services.operators.secrets import is_token, token_hash
from procomp_pay.storage.models.operators import OperatorSession
from procomp_pay.storage.operators import repository


@dataclass(frozen=True, slots=True)
class Login:
    """A login: its token goes into a file that only this user of the operating system can read."""

    operator: Operator
    token: str
    until: datetime


async def log_in(
    ctx: AppContext,
    name: str,
    secret: str,
    os_user: str,
    *,
    new_pin: Callable[[str], str] | None = None,
) -> Login:
    """Log an operator in for a shift. A PIN that somebody else set counts for nothing but choosing another.

    :param new_pin: asks for it; called with the name of who set the old one. ``None``: nobody can be asked.
    :raises Unauthorized: name or PIN is wrong, or the account is disabled or locked; or it was changed while
        the new PIN was asked for.
    :raises Forbidden: somebody else set the PIN. :raises Refused: the new one is too easy, or the same.
    """
    operator = await authenticate(
        ctx, name, secret, need=Right.DESK, os_user=os_user, may_be_given=new_pin is not None
    )
    other = await given_by(ctx, operator.operator_id) if new_pin is not None else None
    if new_pin is not None and other is not None and not is_token(secret):
        chosen = new_pin(other)
        if chosen == secret:
            raise Refused(N_("This is the PIN that you were given"), next_step=N_("choose another one"))
        await set_secret(ctx, operator.name, by=operator.name, pin=chosen, own=operator)
        operator = await authenticate(ctx, name, chosen, need=Right.DESK, os_user=os_user)
    token, now = random.token_urlsafe(32), ctx.clock()
    async with ctx.db.writing() as session:
        row = await repository.by_id(session, operator.operator_id, lock=True)
        if row.disabled_at is not None or as_operator(row) != operator:  # since the PIN was checked
            raise changed(row.name)
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


async def acting(ctx: AppContext, credentials: Credentials) -> Operator | None:
    """Return the operator that a command acts for; ``None`` where there are no operators at all.

    :raises Unauthorized: nobody is logged in, the login has ended or belongs to another user of the operating
        system, the account is disabled, or the name is another one's.
    """
    async with ctx.db.selecting() as session:
        row = await repository.login(
            session, token_hash(credentials.token) if credentials.token is not None else None
        )
    if row is None:
        return None
    if credentials.secret is not None:
        return await authenticate(
            ctx, credentials.name, credentials.secret, need=Right.DESK, os_user=credentials.os_user
        )
    account, login = row
    if login is None or login.os_user != credentials.os_user or account.disabled_at is not None:
        raise not_logged_in(credentials.name)
    if login.expires_at <= ctx.clock():
        raise ended(account.name)
    if folded(account.name) != folded(credentials.name):
        raise not_logged_in(credentials.name)
    return as_operator(account)
