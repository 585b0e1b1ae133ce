"""Tokens, signatures and rows for tests of the server."""

from __future__ import annotations

import hashlib
import hmac
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import jwt
import pytest
from sqlalchemy import text
from sqlmodel import select

from procomp_pay.config import Settings
from procomp_pay.domain.money import Currency
from procomp_pay.services.context import AppContext
from procomp_pay.storage.encryption.keyring import new_key
from procomp_pay.storage.models.platform import Participant, Tournament, User
from procomp_pay.storage.models.terms import TournamentFee
from procomp_pay.storage.models.webhooks import WebhookEvent

JWT_SECRET = "a-secret-for-tests-that-is-long-enough-01"
ENCRYPTION_KEY = new_key()
#: owner of p1 and p2 is u1, of p3 is u2
OWNERS = {"p1": "u1", "p2": "u1", "p3": "u2"}


def clear_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def token(
    sub: Any = "u1", role: Any = None, *, secret: str = JWT_SECRET, algorithm: str = "HS256", **claims: Any
) -> str:
    """Return a token as the platform signs it; a claim that is None is left out."""
    body = {"sub": sub, "role": role, "exp": int(time.time()) + 6 * 3600, **claims}
    return jwt.encode({k: v for k, v in body.items() if v is not None}, secret, algorithm=algorithm)


def bearer(*args: Any, **kwargs: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(*args, **kwargs)}"}


def sign(body: bytes, secret: str, *, age: float = 0, scheme: str = "v1") -> str:
    """Return the ``Stripe-Signature`` of a body, of an age in seconds; a negative age is in the future."""
    at = int(time.time() - age)
    return f"t={at},{scheme}={digest(body, secret, at)}"


def digest(body: bytes, secret: str, at: int) -> str:
    return hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()


async def make_people(ctx: AppContext) -> None:
    """Create two users, three participants and one tournament with fees of 50.00 USD and 24 000 KZT."""
    now = datetime(2026, 1, 15, 14, tzinfo=UTC)
    when = {"created_at": now, "updated_at": now}
    async with ctx.db.writing() as session:
        session.add_all([User(id=u, email=f"{u}@example.kz", name=u) for u in ("u1", "u2")])
        fee = Decimal("50.00")
        session.add(
            Tournament(id="t1", name="Кубок", entry_fee=fee, currency=Currency.USD, starts_at=now, **when)
        )
        await session.flush()
        session.add(TournamentFee(tournament_id="t1", currency=Currency.KZT, amount=Decimal("24000"), **when))
        session.add_all(
            [
                Participant(id=p, user_id=u, tournament_id="t1", full_name="Аида С.", **when)
                for p, u in OWNERS.items()
            ]
        )


async def make_many_people(ctx: AppContext, count: int) -> None:
    """Create a user and ``count`` participants (``p0`` on) of a tournament with a fee of 50.00 USD."""
    now = datetime.now(UTC)
    when = {"created_at": now, "updated_at": now}
    async with ctx.db.writing() as session:
        session.add(User(id="u1", email="u1@example.kz", name="u1"))
        fee = Decimal("50.00")
        session.add(
            Tournament(id="t1", name="Open", entry_fee=fee, currency=Currency.USD, starts_at=now, **when)
        )
        await session.flush()
        session.add_all(
            [
                Participant(id=f"p{n}", user_id="u1", tournament_id="t1", full_name=f"Kid {n}", **when)
                for n in range(count)
            ]
        )


async def inbox(ctx: AppContext) -> list[WebhookEvent]:
    """Return all events of the inbox."""
    async with ctx.db.reading() as session:
        return list((await session.exec(select(WebhookEvent))).all())


async def rename_table(ctx: AppContext, name: str, new: str) -> None:
    """Rename a table, so that queries of it fail, or restore its name."""
    async with ctx.db.writing() as session:
        await (await session.connection()).execute(text(f"ALTER TABLE {name} RENAME TO {new}"))
