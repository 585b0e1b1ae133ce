"""Store callers' idempotency keys: one key, one request."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import col, delete
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.errors import Conflict, ErrorCode
from procomp_pay.domain.text import N_
from procomp_pay.storage.database.insert_once import insert_once
from procomp_pay.storage.models import exact_json
from procomp_pay.storage.models.idempotency import IdempotencyKey


@dataclass(frozen=True, slots=True)
class Claim:
    """A key with the fingerprint of its request.

    :param scope: the caller and operation: the same key of another caller is a different key.
    :param fingerprint: the same for the same request.
    """

    scope: str
    key: str
    fingerprint: str


def claim_of(scope: str, key: str | None, request: dict[str, Any]) -> Claim | None:
    """Return the claim of a request on its key; ``None`` without a key.

    :param request: what makes two requests the same, as a JSON document.
    """
    if key is None:
        return None
    document = exact_json.dumps(request, canonical=True)
    return Claim(scope, key, hashlib.sha256(document.encode()).hexdigest())


async def known(session: AsyncSession, claim: Claim) -> IdempotencyKey | None:
    """Return the response stored under the key; ``None`` if the key is new.

    :raises Conflict: it was used for another request.
    """
    row = await session.get(IdempotencyKey, (claim.scope, claim.key))
    if row is not None and row.fingerprint != claim.fingerprint:
        raise used()
    return row


async def remember(
    session: AsyncSession,
    claim: Claim,
    payment_id: str,
    now: datetime,
    response: dict[str, Any] | None = None,
) -> None:
    """Store the key in the caller's transaction.

    :raises Conflict: another transaction took the key meanwhile; this one must be rolled back.
    """
    if not await insert_once(session, IdempotencyKey, row_of(claim, payment_id, now, response)):
        raise used()


def row_of(
    claim: Claim, payment_id: str, now: datetime, response: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the row of a key, which is inserted once."""
    return {
        "scope": claim.scope,
        "key": claim.key,
        "fingerprint": claim.fingerprint,
        "payment_id": payment_id,
        "response": response,
        "created_at": now,
    }


async def forget(session: AsyncSession, payment_id: str) -> None:
    """Forget the keys of a payment: a repeated request starts a new one."""
    await session.exec(delete(IdempotencyKey).where(col(IdempotencyKey.payment_id) == payment_id))


async def forget_starts(session: AsyncSession, payment_id: str) -> None:
    """Forget the keys under which a payment was started; those of its refunds stay."""
    key = col(IdempotencyKey.payment_id) == payment_id
    await session.exec(delete(IdempotencyKey).where(key, col(IdempotencyKey.scope).startswith("initiate:")))


def used() -> Conflict:
    """Return the error of a key that another request has."""
    return Conflict(
        N_("This Idempotency-Key was used for another request"),
        next_step=N_("use a new key for a new one"),
        code=ErrorCode.IDEMPOTENCY_KEY_REUSED,
    )
