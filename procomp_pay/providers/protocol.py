"""The protocol of payment providers, and the plain values passed to and from them."""

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
    """A payment to open at the provider. It is made from the committed row alone, so that a retry after a
    crash sends the same request with the same idempotency key.

    :param expires_at: when the hosted page closes; used by Stripe Checkout.
    :param return_url: where the customer's browser goes afterwards; used by Stripe Checkout.
    :param phone: the number that a Kaspi invoice is sent to.
    :param again: it was sent before and the answer was lost: failing to reach the provider now does not mean
        that nothing was created.
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
    """The object that the provider created.

    :param provider_ref: its main id: ``cs_…``, ``pi_…`` or Kaspi's QrPaymentId.
    :param payment_url: a page or link where the customer pays.
    :param client_secret: for Stripe's SDK in the app. Secret.
    :param qr_token: the content of Kaspi's QR. Secret.
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
    """A reference to an object at the provider.

    :param payment_intent: Stripe's PaymentIntent, once it is known.
    :param payment_id: our payment, which an answer may name.
    """

    channel: Channel
    provider_ref: str
    payment_intent: str | None = None
    payment_id: str | None = None


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """The current status of an object at the provider.

    :param event_type: ``None`` while it waits for the customer.
    :param final: no more money can come through it.
    :param at: the provider's time of the status, if it gives one.
    :param unclear: not final, and the customer may already have started to pay.
    :param money_unreadable: the text of the amount, if it is not a valid amount.
    :param currency_unknown: it is none because its currency is not one that we take.
    :param refunded: it was paid, and some or all of it was refunded since; ``None`` if only
        :meth:`PaymentProvider.list_refunds` knows.
    :param authoritative: False if the provider cannot report the status.
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
    currency_unknown: bool = False
    refunded: bool | None = None
    authoritative: bool = True


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """A refund to make, from the committed row alone.

    :param refunded: total of the succeeded refunds of this payment, by our books.
    :param again: it was sent before and the answer was lost: a provider without idempotency is first asked
        for its refunds.
    :param customer_scan: Kaspi's QrReturnId, which the customer has scanned (scheme standard).
    :param may_leave: called right before sending to a provider without idempotency: a process that was
        suspended since it marked the row must not send a refund that another process has taken over.
    """

    refund_id: str
    payment_id: str
    ref: ProviderRef
    money: Money
    idempotency_key: str
    refunded: Money
    again: bool
    customer_scan: int | None = None
    may_leave: Callable[[], bool] = lambda: True


@dataclass(frozen=True, slots=True)
class ProviderRefunds:
    """The refunds of a payment at the provider: each one, or the total if the provider does not list them."""

    refunds: tuple[RefundEvent, ...] = ()
    total: Money | None = None


class PaymentProvider(Protocol):
    """A payment provider. Every call is bounded in time and raises only domain errors:

    ``ProviderUnavailable`` (nothing was done: safe to send again), ``OutcomeUnknown`` (the request may have
    been processed), ``Refused``, ``NotFound``, ``ConfigurationError``.
    """

    async def create(self, request: CreateRequest) -> Created: ...

    async def find(self, request: CreateRequest) -> Created | None:
        """Return the object that an earlier identical request created; ``None`` if there is none or the
        provider has no such search.
        """

    async def fetch(self, ref: ProviderRef) -> ProviderStatus: ...

    async def cancel(self, ref: ProviderRef) -> ProviderStatus:
        """Cancel, and return the status afterwards: it may have been paid meanwhile."""

    def ready_to_refund(self, payment_id: str, *, at_desk: bool = False) -> None:
        """Check that a refund is possible, before anything is written and without a call.

        :param payment_id: named in the next step of the error.
        :param at_desk: the customer is present.
        :raises Refused: no refund through this API; the next step says how it is done.
        """

    async def refund(self, request: RefundRequest) -> RefundEvent:
        """Make a refund.

        :raises Refused: rejected; nothing was refunded.
        :raises ManualReviewRequired: the provider's refunded total and ours differ.
        """

    async def list_refunds(self, ref: ProviderRef) -> ProviderRefunds:
        """Return all refunds of a payment at the provider, also those that were not requested here."""

    async def check(self) -> str:
        """Make one cheap call, and describe what answered in one sentence."""

    async def aclose(self) -> None: ...
