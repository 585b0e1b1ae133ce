"""Refund a payment, once: in full, in part, or in several parts up to the remaining amount.

The ``pay_refund`` row is committed before the provider is called (write-ahead), with an idempotency key
derived from its id. After a time-out the outcome is unknown: the row reserves its amount until the provider
reports the outcome.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from procomp_pay.domain.errors import Conflict, ErrorCode, Refused
from procomp_pay.domain.money import Money
from procomp_pay.domain.operators import Right, check_desk_refund
from procomp_pay.domain.refunds import RefundState, amount_to_refund, reserved_amount
from procomp_pay.domain.states import AnyStatus, PaymentStatus
from procomp_pay.domain.text import N_
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.operators import authorize
from procomp_pay.services.refunds.send import LOOK_AGAIN_S, send
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.refunds import Refund
from procomp_pay.storage.payments import idempotency
from procomp_pay.storage.payments import kaspi_operations as numbers
from procomp_pay.storage.payments import refunds as refund_repository
from procomp_pay.storage.payments.repository import OrmLockedPayment, load_payment, lock_payment
from procomp_pay.storage.reconciliation import discrepancies

_LONGEST_REASON = 500
#: Seconds to wait for another request with the same key that is making the refund.
_PATIENCE_S = 4.0
_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class RefundCommand:
    """A refund to make.

    :param money: ``None`` for what is ``proposed``, else for the whole remaining amount.
    :param force: also while a dispute is open, when the money may be returned twice, and where it is counted
        for another payment.
    :param at_desk: the customer is present and can scan a QR.
    :param customer_scan: Kaspi's id of the refund QR that the customer scanned, where Kaspi requires it.
    :param proposed: what the refund policy gives back; a refund of another sum is recorded beside it.
    :param before: refunded or pending total shown to the operator at confirmation; ``None`` if not confirmed.
    """

    payment_id: str
    reason: str
    money: Money | None = None
    idempotency_key: str | None = None
    force: bool = False
    at_desk: bool = False
    customer_scan: int | None = None
    before: Money | None = None
    proposed: Money | None = None

    def claim(self, actor: Actor) -> idempotency.Claim | None:
        """Return the claim on the idempotency key of ``actor``; ``None`` without a key."""
        money = [self.money.amount, self.money.currency.value] if self.money else None
        content = {"payment_id": self.payment_id, "reason": self.reason, "money": money}
        return idempotency.claim_of(f"refund:{actor.scope}", self.idempotency_key, content)


@dataclass(frozen=True, slots=True)
class Plan:
    """The effect of a refund, shown to the operator for confirmation.

    :param before: the amount refunded earlier, pending refunds included.
    :param way: how the money gets to the customer.
    """

    payment_id: str
    participant_id: str
    money: Money
    paid: Money
    before: Money
    way: str

    @property
    def rest(self) -> Money:
        """Return the amount that remains after the refund."""
        return self.paid - self.before - self.money


@dataclass(frozen=True, slots=True)
class Refunded:
    """The state of a refund. PENDING: in progress or of unknown outcome; background work follows it up."""

    refund_id: str
    payment_id: str
    state: RefundState
    money: Money
    payment_status: AnyStatus
    provider_refund_id: str | None = None
    failure_reason: str | None = None


async def plan(ctx: AppContext, command: RefundCommand) -> Plan:
    """Check a refund and return what it would do, without writing anything.

    :raises NotFound, Refused, Conflict: as :func:`refund`.
    """
    async with ctx.db.reading() as session:
        return await _plan(session, ctx, await load_payment(session, command.payment_id), command)


async def refund(ctx: AppContext, command: RefundCommand, actor: Actor) -> Refunded:
    """Refund a payment.

    :returns: the refund's state: SUCCEEDED, or PENDING while the provider works on it.
    :raises NotFound: no such payment.
    :raises Refused: more than the remaining amount, another currency, no reason, or the provider rejects it
        or has no refunds by API.
    :raises ConfigurationError: the provider is not configured.
    :raises Conflict: the payment is not COMPLETED, nothing is left to refund, a dispute is open, or the
        idempotency key was used for another refund.
    :raises ProviderUnavailable, OutcomeUnknown: the refund is kept, and background work makes or finds it.
    """
    async with ctx.db.writing() as session:
        locked = await lock_payment(session, command.payment_id)  # requests with the same key wait here
        claim = command.claim(actor)
        known = await idempotency.known(session, claim) if claim else None
        refund_id = (
            known.response["refund_id"] if known else await _write_ahead(session, ctx, locked, command, actor)
        )
    if known is None:
        await send(ctx, refund_id, actor, first=True, customer_scan=command.customer_scan)
        return await state_of(ctx, refund_id)
    in_progress = ctx.clock() - known.created_at < timedelta(seconds=LOOK_AGAIN_S)
    return await _known_state(ctx, refund_id, patience_s=_PATIENCE_S if in_progress else 0)


async def _known_state(ctx: AppContext, refund_id: str, *, patience_s: float) -> Refunded:
    """Return the state of an earlier request's refund; wait for one that may be sent at this moment."""
    waited = 0.0
    while True:
        refunded = await state_of(ctx, refund_id)
        is_unknown = refunded.state is RefundState.PENDING and refunded.provider_refund_id is None
        if not is_unknown or waited >= patience_s:
            return refunded
        await asyncio.sleep(_PAUSE_S)
        waited += _PAUSE_S


