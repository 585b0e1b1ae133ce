"""Provide Kaspi payments in all four schemes.

``basic``, ``standard`` and ``enhanced`` use Kaspi's own Public QR API; ``gateway`` uses the simple API of a
gateway in front of Kaspi. Kaspi promises no idempotency for creating a QR: after a time-out the request is
never simply sent again. Kaspi sends no events: payments are polled.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import OutcomeUnknown, Refused
from procomp_pay.domain.refunds import RefundEvent
from procomp_pay.providers.kaspi.client import Exchange, KaspiCalls
from procomp_pay.providers.kaspi.http import KaspiHttp
from procomp_pay.providers.kaspi.invoices import client_name
from procomp_pay.providers.kaspi.public_api import KaspiPublicApi
from procomp_pay.providers.kaspi.refunds import KaspiRefunds
from procomp_pay.providers.kaspi.wire import token
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
    from procomp_pay.providers.kaspi.gateway import KaspiGateway
    from procomp_pay.providers.resilience.circuit_breaker import Circuit
    from procomp_pay.providers.resilience.rate_limit import RateLimit

_DEVICE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class KaspiDevices:
    """Trade points and devices. Trade points are created in the Kaspi Pay app, devices here."""

    def __init__(self, calls: KaspiCalls) -> None:
        self._calls = calls

    async def trade_points(self) -> list[tuple[int, str]]:
        """Return number and name of each trade point.

        :raises ConfigurationError: there is none yet.
        """
        return await KaspiPublicApi(self._calls).trade_points()

    async def register(self, device_id: str, trade_point: int) -> str:
        """Register a device; return its token, a secret. The same arguments give the same token.

        :raises Refused: Kaspi does not accept the name.
        """
        if not _DEVICE_ID.fullmatch(device_id):
            raise Refused(
                "A device's name consists of 1 to 64 Latin letters, digits, - and _",
                next_step="use a name such as desk-1",
            )
        data = await self._calls.post(
            "/device/register", {"DeviceId": device_id, "TradePointId": trade_point}
        )
        try:
            return token(data.get("DeviceToken"))
        except ValueError:
            raise OutcomeUnknown(
                "Kaspi's answer has no DeviceToken", next_step="register the same name again"
            ) from None

    async def delete(self, device_token: str) -> None:
        """Delete a device: payments can no longer be made with its token.

        :raises ConfigurationError: Kaspi does not know the device.
        """
        await self._calls.post("/device/delete", {"DeviceToken": device_token})


class KaspiPaymentService:
    """Kaspi as a :class:`~procomp_pay.providers.protocol.PaymentProvider`.

    :param line: the HTTP client; a plain one is never replaced. Closed by :meth:`aclose`.
    :param device_token: the cashier device that payments are booked on; a gateway needs none.
    :param organization_bin: the organisation's 12 digits; scheme ``enhanced`` sends them in every request.
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
        rate_limit: RateLimit | None = None,
    ) -> None:
        line = KaspiHttp.fixed(line) if isinstance(line, httpx.AsyncClient) else line
        self.scheme = scheme
        self._exchange = Exchange(line, circuit=circuit, rate_limit=rate_limit)
        self._calls: KaspiCalls | None = None
        self._backend: KaspiGateway | KaspiPublicApi
        if scheme is KaspiScheme.GATEWAY:
            from procomp_pay.providers.kaspi.gateway import KaspiGateway

            self._backend = KaspiGateway(self._exchange, url, total_s=total_s)
        else:
            self._calls = KaspiCalls(
                self._exchange,
                scheme=scheme,
                device_token=device_token,
                organization_bin=organization_bin,
                total_s=total_s,
            )
            self._backend = KaspiPublicApi(self._calls)

    async def create(self, request: CreateRequest) -> Created:
        """Create a QR, a link that opens the Kaspi app, or an invoice to a phone.

        :raises OutcomeUnknown: no answer was received: it may exist, and is not sent again.
        """
        return await self._backend.create(request)

    async def find(self, request: CreateRequest) -> Created | None:  # noqa: ARG002 - the protocol's
        """Return ``None``: Kaspi documents no search by ExternalId."""
        return None

    async def fetch(self, ref: ProviderRef) -> ProviderStatus:
        """Return the purchase's status; an unknown one means "still open"."""
        return await self._backend.fetch(ref)

    async def cancel(self, ref: ProviderRef) -> ProviderStatus:
        """Recall an invoice; return the status of a QR or a link, which cannot be recalled."""
        return await self._backend.cancel(ref)

    def ready_to_refund(self, payment_id: str, *, at_desk: bool = False) -> None:
        """Check that a refund through the API is possible.

        :raises Refused: not in this scheme, or not without the customer.
        """
        self._backend.ready_to_refund(payment_id, at_desk=at_desk)

    async def refund(self, request: RefundRequest) -> RefundEvent:
        """Make a refund, once: after a lost answer, Kaspi's refunded total is checked before a retry."""
        return await self._backend.refund(request)

    async def list_refunds(self, ref: ProviderRef) -> ProviderRefunds:
        """Return the refunded total if Kaspi reports it, including refunds made in the Kaspi Pay app."""
        return await self._backend.list_refunds(ref)

    async def check(self) -> str:
        """Return one sentence about the API that answered."""
        return f"scheme {self.scheme}; {await self._backend.check()}"

    async def client_name(self, phone: str) -> str:
        """Return the name that Kaspi shows for a phone number.

        :raises Refused: the scheme has no invoices. :raises NotFound: no Kaspi customer has the number.
        """
        return await client_name(self._own_api(), phone)

    def refunds(self) -> KaspiRefunds:
        """Return the refund calls, with the refund QR of scheme standard."""
        return KaspiRefunds(self._own_api())

    def devices(self) -> KaspiDevices:
        """Return the calls for trade points and devices."""
        return KaspiDevices(self._own_api())

    def _own_api(self) -> KaspiCalls:
        if self._calls is None:
            raise Refused("Kaspi is reached through a gateway, which does not have this call")
        return self._calls

    async def aclose(self) -> None:
        await self._exchange.aclose()
