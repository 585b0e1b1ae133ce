"""Start a payment, or return the one that is open (SPEC 4)."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import timedelta

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.errors import AlreadyPaid, Conflict, OutcomeUnknown
from procomp_pay.domain.fees import Charge, charge_for
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import (
    OPEN_STATUSES,
    Channel,
    CreateState,
    ParticipantStatus,
    PaymentMethod,
    PaymentStatus,
)
from procomp_pay.payments.cancel import clear_away
from procomp_pay.payments.desk import Actor, Desk
from procomp_pay.payments.opening import mark_sent, open_at_provider
from procomp_pay.payments.watch import kaspi_life
from procomp_pay.providers.base import CreateRequest
from procomp_pay.storage import audit, exact_json, idempotency, payments, people
from procomp_pay.storage.module import PaymentDetail
from procomp_pay.storage.payments import Held
from procomp_pay.storage.platform import Participant, Payment, Tournament

#: How long a hosted page stays open. Stripe allows 30 minutes to 24 hours.
CHECKOUT_LIFE = timedelta(minutes=60)
#: When we cancel a bare intent that nobody paid; Stripe itself would keep it for ever.
INTENT_LIFE = timedelta(hours=24)
#: Seconds to wait for another process that is opening the same payment right now.
_PATIENCE_S = 8.0
_PAUSE_S = 0.25
_ROUNDS = 6


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for.

    :param requested: the amount that the caller names; ``None`` takes the fee as it stands.
    :param channel: the form: a hosted page or a bare intent, a QR or a link.
    :param return_url: where the customer's browser goes after a hosted page.
    """

    participant_id: str
    method: PaymentMethod
    channel: Channel
    requested: Money | None = None
    return_url: str | None = None
    idempotency_key: str | None = None

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
        }
        return hashlib.sha256(exact_json.dumps(content, canonical=True).encode()).hexdigest()

    def claim(self, actor: Actor) -> idempotency.Claim | None:
        """The key under which ``actor`` asks."""
        if self.idempotency_key is None:
            return None
        return idempotency.Claim(f"initiate:{actor.scope}", self.idempotency_key, self.fingerprint())


