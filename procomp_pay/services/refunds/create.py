"""Give money back, once: in full, in part, or in several parts up to the rest.

Write ahead: the ``pay_refund`` row is committed before the provider is called, with an idempotency key from
its id. A time-out is unknown: the row holds its money back until the provider says what became of it.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from datetime import timedelta

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.errors import (
    Conflict,
    Refused,
)
from procomp_pay.domain.money import Money
from procomp_pay.domain.refunds import RefundState, amount_to_refund, reserved_amount
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.refunds.send import LOOK_AGAIN_S, send
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.models import exact_json
from procomp_pay.storage.models.payments import Refund
from procomp_pay.storage.payments import idempotency
from procomp_pay.storage.payments import refunds as refund_repository
from procomp_pay.storage.payments.repository import OrmLockedPayment, load_payment, lock_payment

log = logging.getLogger(__name__)

_LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class RefundCommand:
    """What is asked for.

    :param money: ``None`` for the whole rest.
    :param force: also while a dispute is open; the money may then go back twice.
    :param at_desk: the customer stands here and can scan.
    :param customer_scan: what they scanned, where the provider wants it.
    :param before: what had gone back, or may have, when the person was asked; ``None`` where nobody was.
    """

    payment_id: str
    reason: str
    money: Money | None = None
    idempotency_key: str | None = None
    force: bool = False
    at_desk: bool = False
    customer_scan: int | None = None
    before: Money | None = None

    def fingerprint(self) -> str:
        """The same for the same request."""
        money = [self.money.amount, self.money.currency.value] if self.money else None
        content = {"payment_id": self.payment_id, "reason": self.reason, "money": money}
        return hashlib.sha256(exact_json.dumps(content, canonical=True).encode()).hexdigest()

    def claim(self, actor: Actor) -> idempotency.Claim | None:
        """The key under which ``actor`` asks."""
        if self.idempotency_key is None:
            return None
        return idempotency.Claim(f"refund:{actor.scope}", self.idempotency_key, self.fingerprint())


@dataclass(frozen=True, slots=True)
class Plan:
    """What a refund would do, for the person who is asked.

    :param before: what has gone back earlier, or may have.
    """

    payment_id: str
    participant_id: str
    money: Money
    paid: Money
    before: Money
    way: str

    @property
    def rest(self) -> Money:
        """What stays with us afterwards."""
        return self.paid - self.before - self.money


@dataclass(frozen=True, slots=True)
class Refunded:
    """What became of a refund so far. PENDING: on its way, or unknown; it is followed up."""

    refund_id: str
    payment_id: str
    state: RefundState
    money: Money
    payment_status: PaymentStatus
    provider_refund_id: str | None = None
    failure_reason: str | None = None


async def plan(ctx: AppContext, order: RefundCommand) -> Plan:
    """Check a refund and say what it would do. Writes nothing.

    :raises NotFound, Refused, Conflict: as :func:`refund`.
    """
    async with ctx.db.reading() as session:
        return await _planned(session, ctx, await load_payment(session, order.payment_id), order)


async def refund(ctx: AppContext, order: RefundCommand, actor: Actor) -> Refunded:
    """Give money back.

    :returns: how the refund stands: SUCCEEDED, or PENDING where the provider still works on it.
    :raises NotFound: no such payment. :raises Refused: more than the rest, another currency, no reason, or
        the provider says no, or takes no refunds by API. :raises ConfigurationError: the provider is not
        configured. :raises Conflict: the payment is not COMPLETED, everything went back, a dispute
        is open, or the idempotency key was used for another refund.
    :raises ProviderUnavailable, OutcomeUnknown: the refund is kept and made, or found, by background work.
    """
    async with ctx.db.writing() as session:
        locked = await lock_payment(session, order.payment_id)  # twins under one key queue up here
        claim = order.claim(actor)
        known = await idempotency.known(session, claim) if claim else None
        refund_id = (
            known.response["refund_id"] if known else await _write_ahead(session, ctx, locked, order, actor)
        )
    if known is None:
        await send(ctx, refund_id, actor, first=True, customer_scan=order.customer_scan)
    return await state_of(ctx, refund_id)


async def state_of(ctx: AppContext, refund_id: str) -> Refunded:
    """How a refund stands.

    :raises NotFound: no such refund.
    """
    async with ctx.db.reading() as session:
        row = await refund_repository.one(session, refund_id)
        locked = await load_payment(session, row.payment_id)
    return Refunded(
        refund_id=row.id,
        payment_id=row.payment_id,
        state=row.state,
        money=Money(row.amount, row.currency),
        payment_status=locked.payment.status,
        provider_refund_id=row.provider_refund_id,
        failure_reason=row.failure_reason,
    )


def check_reason(reason: str) -> None:
    """
    :raises Refused: empty, too long, or not printable.
    """
    if not reason.strip() or len(reason) > _LONGEST_REASON or not reason.isprintable():
        raise Refused(f"A refund needs a reason of 1 to {_LONGEST_REASON} printable characters")


async def _planned(
    session: AsyncSession, ctx: AppContext, locked: OrmLockedPayment, order: RefundCommand
) -> Plan:
    status = locked.payment.status
    if status is PaymentStatus.REFUNDED:
        raise Conflict(f"Payment {locked.payment.id} has been paid back in full")
    if status is not PaymentStatus.COMPLETED:
        raise Conflict(
            f"Payment {locked.payment.id} is {status}: only what was paid can go back",
            next_step=f"procomp-pay status --payment {locked.payment.id} --refresh",
        )
    check_reason(order.reason)
    dispute = locked.detail.dispute_state
    if dispute is not None and (dispute.is_open or dispute.value == "lost") and not order.force:
        raise Conflict(
            f"A dispute over this payment is {dispute}: the money could go back twice",
            next_step="answer the dispute at Stripe; or, if you are sure, add --force",
        )
    ctx.providers.of(locked.detail.channel).ready_to_refund(at_desk=order.at_desk)
    if locked.detail.provider_ref is None:
        raise Refused(
            "Nothing of this payment is known at the provider: the money did not come through our QR",
            next_step="give it back in the Kaspi Pay app, or in Kaspi's partner cabinet (requests to cancel)",
        )
    rows = await refund_repository.of_payment(session, locked.payment.id)
    before = Money(reserved_amount(refund_repository.amounts(rows)), locked.charged.currency)
    if locked.detail.channel.is_kaspi and any(each.state is RefundState.PENDING for each in rows):
        # Kaspi tells one sum: two unknown refunds could not be told apart
        raise Conflict("Another refund of this payment is under way", next_step="wait until it is known")
    if order.before not in (None, before):
        raise Conflict(
            f"{before} went back of this payment or is on its way, and {order.before} when you were asked",
            next_step=f"look again: procomp-pay status --payment {locked.payment.id}",
        )
    return Plan(
        payment_id=locked.payment.id,
        participant_id=locked.detail.participant_id,
        money=amount_to_refund(locked.charged, before.amount, order.money),
        paid=locked.charged,
        before=before,
        way="back to the Kaspi account" if locked.detail.channel.is_kaspi else "back to the card, by Stripe",
    )


async def _write_ahead(
    session: AsyncSession, ctx: AppContext, locked: OrmLockedPayment, order: RefundCommand, actor: Actor
) -> str:
    planned = await _planned(session, ctx, locked, order)
    now = ctx.clock()
    row = Refund(
        id=ctx.new_id(),
        payment_id=locked.payment.id,
        amount=planned.money.amount,
        currency=planned.money.currency,
        reason=order.reason.strip(),
        state=RefundState.PENDING,
        requested_by=actor.name,
        next_look_at=now + timedelta(seconds=LOOK_AGAIN_S),
        created_at=now,
        updated_at=now,
    )
    session.add(row)
    asked = {"refund_id": row.id, "amount": row.amount, "currency": row.currency.value, "force": order.force}
    record = audit.AuditRecord(
        actor=actor.name,
        source=actor.source,
        action="refund_requested",
        after=asked,
        request_id=actor.request_id,
        note=row.reason,
    )
    await audit.append(session, locked.payment.id, record, now)
    claim = order.claim(actor)
    if claim is not None:
        await idempotency.remember(session, claim, locked.payment.id, now, {"refund_id": row.id})
    return row.id
