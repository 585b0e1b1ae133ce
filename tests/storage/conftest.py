"""A database with something in it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from procomp_pay.domain.money import Currency
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.platform import Participant, Tournament, User
from tests.support.rows import NOW, a_detail, a_payment


@pytest.fixture
async def filled(db: PaymentDatabaseService) -> PaymentDatabaseService:
    """A database with one user, tournament, participant and payment."""
    async with db.writing() as session:
        session.add(User(id="u1", email="aida@example.kz", name="Аида"))
        session.add(
            Tournament(
                id="t1",
                name="Кубок Алматы",
                entry_fee=Decimal("24000.00"),
                currency=Currency.KZT,
                starts_at=NOW,
                created_at=NOW,
                updated_at=NOW,
            )
        )
        await session.flush()
        session.add(
            Participant(
                id="p1", user_id="u1", tournament_id="t1", full_name="Аида С.", created_at=NOW, updated_at=NOW
            )
        )
        session.add(a_payment())
        await session.flush()
        session.add(a_detail())
    return db
