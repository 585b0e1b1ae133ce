"""The provider services of a sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from procomp_pay.config import KaspiScheme
from procomp_pay.providers.kaspi.http import kaspi_http
from procomp_pay.providers.kaspi.service import KaspiPaymentService
from procomp_pay.providers.stripe.service import StripePaymentService
from procomp_pay.sandbox.app import Sandbox, SandboxOptions
from tests.support.patience import PATIENCE_S
from tests.support.provider_services import ProviderServices


@pytest.fixture
async def services() -> AsyncIterator[ProviderServices]:
    sandbox = Sandbox(SandboxOptions())
    await sandbox.start()
    kaspi = sandbox.info()["kaspi"]
    key = sandbox.info()["kaspi_api_key"]
    basic = KaspiPaymentService(
        kaspi_http(sandbox.url, api_key=key),
        scheme=KaspiScheme.BASIC,
        device_token=kaspi["device_token"],
        total_s=2.0,
    )
    enhanced = KaspiPaymentService(
        kaspi_http(sandbox.url),
        scheme=KaspiScheme.ENHANCED,
        device_token=kaspi["device_token"],
        organization_bin=kaspi["organization_bin"],
        total_s=2.0,
    )
    stripe = StripePaymentService(
        sandbox.info()["stripe_secret_key"], api_base=sandbox.url, timeout_s=1.0, total_s=2.0
    )
    async with httpx.AsyncClient(verify=False, base_url=sandbox.url, timeout=PATIENCE_S) as http:
        # over plain HTTP the sandbox cannot ask for a client certificate
        await http.post("/_sandbox/kaspi/settings", json={"require_client_cert": False})
        yield ProviderServices(sandbox, http, stripe, basic, enhanced)
    for service in (stripe, basic, enhanced):
        await service.aclose()
    await sandbox.stop()