async def state_of(ctx: AppContext, refund_id: str) -> Refunded:
    """Return the state of a refund.

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
    """Check the reason of a refund.

    :raises Refused: it is empty, too long, or not printable.
    """
    if not reason.strip() or len(reason) > _LONGEST_REASON or not reason.isprintable():
        raise Refused(
            N_("A refund needs a reason of 1 to %(most)s printable characters", most=_LONGEST_REASON)
        )


async def _plan(
    session: AsyncSession, ctx: AppContext, locked: OrmLockedPayment, command: RefundCommand
) -> Plan:
    await authorize.check(ctx, session, Right.DESK, locked.payment.tournament_id)
    status = locked.payment.status
    if status is PaymentStatus.REFUNDED:
        raise Conflict(
            N_("Payment %(payment)s is already refunded in full", payment=locked.payment.id),
            code=ErrorCode.ALREADY_REFUNDED,
        )
    if status is not PaymentStatus.COMPLETED:
        raise Conflict(
            N_(
                "Payment %(payment)s is %(status)s: only a completed payment can be refunded",
                payment=locked.payment.id,
                status=status,
            ),
            next_step=f"procomp-pay status --payment {locked.payment.id} --refresh",
            code=ErrorCode.PAYMENT_NOT_COMPLETED,
        )
    check_reason(command.reason)
    if not command.force:
        await _check_comes_back_once(session, locked)
    ctx.providers.of(locked.detail.channel).ready_to_refund(locked.payment.id, at_desk=command.at_desk)
    if locked.detail.provider_ref is None:
        raise Refused(
            N_("The provider does not know this payment: the money did not come through our QR"),
            next_step=N_(
                "refund it in the Kaspi Pay app, or in Kaspi's partner cabinet (requests to cancel)"
            ),
        )
    rows = await refund_repository.of_payment(session, locked.payment.id)
    before = Money(reserved_amount(refund_repository.amounts(rows)), locked.charged.currency)
    # Kaspi reports one total: two refunds of unknown outcome could not be distinguished. At any provider, a
    # part that is asked for again while nobody knows what became of it is most likely the same part.
    if any(
        row.state is RefundState.PENDING
        and (locked.detail.channel.is_kaspi or row.provider_refund_id is None)
        for row in rows
    ):
        raise Conflict(
            N_("Another refund of this payment is in progress"),
            next_step=N_(
                "wait until it is final: procomp-pay status --payment %(payment)s", payment=locked.payment.id
            ),
            code=ErrorCode.REFUND_IN_PROGRESS,
        )
    if command.before not in (None, before):
        raise Conflict(
            N_(
                "The refunded amount changed while you were confirming: it was %(before)s, now %(now)s",
                before=command.before,
                now=before,
            ),
            next_step=N_("check it: procomp-pay status --payment %(payment)s", payment=locked.payment.id),
        )
    money = amount_to_refund(locked.charged, before.amount, command.money or command.proposed)
    if money.amount <= 0:
        raise Conflict(
            N_("By the refund policy nothing goes back"),
            next_step=N_(
                'refund another sum with a reason: procomp-pay refund %(payment)s --amount 20 --reason "…"',
                payment=locked.payment.id,
            ),
        )
    check_desk_refund(ctx.operator, before + money, ctx.limits)  # of the payment, not of each part of it
    return Plan(
        payment_id=locked.payment.id,
        participant_id=locked.detail.participant_id,
        money=money,
        paid=locked.charged,
        before=before,
        way=N_("back to the Kaspi account")
        if locked.detail.channel.is_kaspi
        else N_("back to the card, by Stripe"),
    )


async def _check_comes_back_once(session: AsyncSession, locked: OrmLockedPayment) -> None:
    """Check that the money is not given back in another way: by a dispute, or as that of another payment, for
    which its number was verified by mistake, and which would stay paid without it.

    :raises Conflict: it may be.
    """
    dispute = await discrepancies.holding_dispute(session, locked.detail)
    if dispute is not None:
        raise Conflict(
            N_(
                "A dispute over this payment is %(dispute)s: the money could be returned twice",
                dispute=dispute,
            ),
            next_step=N_(
                "answer it at Stripe; if it has ended: procomp-pay status --payment %(payment)s --refresh; "
                "or, if you are sure, add --force",
                payment=locked.payment.id,
            ),
            code=ErrorCode.PAYMENT_DISPUTED,
        )
    if not await numbers.counted_elsewhere(session, [locked.payment.id]):
        return
    number = str(locked.payment.kaspi_transaction_id)
    used = await numbers.used_by(session, number)
    if used is not None:
        raise Conflict(
            N_(
                "Operation %(number)s was verified for payment %(other)s, too: the money came once",
                number=number,
                other=used.payment_id,
            ),
            next_step=N_(
                "find out which of them was paid: procomp-pay status --payment %(other)s; "
                "to refund it all the same, add --force",
                other=used.payment_id,
            ),
            code=ErrorCode.OPERATION_NUMBER_USED,
        )


async def _write_ahead(
    session: AsyncSession, ctx: AppContext, locked: OrmLockedPayment, command: RefundCommand, actor: Actor
) -> str:
    """Insert the PENDING row of a refund, its audit entry and idempotency key; return the refund's id."""
    planned = await _plan(session, ctx, locked, command)
    now = ctx.clock()
    row = Refund(
        id=ctx.new_id(),
        payment_id=locked.payment.id,
        amount=planned.money.amount,
        currency=planned.money.known_currency,
        reason=command.reason.strip(),
        state=RefundState.PENDING,
        requested_by=actor.name,
        next_look_at=now + timedelta(seconds=LOOK_AGAIN_S),
        created_at=now,
        updated_at=now,
    )
    session.add(row)
    content = {
        "refund_id": row.id,
        "amount": row.amount,
        "currency": row.currency.value,
        "force": command.force,
    } | ({"proposed": command.proposed.amount} if command.proposed is not None else {})
    record = actor.record("refund_requested", after=content | actor.approval(), note=row.reason)
    await audit.append(session, locked.payment.id, record, now)
    claim = command.claim(actor)
    if claim is not None:
        await idempotency.remember(session, claim, locked.payment.id, now, {"refund_id": row.id})
    return row.id
