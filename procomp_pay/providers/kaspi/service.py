"""Kaspi: one service for four ways to stand towards it (KASPI.md).

``basic``, ``standard`` and ``enhanced`` speak Kaspi's own Public QR API; ``gateway`` speaks the simple form
of the gateways in front of it. Kaspi promises no idempotency for creating a QR: after a time-out it is never
sent again blindly. It sends no events either: we poll.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import httpx

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import Refused
from procomp_pay.domain.refunds import RefundEvent
from procomp_pay.providers.kaspi.client import Exchange, KaspiCalls
from procomp_pay.providers.kaspi.http import KaspiHttp, kaspi_http
from procomp_pay.providers.protocol import (
    Created,
    CreateRequest,
    ProviderRef,
    ProviderRefunds,
    ProviderStatus,
    RefundRequest,
)
from procomp_pay.providers.resilience.retry import TOTAL_S

if TYPE_CHECKING:
    from procomp_pay.providers.kaspi.devices import KaspiDevices
    from procomp_pay.providers.kaspi.refunds import KaspiRefunds
    from procomp_pay.providers.resilience.circuit_breaker import Circuit
    from procomp_pay.providers.resilience.rate_limit import RateLimit


class KaspiBackend(Protocol):
    """What the document and a gateway have in common."""

    async def create(self, request: CreateRequest) -> Created: ...
    async def fetch(self, handle: ProviderRef) -> ProviderStatus: ...
    async def cancel(self, handle: ProviderRef) -> ProviderStatus: ...
    def ready_to_refund(self, *, at_desk: bool = False) -> None: ...
    async def refund(self, request: RefundRequest) -> RefundEvent: ...
    async def list_refunds(self, handle: ProviderRef) -> ProviderRefunds: ...
    async def check(self) -> str: ...


class KaspiPaymentService:
    """Creates and reads payments at Kaspi.

    :param line: where the calls go; a plain client is one that never changes. Closed by :meth:`aclose`.
    :param device_token: the cashier device that payments are booked on; a gateway needs none.
    :param organization_bin: the organisation's 12 digits; scheme ``enhanced`` names it in every request.
    :param url: ``KASPI_API_URL``, for scheme ``gateway``.
    """

    def __init__(
        self,
        line: KaspiHttp | httpx.AsyncClient,
        *,
        scheme: KaspiScheme,
        device_token: str = "",
        organization_bin: str | None = None,
        url: str = "",
        total_s: float = TOTAL_S,
        circuit: Circuit | None = None,
        budget: RateLimit | None = None,
    ) -> None:
        line = KaspiHttp.fixed(line) if isinstance(line, httpx.AsyncClient) else line
        self.scheme = scheme
        self._exchange = Exchange(line, circuit=circuit, budget=budget)
        self._calls: KaspiCalls | None = None
        self._backend: KaspiBackend
        if scheme is KaspiScheme.GATEWAY:
            from procomp_pay.providers.kaspi.gateway import KaspiGateway

            self._backend = KaspiGateway(self._exchange, url, total_s=total_s)
        else:
            from procomp_pay.providers.kaspi.public_api import KaspiPublicApi

            self._calls = KaspiCalls(
                self._exchange,
                scheme=scheme,
                device_token=device_token,
                organization_bin=organization_bin,
                total_s=total_s,
            )
            self._backend = KaspiPublicApi(self._calls)

    async def create(self, request: CreateRequest) -> Created:
        """Make a QR, a link that opens the Kaspi app, or an invoice to a phone.

        :raises OutcomeUnknown: no answer was seen: it may exist, and is not sent again.
        """
        return await self._backend.create(request)

    async def find(self, request: CreateRequest) -> Created | None:  # noqa: ARG002 - the protocol's
        """Kaspi documents no search by ExternalId."""
        return None

    async def fetch(self, handle: ProviderRef) -> ProviderStatus:
        """How the purchase stands; an unknown status means "still open"."""
        return await self._backend.fetch(handle)

    async def cancel(self, handle: ProviderRef) -> ProviderStatus:
        """Recall an invoice; of a QR or a link, which cannot be recalled, say how it stands."""
        return await self._backend.cancel(handle)

    def ready_to_refund(self, *, at_desk: bool = False) -> None:
        """
        :raises Refused: not by API in this scheme, or not without the customer.
        """
        self._backend.ready_to_refund(at_desk=at_desk)

    async def refund(self, request: RefundRequest) -> RefundEvent:
        """Give money back, once: a lost answer is compared with Kaspi's own sum before a second try."""
        return await self._backend.refund(request)

    async def list_refunds(self, handle: ProviderRef) -> ProviderRefunds:
        """The sum that went back, a cashier's refund in the Kaspi Pay app included, where Kaspi tells."""
        return await self._backend.list_refunds(handle)

    async def check(self) -> str:
        """What answers, in a sentence."""
        return f"scheme {self.scheme}; {await self._backend.check()}"

    async def client_name(self, phone: str) -> str:
        """The name that Kaspi shows for a phone number.

        :raises Refused: the scheme has no invoices. :raises NotFound: no customer of Kaspi has it.
        """
        from procomp_pay.providers.kaspi.invoices import client_name

        return await client_name(self._document(), phone)

    def refunds(self) -> KaspiRefunds:
        """The refund calls with their QR (scheme standard)."""
        from procomp_pay.providers.kaspi.refunds import KaspiRefunds

        return KaspiRefunds(self._document())

    def devices(self) -> KaspiDevices:
        """Trade points and devices."""
        from procomp_pay.providers.kaspi.devices import KaspiDevices

        return KaspiDevices(self._document())

    def _document(self) -> KaspiCalls:
        if self._calls is None:
            raise Refused("A gateway stands between us and Kaspi: it has no such call")
        return self._calls

    async def aclose(self) -> None:
        await self._exchange.aclose()


__all__ = ["KaspiPaymentService", "kaspi_http"]
