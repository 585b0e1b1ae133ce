"""The request that starts a payment, and the rows that are inserted for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from procomp_pay.domain.entry_fees import Charge, FeeSchedule
from procomp_pay.domain.language import Language
from procomp_pay.domain.money import Money
from procomp_pay.domain.names import payment_description
from procomp_pay.domain.states import Channel, CreateState, PaymentMethod, PaymentStatus
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.views.page_link import page_address
from procomp_pay.storage.initiation.new_payment import NewPayment
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment, Tournament
from procomp_pay.storage.payments import idempotency

#: How long a hosted page stays open. Stripe allows 30 minutes to 24 hours.
CHECKOUT_LIFE = timedelta(minutes=60)
#: After this an unpaid intent without a page is cancelled; Stripe would keep it for ever.
INTENT_LIFE = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class InitiateRequest:
    """The request to start a payment.

    :param requested: the amount that the caller expects; ``None`` accepts the current fee.
    :param channel: a hosted page or an intent without a page, a QR, a link or an invoice.
    :param phone: the phone number for an invoice, in Kaspi's format.
    :param return_url: the page to which the browser returns after a hosted page.
    :param is_not_theirs: an operator has asked: money whose owner books from a backup do not know does not
        stop this payment.
    :param language: the language of e-mails about it, if the caller's app names one.
    """

    participant_id: str
    method: PaymentMethod
    channel: Channel
    requested: Money | None = None
    return_url: str | None = None
    idempotency_key: str | None = None
    language: Language | None = None
    phone: str | None = None
    is_not_theirs: bool = False

    def claim(self, actor: Actor) -> idempotency.Claim | None:
        """Return the claim on the idempotency key of ``actor``; ``None`` without a key."""
        requested = self.requested
        content = {
            "participant_id": self.participant_id,
            "method": self.method.value,
            "channel": self.channel.value,
            "amount": requested.amount if requested else None,
            "currency": requested.currency.value if requested else None,
            "return_url": self.return_url,
        } | ({"phone": self.phone} if self.phone else {})
        return idempotency.claim_of(f"initiate:{actor.scope}", self.idempotency_key, content)


@dataclass(frozen=True, slots=True)
class Registration:
    """The registration that is paid for, and the charge.

    :param schedule: the fees by day; ``None`` if the charge does not depend on them.
    """

    participant: Participant
    tournament: Tournament
    charge: Charge
    schedule: FeeSchedule | None = None


def prepare(
    ctx: AppContext,
    request: InitiateRequest,
    actor: Actor,
    registration: Registration,
    payment_id: str,
    code: str,
) -> NewPayment:
    """Return a new payment, which the caller writes before it calls a provider.

    A new row is PENDING; from then on only :mod:`procomp_pay.services.settlement.apply` changes the status.

    :param code: its code, which no other payment has.
    """
    detail = _detail(ctx, request, actor, registration, payment_id)
    detail.short_code = code
    if ctx.is_public and request.return_url is None:
        # the customer's page shows that it is paid; where no phone reaches it, a page that only thanks
        detail.return_url = page_address(ctx, code.lower())
    payment = _payment(detail, request, registration)
    started = actor.record(
        "started",
        after={
            "status": payment.status.value,
            "method": request.method.value,
            "channel": request.channel.value,
            "amount": registration.charge.charged.amount,
            "currency": registration.charge.charged.currency.value,
            "participant_id": registration.participant.id,
        },
    )
    return NewPayment(payment, detail, started)


def _payment(detail: PaymentDetail, request: InitiateRequest, registration: Registration) -> Payment:
    charged = registration.charge.charged
    return Payment(
        id=detail.payment_id,
        amount=charged.amount,
        currency=charged.currency,
        status=PaymentStatus.PENDING,
        method=request.method,
        # the description is stored, since a retry must repeat it exactly, even if a name changes meanwhile
        meta={
            "participantId": registration.participant.id,
            "description": payment_description(
                registration.tournament.name, registration.participant.full_name
            ),
        }
        | ({"language": request.language.value} if request.language else {}),
        user_id=registration.participant.user_id,
        tournament_id=registration.tournament.id,
        created_at=detail.created_at,
        updated_at=detail.updated_at,
    )


def _detail(
    ctx: AppContext, request: InitiateRequest, actor: Actor, registration: Registration, payment_id: str
) -> PaymentDetail:
    now = ctx.clock()
    life = {Channel.STRIPE_CHECKOUT: CHECKOUT_LIFE, Channel.STRIPE_INTENT: INTENT_LIFE}.get(request.channel)
    return PaymentDetail(
        payment_id=payment_id,
        participant_id=registration.participant.id,
        channel=request.channel,
        create_state=CreateState.PLANNED,
        provider_open=True,
        return_url=request.return_url or f"{ctx.base_url}/api/v1/payments/thanks",
        requested_amount=registration.charge.requested.amount,
        requested_currency=registration.charge.requested.known_currency,
        charged_amount=registration.charge.charged.amount,
        charged_currency=registration.charge.charged.known_currency,
        # whole seconds, the resolution of Stripe: a retry must repeat the same time
        expires_at=(now + life).replace(microsecond=0) if life else None,
        phone_enc=ctx.keyring.encrypt(request.phone) if request.phone else None,
        started_by=actor.name,
        request_id=actor.request_id,
        created_at=now,
        updated_at=now,
    )
