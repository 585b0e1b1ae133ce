"""What is asked for when a payment is started, and the row that it becomes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.config.delivery import Language
from procomp_pay.domain.fees import Charge
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import Channel, CreateState, PaymentMethod, PaymentStatus
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.models import exact_json
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment, Tournament
from procomp_pay.storage.payments import idempotency
from procomp_pay.storage.payments import repository as payments
from procomp_pay.storage.payments.repository import OrmLockedPayment

#: How long a hosted page stays open. Stripe allows 30 minutes to 24 hours.
CHECKOUT_LIFE = timedelta(minutes=60)
#: When we cancel a bare intent that nobody paid; Stripe itself would keep it for ever.
INTENT_LIFE = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class InitiateRequest:
    """What is asked for.

    :param requested: the amount that the caller names; ``None`` takes the fee as it stands.
    :param channel: the form: a hosted page or a bare intent, a QR or a link.
    :param phone: to whom an invoice is sent, as Kaspi writes it.
    :param return_url: where the customer's browser goes after a hosted page.
    :param language: of letters about it, where the caller's app says one.
    """

    participant_id: str
    method: PaymentMethod
    channel: Channel
    requested: Money | None = None
    return_url: str | None = None
    idempotency_key: str | None = None
    language: Language | None = None
    phone: str | None = None

    def fingerprint(self) -> str:
        """The same for the same request: an idempotency key holds for one request only."""
        asked = self.requested
        content = {
            "participant_id": self.participant_id,
            "method": self.method.value,
            "channel": self.channel.value,
            "amount": asked.amount if asked else None,
            "currency": asked.currency.value if asked else None,
            "return_url": self.return_url,
        } | ({"phone": self.phone} if self.phone else {})
        return hashlib.sha256(exact_json.dumps(content, canonical=True).encode()).hexdigest()

    def claim(self, actor: Actor) -> idempotency.Claim | None:
        """The key under which ``actor`` asks."""
        if self.idempotency_key is None:
            return None
        return idempotency.Claim(f"initiate:{actor.scope}", self.idempotency_key, self.fingerprint())


@dataclass(frozen=True, slots=True)
class Registration:
    """Who pays for what, and how much."""

    who: Participant
    tournament: Tournament
    charge: Charge


async def insert(
    session: AsyncSession, ctx: AppContext, order: InitiateRequest, actor: Actor, what: Registration
) -> OrmLockedPayment:
    """Write a new PENDING payment with its first audit entry. The caller commits before it calls anybody."""
    detail = _detail(ctx, order, actor, what)
    detail.short_code = await payments.free_code(session, detail.payment_id)
    payment = _payment(detail.payment_id, ctx, order, what)
    session.add(payment)
    await session.flush()
    session.add(detail)
    started = audit.AuditRecord(
        actor=actor.name,
        source=actor.source,
        request_id=actor.request_id,
        action="started",
        after={
            "status": payment.status.value,
            "method": order.method.value,
            "channel": order.channel.value,
            "amount": what.charge.charged.amount,
            "currency": what.charge.charged.currency.value,
            "participant_id": what.who.id,
        },
    )
    await audit.append(session, payment.id, started, detail.created_at)
    return OrmLockedPayment(payment, detail, what.who)


def _payment(payment_id: str, ctx: AppContext, order: InitiateRequest, what: Registration) -> Payment:
    now, charged = ctx.clock(), what.charge.charged
    return Payment(
        id=payment_id,
        amount=charged.amount,
        currency=charged.currency,
        status=PaymentStatus.PENDING,
        method=order.method,
        # the description is kept: a retry must send it word for word, also when a name changes meanwhile
        meta={
            "participantId": what.who.id,
            "description": f"{what.tournament.name}: {what.who.full_name}"[:200],
        }
        | ({"language": order.language.value} if order.language else {}),
        user_id=what.who.user_id,
        tournament_id=what.tournament.id,
        created_at=now,
        updated_at=now,
    )


def _detail(ctx: AppContext, order: InitiateRequest, actor: Actor, what: Registration) -> PaymentDetail:
    now = ctx.clock()
    life = {Channel.STRIPE_CHECKOUT: CHECKOUT_LIFE, Channel.STRIPE_INTENT: INTENT_LIFE}.get(order.channel)
    return PaymentDetail(
        payment_id=ctx.new_id(),
        participant_id=what.who.id,
        channel=order.channel,
        create_state=CreateState.PLANNED,
        provider_open=True,
        return_url=order.return_url or f"{ctx.base_url}/api/v1/payments/thanks",
        requested_amount=what.charge.requested.amount,
        requested_currency=what.charge.requested.currency,
        charged_amount=what.charge.charged.amount,
        charged_currency=what.charge.charged.currency,
        # whole seconds: Stripe counts in them, and a retry must name the same end
        expires_at=(now + life).replace(microsecond=0) if life else None,
        phone_enc=ctx.keyring.encrypt(order.phone) if order.phone else None,
        started_by=actor.name,
        request_id=actor.request_id,
        created_at=now,
        updated_at=now,
    )
