"""Check who somebody is by a PIN or a token."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import datetime

from procomp_pay.domain.errors import Forbidden, Unauthorized
from procomp_pay.domain.events import Source
from procomp_pay.domain.operators import (
    KNOWN_FOR,
    LOCK_TIME,
    MOST_WRONG_PINS,
    Operator,
    Right,
    SecretKind,
    folded,
    locked_until,
    require,
)
from procomp_pay.domain.text import N_
from procomp_pay.services.context import AppContext
from procomp_pay.services.operators import secrets
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.operators import OperatorAccount
from procomp_pay.storage.operators import repository

log = logging.getLogger(__name__)

#: Seconds that a refused try takes at least, whatever the reason.
REFUSAL_S = 0.4
#: Recorded before the PIN is compared, and counted by the next try.
_TRIED = "tried_while_locked"
_TRIES = ("login_refused", "operator_locked", _TRIED)


async def authenticate(
    ctx: AppContext,
    name: str,
    secret: str,
    *,
    need: Right,
    os_user: str | None = None,
    may_be_given: bool = False,
) -> Operator:
    """Return the operator of this name and PIN or token, if they have a right.

    A wrong PIN is counted before it is compared: processes that try at the same time share the ten tries. A
    refusal has one wording and takes the same time for a wrong PIN, an unknown name, and an account that is
    disabled or locked. A lock does not stop the user of the operating system from whom the operator has
    logged in lately: others could keep them out for ever. That user has ten tries of their own.

    :param os_user: the user of the operating system; ``None`` for that of the running command.
    :param may_be_given: take a PIN that somebody else set, too: the operator chooses another one now.
    :raises Unauthorized: name or PIN is wrong, or the account is disabled or locked.
    :raises Forbidden: they have not the right, or somebody else set the PIN.
    """
    began = time.monotonic()
    if os_user is None and ctx.credentials is not None:
        os_user = ctx.credentials.os_user
    row, is_recorded = await _claim(ctx, name, secret, os_user)
    is_right = secrets.matches(row.secret_hash if row is not None else None, secret)
    if row is None or not is_right:
        if row is not None and not is_recorded:
            await _record_refusal(ctx, row.id, os_user)
        else:
            log.warning("a login was refused%s", "" if row is None else f": operator {row.id}, locked")
        await asyncio.sleep(max(0.0, REFUSAL_S - (time.monotonic() - began)))
        raise Unauthorized(
            N_(
                "The name or the PIN is wrong, or the account is locked: %(tries)s wrong PINs lock it for "
                "%(minutes)s minutes",
                tries=MOST_WRONG_PINS, minutes=int(LOCK_TIME.total_seconds() // 60),
            ),
            next_step=N_("try again, or ask an admin: procomp-pay operator list"),
        )  # fmt: skip
    if row.secret_kind is SecretKind.PIN:
        if not is_recorded:  # a lock that was passed stays for the others
            await _forgive(ctx, row.id)
        if not may_be_given and (other := await given_by(ctx, row.id)) is not None:
            raise is_given(row.name, other)
    operator = as_operator(row)
    require(operator, need)
    return operator


async def given_by(ctx: AppContext, operator_id: str) -> str | None:
    """Return who set an operator's PIN or token, if it was not the operator."""
    async with ctx.db.reading() as session:
        return await secret_given_by(session, await repository.by_id(session, operator_id))


async def secret_given_by(session: AsyncSession, row: OperatorAccount) -> str | None:
    """Return who gave an operator the PIN or token that they have; ``None`` if they chose it."""
    return await repository.secret_given_by(session, row, f"{audit.OPERATOR_CHAIN}{row.id}")


def is_given(name: str, other: str) -> Forbidden:
    """Return the error of a PIN that somebody else may know."""
    return Forbidden(
        N_("%(other)s gave %(name)s a new PIN, and may know it", other=other, name=name),
        next_step=N_(
            "%(name)s chooses another one first, on a terminal: procomp-pay operator login %(name)s",
            name=name,
        ),
    )


def as_operator(row: OperatorAccount) -> Operator:
    """Return an account as the rules need it."""
    tournaments = None if row.tournaments is None else frozenset(row.tournaments)
    return Operator(row.id, row.name, row.role, tournaments, row.secret_hash)


def is_locked(row: OperatorAccount, now: datetime) -> bool:
    """Return whether wrong PINs have locked an account."""
    return row.locked_until is not None and row.locked_until > now


async def _claim(
    ctx: AppContext, name: str, secret: str, os_user: str | None
) -> tuple[OperatorAccount | None, bool]:
    """Return the account, with one more try counted, and whether the try is in the audit trail already;
    ``None`` if nobody may log in by this name."""
    now = ctx.clock()
    async with ctx.db.writing() as session:
        row = await repository.by_name(session, folded(name), lock=True)
        if row is None or row.disabled_at is not None:
            return None, False
        if row.secret_kind is SecretKind.TOKEN:
            return row, False  # too long to be guessed, and a script must not be locked out by others
        if secrets.is_token(secret):
            return None, False  # a token that was meant for another account is no wrong PIN
        if is_locked(row, now):
            if os_user is None or not await _passes_lock(session, row, os_user, now):
                return None, False
            await record(ctx, session, row, _TRIED, row.name, {"os_user": os_user})
            return row, True
        if row.locked_until is not None:
            row.failed_attempts, row.locked_until = 0, None
        row.failed_attempts += 1
        row.locked_until = locked_until(row.failed_attempts, now)
        return row, False


async def _passes_lock(session: AsyncSession, row: OperatorAccount, os_user: str, now: datetime) -> bool:
    """Return whether a user of the operating system may try although the account is locked."""
    chain = f"{audit.OPERATOR_CHAIN}{row.id}"
    logins = await repository.entries_since(session, chain, ("logged_in",), now - KNOWN_FOR)
    last = next((entry.at for entry in logins if (entry.after or {}).get("os_user") == os_user), None)
    if last is None:
        return False
    tries = await repository.entries_since(session, chain, _TRIES, max(last, now - LOCK_TIME))
    own = [entry for entry in tries if (entry.after or {}).get("os_user") == os_user]
    return len(own) < MOST_WRONG_PINS


async def _forgive(ctx: AppContext, operator_id: str) -> None:
    async with ctx.db.writing() as session:
        row = await repository.by_id(session, operator_id, lock=True)
        row.failed_attempts, row.locked_until = 0, None


async def _record_refusal(ctx: AppContext, operator_id: str, os_user: str | None) -> None:
    async with ctx.db.writing() as session:
        row = await repository.by_id(session, operator_id, lock=True)
        locked = is_locked(row, ctx.clock())
        log.warning("operator %s: wrong PIN%s", row.id, ", locked" if locked else "")
        after: dict[str, object] = {"failed_attempts": row.failed_attempts}
        if os_user is not None:
            after["os_user"] = os_user
        if locked and row.locked_until is not None:
            after["locked_until"] = row.locked_until.isoformat()
        await record(ctx, session, row, "operator_locked" if locked else "login_refused", row.name, after)


async def record(
    ctx: AppContext,
    session: AsyncSession,
    row: OperatorAccount,
    action: str,
    by: str,
    after: dict[str, object] | None = None,
    before: dict[str, object] | None = None,
) -> None:
    """Append to an operator's own chain of the audit trail. The caller has locked the row."""
    entry = audit.AuditRecord(actor=by, source=Source.PERSON, action=action, before=before, after=after)
    await audit.append(session, f"{audit.OPERATOR_CHAIN}{row.id}", entry, ctx.clock())
