"""A desk on a real database with real HTTP to a real sandbox, and a clock that tests can move."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from procomp_pay.config import KaspiScheme
from procomp_pay.providers.kaspi.http import kaspi_http
from procomp_pay.providers.kaspi.service import KaspiPaymentService
from procomp_pay.providers.stripe.service import StripePaymentService
from procomp_pay.sandbox.app import Sandbox, SandboxOptions
from procomp_pay.services.bootstrap import new_id
from procomp_pay.services.context import AppContext
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.encryption.keyring import Keyring, new_key
from procomp_pay.storage.webhooks.intake import WebhookIntake
from tests.support.environment import TOTAL_S, ServiceEnvironment, TestProviders
from tests.support.patience import PATIENCE_S
from tests.support.secret_watch import register_secret


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    running = Sandbox(SandboxOptions())
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def environment(db: PaymentDatabaseService, sandbox: Sandbox) -> AsyncIterator[ServiceEnvironment]:
    info = sandbox.info()
    kaspi = sandbox.providers["kaspi"]
    providers = TestProviders(
        StripePaymentService(info["stripe_secret_key"], api_base=sandbox.url, total_s=TOTAL_S),
        KaspiPaymentService(
            kaspi_http(sandbox.url, api_key=kaspi.api_key),  # type: ignore[attr-defined]
            scheme=KaspiScheme.BASIC,
            device_token=kaspi.device_token,  # type: ignore[attr-defined]
            total_s=TOTAL_S,
        ),
    )
    async with httpx.AsyncClient(verify=False, base_url=sandbox.url, timeout=PATIENCE_S) as http:
        made: list[ServiceEnvironment] = []
        ctx = AppContext(
            db=db,
            providers=providers,
            keyring=Keyring([new_key()]),
            clock=lambda: made[0].now(),  # noqa: PLW0108 - created after the context
            new_id=new_id,
            base_url="http://127.0.0.1:8080",
            intake=WebhookIntake(db),
        )
        made.append(ServiceEnvironment(ctx, sandbox, http))
        register_secret(made[0].webhook_secret, "webhook secret")
        register_secret(info["stripe_secret_key"], "Stripe key")
        register_secret(kaspi.api_key, "Kaspi key")  # type: ignore[attr-defined]
        register_secret(kaspi.device_token, "device token")  # type: ignore[attr-defined]
        yield made[0]
    await providers.stripe.aclose()
    await providers.kaspi.aclose()
