"""A context on each database, without providers, and operators in it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from procomp_pay.domain.operators import Role
from procomp_pay.services.bootstrap import new_id
from procomp_pay.services.context import AppContext
from procomp_pay.services.operators import accounts
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.encryption.keyring import Keyring, new_key
from procomp_pay.storage.webhooks.intake import WebhookIntake
from tests.support.environment import TestProviders

PINS = {"Айгерім": "731946", "Marat": "correct horse", "dana": "258014"}
FIRST_PIN = "404142"


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.offset = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.offset


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ctx(db: PaymentDatabaseService, clock: Clock) -> AppContext:
    return AppContext(
        db=db,
        providers=TestProviders(None, None),  # type: ignore[arg-type]
        keyring=Keyring([new_key()]),
        clock=clock,
        new_id=new_id,
        base_url="http://127.0.0.1:8080",
        intake=WebhookIntake(db),
    )


@pytest.fixture
async def operators(ctx: AppContext) -> dict[str, str]:
    """An admin, a finance operator, and one at the desk of tournament t1 alone; their PINs by name."""
    await accounts.add(ctx, "Marat", Role.ADMIN, by="root", pin=PINS["Marat"])
    await accounts.add(ctx, "dana", Role.FINANCE, by="Marat", pin=FIRST_PIN)
    await accounts.add(ctx, "Айгерім", Role.DESK, by="Marat", pin=FIRST_PIN, tournaments=["t1"])
    for name in ("dana", "Айгерім"):
        await accounts.set_secret(ctx, name, by=name, pin=PINS[name])
    return PINS
