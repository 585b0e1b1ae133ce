"""Completed Kaspi payments and their refunds."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import Channel, PaymentStatus
from procomp_pay.providers.kaspi.http import kaspi_http
from procomp_pay.providers.kaspi.service import KaspiPaymentService
from procomp_pay.services.refunds import create as use
from procomp_pay.services.refunds.create import RefundCommand, Refunded
from procomp_pay.services.settlement.provider_ref import provider_ref_of
from procomp_pay.services.views import payment as views
from procomp_pay.storage.payments.repository import load_payment
from tests.support.environment import CLERK, TOTAL_S, ServiceEnvironment


class Kaspi:
    """COMPLETED Kaspi payments under scheme enhanced, whose refunds are made by API."""

    def __init__(self, environment: ServiceEnvironment) -> None:
        self.world = environment

    async def paid(self) -> views.Opening:
        return await paid(self.world, KaspiScheme.ENHANCED)

    async def back(self, opened: views.Opening, amount: str | None = None) -> Refunded:
        money = Money.parse(amount, "KZT") if amount else None
        return await use.refund(
            self.world.ctx, RefundCommand(opened.view.payment_id, "injured", money), CLERK
        )

    async def gone(self, opened: views.Opening) -> Decimal:
        """Return the refunded amount at the sandbox."""
        return await gone(self.world, opened)


async def paid(environment: ServiceEnvironment, scheme: KaspiScheme) -> views.Opening:
    """Make a COMPLETED payment of 24 000 tenge under a scheme."""
    await environment.http.post("/_sandbox/kaspi/settings", json={"require_client_cert": False})
    info = environment.sandbox.info()
    providers: Any = environment.ctx.providers
    await providers.kaspi.aclose()
    providers.kaspi = KaspiPaymentService(
        kaspi_http(environment.sandbox.url, api_key=info["kaspi_api_key"]),
        scheme=scheme,
        device_token=info["kaspi"]["device_token"],
        organization_bin=info["kaspi"]["organization_bin"],
        total_s=TOTAL_S,
    )
    opened = await environment.start()
    await environment.phone(opened)
    environment.later(6)
    await environment.poll_kaspi()
    assert await environment.status(opened) is PaymentStatus.COMPLETED
    return opened


async def gone(environment: ServiceEnvironment, opened: views.Opening) -> Decimal:
    """Return the refunded amount at the sandbox."""
    async with environment.ctx.db.reading() as session:
        ref = provider_ref_of(await load_payment(session, opened.view.payment_id))
    total = (await environment.ctx.providers.of(Channel.KASPI_QR).list_refunds(ref)).total
    return Decimal(0) if total is None else total.amount


def at_desk(opened: views.Opening, scan: int | None, amount: str | None = None) -> RefundCommand:
    money = Money.parse(amount, "KZT") if amount else None
    return RefundCommand(opened.view.payment_id, "injured", money, at_desk=True, customer_scan=scan)
