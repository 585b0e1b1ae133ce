"""Check what an operator may do in the transaction that does it: the command may have begun hours ago."""

from __future__ import annotations

from procomp_pay.domain.errors import Unauthorized
from procomp_pay.domain.operators import Credentials, Right, require
from procomp_pay.domain.text import N_
from procomp_pay.services.context import AppContext
from procomp_pay.services.operators.authenticate import as_operator
from procomp_pay.services.operators.secrets import token_hash
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.operators import repository


async def check(ctx: AppContext, session: AsyncSession, right: Right, *tournament_ids: str | None) -> None:
    """Check that the operator may do something, and still is who they were when the command began: a screen
    or a question may have been open for hours. Called in the transaction that does it.

    :param tournament_ids: as in :func:`~procomp_pay.domain.operators.require`.
    :raises Unauthorized: they logged out, the shift is over, or the account was disabled or changed.
    :raises Forbidden: they may not.
    """
    if ctx.credentials is not None:
        await _check_still(ctx, session, ctx.credentials)
    require(ctx.operator, right, *tournament_ids)


async def have_operators(session: AsyncSession) -> bool:
    """Return whether there are accounts of operators at all."""
    return await repository.login(session, None) is not None


async def _check_still(ctx: AppContext, session: AsyncSession, credentials: Credentials) -> None:
    if ctx.operator is None:
        if await have_operators(session):  # the first one was added meanwhile
            raise not_logged_in(credentials.name)
        return
    hashed = None if credentials.token is None else token_hash(credentials.token)
    account, login = await repository.login_of(session, ctx.operator.operator_id, hashed)
    name = account.name
    if account.disabled_at is not None:
        raise Unauthorized(
            N_("The account of %(name)s was disabled", name=name),
            next_step=N_("ask an admin: procomp-pay operator enable %(name)s", name=name),
        )
    if credentials.secret is None and login is None:
        raise Unauthorized(
            N_("%(name)s was logged out", name=name),
            next_step=N_("log in, then begin again: procomp-pay operator login %(name)s", name=name),
        )
    if credentials.secret is None and login is not None and login.expires_at <= ctx.clock():
        raise ended(name)
    if as_operator(account) != ctx.operator:
        raise changed(name)


def changed(name: str) -> Unauthorized:
    """Return the error of an account that is not as it was when its operator was checked."""
    return Unauthorized(
        N_("The account of %(name)s was changed", name=name),
        next_step=N_("log in, then begin again: procomp-pay operator login %(name)s", name=name),
    )


def ended(name: str) -> Unauthorized:
    """Return the error of a login whose shift is over."""
    return Unauthorized(
        N_("The login of %(name)s has ended: a shift is 12 hours", name=name),
        next_step=N_("log in again: procomp-pay operator login %(name)s", name=name),
    )


def not_logged_in(name: str) -> Unauthorized:
    """Return the error of a name without a login."""
    return Unauthorized(
        N_("%(name)s is not logged in as an operator", name=name),
        next_step=N_("log in: procomp-pay operator login NAME"),
    )