@dataclass(frozen=True, slots=True)
class Started:
    """:param reused: the payment was open before, and is the same one."""

    payment_id: str
    reused: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to do next, outside the transaction: send, clear another payment away, wait, or nothing."""

    payment_id: str
    reused: bool = False
    send: CreateRequest | None = None
    clear: bool = False
    wait: bool = False


async def initiate(desk: Desk, order: Order, actor: Actor) -> Started:
    """Start a payment for a participant, or return the open one.

    :raises NotFound: no such participant. :raises AlreadyPaid: the fee is settled.
    :raises Refused: the amount, the currency or the method does not fit the tournament's fees.
    :raises Conflict: the idempotency key was used for another request, or another payment is being made.
    :raises ProviderUnavailable, OutcomeUnknown: the payment stays PENDING and is healed later.
    """
    desk.providers.of(order.channel)  # not configured: say so before anything is written
    rounds, waited = 0, 0.0
    while rounds < _ROUNDS:
        plan = await _plan(desk, order, actor)
        if plan.send is not None:
            await open_at_provider(desk, plan.send, actor)
        elif plan.clear:
            await clear_away(desk, plan.payment_id, actor)
            rounds += 1
            continue
        elif plan.wait:
            if waited >= _PATIENCE_S:
                break
            await asyncio.sleep(_PAUSE_S)
            waited += _PAUSE_S
            continue
        return Started(plan.payment_id, plan.reused)
    raise Conflict(
        "Another payment of this participant is being made right now",
        next_step="look at it: procomp-pay status",
    )


async def _plan(desk: Desk, order: Order, actor: Actor) -> _Plan:
    async with desk.db.writing() as session:
        # Everybody who starts a payment for this participant queues up here.
        who = await people.participant(session, order.participant_id, lock=True)
        claim = order.claim(actor)
        known = await idempotency.known(session, claim) if claim else None
        if known is not None and known.payment_id is not None:
            return _take_up(await payments.hold(session, known.payment_id, lock=False), desk)
        tournament, charge = await _checked(session, who, order)
        for payment_id in await payments.open_ids(session, who.id):
            held = await payments.hold(session, payment_id, lock=False)
            plan = _about_open(held, order, charge, desk)
            if plan is not None:
                if not (plan.clear or plan.wait):
                    await _remember_key(session, order, actor, payment_id, desk)
                return plan
        held = await _insert(session, desk, order, actor, who, tournament, charge)
        await _remember_key(session, order, actor, held.payment.id, desk)
        return _Plan(held.payment.id, send=mark_sent(held, desk))


async def _checked(session: AsyncSession, who: Participant, order: Order) -> tuple[Tournament, Charge]:
    if who.status is ParticipantStatus.PAID or who.payment_id is not None:
        raise AlreadyPaid(f"{who.full_name} has paid already", next_step=f"procomp-pay status {who.id}")
    if who.status is ParticipantStatus.CANCELLED:
        raise Conflict(f"The registration of {who.full_name} is cancelled")
    tournament = await people.tournament(session, who.tournament_id)
    return tournament, charge_for(await people.entry_fees(session, tournament), order.method, order.requested)


def _about_open(held: Held, order: Order, charge: Charge, desk: Desk) -> _Plan | None:
    """What an open payment means for the new order; ``None`` where it does not stand in the way."""
    payment, detail = held.payment, held.detail
    alive = payment.status in OPEN_STATUSES or payment.status is PaymentStatus.FAILED
    same_form = detail.channel is order.channel or (detail.channel.is_kaspi and order.channel.is_kaspi)
    if alive and payment.method is order.method and same_form and held.charged == charge.charged:
        ended = detail.expires_at is not None and detail.expires_at <= desk.clock()
        if (
            ended
            and payment.status is not PaymentStatus.PROCESSING
            and detail.create_state is CreateState.OPEN
        ):
            return _Plan(payment.id, clear=True)
        return _take_up(held, desk)
    # An open QR cannot be recalled: it stays watched beside the new payment.
    return _Plan(payment.id, clear=True) if detail.channel.recallable else None


def _take_up(held: Held, desk: Desk) -> _Plan:
    """Go on with a payment that was started before."""
    detail, payment_id = held.detail, held.payment.id
    if detail.create_state in (CreateState.OPEN, CreateState.NEVER):
        return _Plan(payment_id, reused=True)
    if detail.create_state is CreateState.PLANNED or not detail.channel.is_kaspi:
        if detail.sent_at and detail.create_state is CreateState.SENT and _just_sent(held, desk):
            return _Plan(payment_id, wait=True)
        return _Plan(payment_id, reused=True, send=mark_sent(held, desk))
    if _just_sent(held, desk):
        return _Plan(payment_id, wait=True)
    over = kaspi_life(held).last_look_at
    left = int((over - desk.clock()).total_seconds())
    if left <= 0:
        return _Plan(payment_id, clear=True)
    raise OutcomeUnknown(
        f"Kaspi's answer to payment {payment_id} was lost; a new QR waits until the first one's life is over",
        next_step=f"try again in {left} s, or take another method",
        retry_after=left,
    )


def _just_sent(held: Held, desk: Desk) -> bool:
    sent = held.detail.sent_at
    return sent is not None and desk.clock() - sent < timedelta(seconds=_PATIENCE_S)


async def _insert(
    session: AsyncSession,
    desk: Desk,
    order: Order,
    actor: Actor,
    who: Participant,
    tournament: Tournament,
    charge: Charge,
) -> Held:
    now = desk.clock()
    payment_id = desk.new_id()
    life = {Channel.STRIPE_CHECKOUT: CHECKOUT_LIFE, Channel.STRIPE_INTENT: INTENT_LIFE}.get(order.channel)
    payment = Payment(
        id=payment_id,
        amount=charge.charged.amount,
        currency=charge.charged.currency,
        status=PaymentStatus.PENDING,
        method=order.method,
        # the description is kept: a retry must send it word for word, also when a name changes meanwhile
        meta={"participantId": who.id, "description": f"{tournament.name}: {who.full_name}"[:200]},
        user_id=who.user_id,
        tournament_id=tournament.id,
        created_at=now,
        updated_at=now,
    )
    detail = PaymentDetail(
        payment_id=payment_id,
        participant_id=who.id,
        channel=order.channel,
        create_state=CreateState.PLANNED,
        provider_open=True,
        return_url=order.return_url or f"{desk.base_url}/api/v1/payments/thanks",
        requested_amount=charge.requested.amount,
        requested_currency=charge.requested.currency,
        charged_amount=charge.charged.amount,
        charged_currency=charge.charged.currency,
        # whole seconds: Stripe counts in them, and a retry must name the same end
        expires_at=(now + life).replace(microsecond=0) if life else None,
        started_by=actor.name,
        request_id=actor.request_id,
        created_at=now,
        updated_at=now,
    )
    session.add(payment)
    await session.flush()
    session.add(detail)
    started = audit.Deed(
        actor=actor.name,
        source=actor.source,
        request_id=actor.request_id,
        action="started",
        after={
            "status": payment.status.value,
            "method": order.method.value,
            "channel": order.channel.value,
            "amount": charge.charged.amount,
            "currency": charge.charged.currency.value,
            "participant_id": who.id,
        },
    )
    await audit.append(session, payment_id, started, now)
    return Held(payment, detail, who)


async def _remember_key(
    session: AsyncSession, order: Order, actor: Actor, payment_id: str, desk: Desk
) -> None:
    claim = order.claim(actor)
    if claim is not None:
        await idempotency.remember(session, claim, payment_id, desk.clock())
