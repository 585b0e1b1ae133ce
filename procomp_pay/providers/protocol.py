"""What a payment provider is to us: a small protocol and the plain values that cross it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from procomp_pay.domain.events import EventType, ProviderIds
from procomp_pay.domain.money import Money
from procomp_pay.domain.refunds import RefundEvent
from procomp_pay.domain.states import Channel


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """A payment to open at the provider. Made from the committed row alone, so that a retry after a
    crash sends the very same request under the very same idempotency key.

    :param expires_at: when the hosted page closes; used by Stripe Checkout.
    :param return_url: where the customer's browser goes afterwards; used by Stripe Checkout.
    :param phone: to whom a Kaspi invoice is sent.
    :param again: it was sent before and the answer was lost: not reaching the provider now says nothing of
        what that one did.
    """

    payment_id: str
    participant_id: str
    channel: Channel
    money: Money
    description: str
    idempotency_key: str
    created_at: datetime
    return_url: str
    expires_at: datetime | None = None
    phone: str | None = field(default=None, repr=False)
    again: bool = False


@dataclass(frozen=True, slots=True)
class Created:
    """What the provider made.

    :param provider_ref: its main id: ``cs_…``, ``pi_…`` or Kaspi's QrPaymentId.
    :param payment_url: a page or link where the customer pays.
    :param client_secret: what Stripe's SDK in the app needs. Secret.
    :param qr_token: what Kaspi's QR picture holds. Secret.
    :param poll_interval_s, scan_timeout_s, confirm_timeout_s: Kaspi's timers, in seconds.
    """

    provider_ref: str
    ids: ProviderIds
    payment_url: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    qr_token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None
    poll_interval_s: int | None = None
    scan_timeout_s: int | None = None
    confirm_timeout_s: int | None = None


@dataclass(frozen=True, slots=True)
class ProviderRef:
    """Which object at the provider."""

    channel: Channel
    provider_ref: str
    payment_intent: str | None = None


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """What the provider says of an object now.

    :param news: ``None`` while there is nothing new: it waits for the customer.
    :param final: no money can come through it any more.
    :param at: the provider's time of it, where it gives one.
    :param unclear: it is not over, and the provider does not say that it waits for the customer to begin.
    :param money_unreadable: what it said of the amount, where it is no amount.
    :param went_back: it was paid, and some or all of it has gone back since; ``None`` where only
        :meth:`PaymentProvider.returned` tells.
    :param told: False where the provider has no way of saying how it stands.
    """

    event_type: EventType | None
    final: bool = False
    money: Money | None = None
    ids: ProviderIds = field(default_factory=ProviderIds)
    reason: str | None = None
    at: datetime | None = None
    raw_status: str = ""
    unclear: bool = False
    money_unreadable: str | None = None
    refunded: bool | None = None
    authoritative: bool = True


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """A refund to make, from the committed row alone.

    :param went_back: what has gone back of this payment for certain, by our books.
    :param again: it was sent before and its answer was lost: where the provider has no idempotency, it is
        asked first what it did.
    :param customer_scan: Kaspi's QrReturnId, which the customer has scanned (scheme standard).
    :param may_leave: asked right before it is sent, where the provider has no idempotency: a process that
        slept since it said so in the row must not send what another one has taken up.
    """

    refund_id: str
    payment_id: str
    handle: ProviderRef
    money: Money
    idempotency_key: str
    refunded: Money
    again: bool
    customer_scan: int | None = None
    may_leave: Callable[[], bool] = lambda: True


@dataclass(frozen=True, slots=True)
class ProviderRefunds:
    """What a provider says has gone back of a payment: each refund, or where it lists none, the sum."""

    refunds: tuple[RefundEvent, ...] = ()
    total: Money | None = None


class PaymentProvider(Protocol):
    """A provider. Every call is bounded in time and raises domain errors alone:

    ``ProviderUnavailable`` (it did no work: safe to send again), ``OutcomeUnknown`` (it may have done its
    work), ``Refused``, ``NotFound``, ``ConfigurationError``.
    """

    async def create(self, request: CreateRequest) -> Created: ...

    async def find(self, request: CreateRequest) -> Created | None:
        """What an earlier, identical request made; ``None`` where it made nothing or this cannot be asked."""

    async def fetch(self, handle: ProviderRef) -> ProviderStatus: ...

    async def cancel(self, handle: ProviderRef) -> ProviderStatus:
        """Cancel, and say how it stands afterwards: it may have been paid meanwhile."""

    def ready_to_refund(self, *, at_desk: bool = False) -> None:
        """Asked before anything is written; calls nobody.

        :param at_desk: the customer stands here.
        :raises Refused: money does not go back by API here; the next step says how it does.
        """

    async def refund(self, request: RefundRequest) -> RefundEvent:
        """Give money back.

        :raises Refused: it does not, and nothing went back. :raises ManualReviewRequired: its numbers
        and ours differ.
        """

    async def list_refunds(self, handle: ProviderRef) -> ProviderRefunds:
        """What has gone back of a payment, whoever asked for it."""

    async def check(self) -> str:
        """One cheap call; a sentence about what answers."""

    async def aclose(self) -> None: ...
