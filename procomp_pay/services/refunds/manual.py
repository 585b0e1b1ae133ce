"""Write down a refund that a person made in the Kaspi Pay app: checked as a payment is, by the one door."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.errors import Conflict, PaymentError, Refused
from procomp_pay.domain.events import EventType, PaymentEvent
from procomp_pay.domain.money import Money
from procomp_pay.domain.operation_number import read
from procomp_pay.domain.refunds import (
    RefundEvent,
    RefundState,
    amount_to_refund,
    has_a_name,
    reserved_amount,
    total_refunded,
)
from procomp_pay.domain.states import CreateState, PaymentStatus
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.lifecycle.create_at_provider import provider_ref_of
from procomp_pay.services.refunds.create import Refunded, check_reason, state_of
from procomp_pay.services.settlement.apply import apply_event_in
from procomp_pay.storage.models.payments import Refund
from procomp_pay.storage.payments import kaspi_operations as numbers
from procomp_pay.storage.payments import refunds as refund_repository
from procomp_pay.storage.payments.repository import OrmLockedPayment, load_payment, lock_payment


@dataclass(frozen=True, slots=True)
class MadeInApp:
    """What a person says: this went back in the Kaspi Pay app.

    :param number: the refund's own operation number, as typed.
    :param money: ``None`` for the whole rest.
    """

    payment_id: str
    number: str
    reason: str
    money: Money | None = None


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be written down.

    :param known: the refund that our books have without a number, where this is its number: Kaspi's sum was
        faster than the clerk.
    """

    money: Money
    known: Refund | None = None


async def check_made(ctx: AppContext, made: MadeInApp) -> Money:
    """How much would be written down. Writes nothing.

    :raises NotFound, Refused, Conflict: as :func:`record_made`.
    """
    number = read(made.number)
    async with ctx.db.reading() as session:
        locked = await load_payment(session, made.payment_id)
        return (await _checked(session, locked, made, number)).money


async def record_made(ctx: AppContext, made: MadeInApp, actor: Actor) -> Refunded:
    """Write it down.

    :raises NotFound: no such payment.
    :raises Refused: no operation number, more than the rest, no reason, not a payment at Kaspi, or Kaspi says
        that less went back.
    :raises Conflict: the number was used before, or the payment is not COMPLETED.
    :raises ProviderUnavailable, OutcomeUnknown: Kaspi tells what went back, and cannot be asked now.
    """
    number = read(made.number)
    async with ctx.db.reading() as session:
        locked = await load_payment(session, made.payment_id)
        plan = await _checked(session, locked, made, number)
        before = await _went_back(session, locked)
    if plan.known is None:
        await _compare(ctx, locked, before, plan.money)
    name = refund_repository.kaspi_name(number)
    try:
        async with ctx.db.writing() as session:
            locked = await lock_payment(session, made.payment_id)
            compared, plan = plan.known is None, await _checked(session, locked, made, number)
            if plan.known is None:
                await _check_nobody_was_faster(session, locked, before if compared else None)
            await apply_event_in(session, ctx, _fact(ctx, made, plan, number, actor), locked)
            rows = await refund_repository.of_payment(session, made.payment_id)
            refund_id = next(row.id for row in rows if row.provider_refund_id == name)
    except PaymentError:
        raise
    except Exception as error:
        async with ctx.db.reading() as session:
            used = await refund_repository.by_provider_id(session, name)
        if used is None:
            raise
        raise _used(number, used) from error  # another one wrote it down at the same moment
    return await state_of(ctx, refund_id)


def _fact(ctx: AppContext, made: MadeInApp, plan: _Plan, number: str, actor: Actor) -> PaymentEvent:
    reason = made.reason.strip()
    return PaymentEvent(
        payment_id=made.payment_id,
        event_type=EventType.REFUND,
        at=ctx.clock(),
        source=actor.source,
        actor=actor.name,
        source_id=number,
        request_id=actor.request_id,
        refund=RefundEvent(
            RefundState.SUCCEEDED,
            plan.money,
            refund_id=plan.known.id if plan.known else None,
            provider_refund_id=refund_repository.kaspi_name(number),
            reason=reason,
        ),
        reason=reason,
    )


async def _checked(session: AsyncSession, locked: OrmLockedPayment, made: MadeInApp, number: str) -> _Plan:
    check_reason(made.reason)
    if not locked.detail.channel.is_kaspi:
        raise Refused(
            "This payment was not made with Kaspi",
            next_step=f'procomp-pay refund {made.payment_id} --reason "…"',
        )
    used = await refund_repository.by_provider_id(session, refund_repository.kaspi_name(number))
    if used is not None:
        raise _used(number, used)
    paid = await _paid_with(session, number)
    if paid is not None:
        raise Conflict(
            f"{number} is the number of a payment ({paid}), not of a refund",
            next_step="in the Kaspi Pay app the refund stands in History with a number of its own",
        )
    rows = await refund_repository.of_payment(session, locked.payment.id)
    known = _without_number(locked, rows, made.money)
    if known is not None:
        return _Plan(Money(known.amount, known.currency), known)
    if locked.payment.status is not PaymentStatus.COMPLETED:
        raise Conflict(
            f"Payment {locked.payment.id} is {locked.payment.status}: only what was paid can go back"
        )
    if any(row.state is RefundState.PENDING for row in rows):
        raise Conflict("Another refund of this payment is under way", next_step="wait until it is known")
    return _Plan(
        amount_to_refund(locked.charged, reserved_amount(refund_repository.amounts(rows)), made.money)
    )


def _without_number(locked: OrmLockedPayment, rows: list[Refund], money: Money | None) -> Refund | None:
    """The refund that is in our books, with this amount, and waits for its number.

    :raises Conflict: there are several, and nobody says how much it was.
    """
    waiting = [
        each
        for each in rows
        if each.state is RefundState.SUCCEEDED and not has_a_name(each.provider_refund_id)
    ]
    rest = locked.charged.amount - reserved_amount(refund_repository.amounts(rows))
    if money is None and rest > 0:
        money = Money(rest, locked.charged.currency)
    if money is not None:
        waiting = [each for each in waiting if Money(each.amount, each.currency) == money]
    elif len(waiting) > 1:
        raise Conflict(
            f"Payment {locked.payment.id} has several refunds without a number: of which one is this?",
            next_step="say how much it was: --amount BACK",
        )
    return waiting[0] if waiting else None


async def _went_back(session: AsyncSession, locked: OrmLockedPayment) -> Money:
    """What has gone back for certain, by our books."""
    rows = await refund_repository.of_payment(session, locked.payment.id)
    return Money(total_refunded(refund_repository.amounts(rows)), locked.charged.currency)


async def _check_nobody_was_faster(
    session: AsyncSession, locked: OrmLockedPayment, before: Money | None
) -> None:
    """Kaspi's sum was compared with our books as they were: another clerk, or the nightly run, may have
    written the same refund down since.

    :param before: what had gone back by our books then; ``None`` where nothing was compared, since it was
        the number of a known refund, which another clerk has named meanwhile.
    :raises Conflict: something was.
    """
    if await _went_back(session, locked) != before:
        raise Conflict(
            "Another refund of this payment was written down at this moment: it may be this one",
            next_step=f"look at it: procomp-pay status --payment {locked.payment.id}",
        )


async def _paid_with(session: AsyncSession, number: str) -> str | None:
    """The payment whose receipt bears the number: it settled one, or is a QR's own, or money of another
    amount came under it."""
    settled = await numbers.used_by(session, number)
    if settled is not None:
        return settled.payment_id
    return await numbers.qr_of(session, number) or await numbers.came_under(session, number)


async def _compare(ctx: AppContext, locked: OrmLockedPayment, before: Money, money: Money) -> None:
    """Where Kaspi tells what went back of the payment, a person's word must agree."""
    if locked.detail.create_state is not CreateState.OPEN:
        return
    total = (await ctx.providers.of(locked.detail.channel).list_refunds(provider_ref_of(locked))).total
    if total is not None and total.amount < (before + money).amount:
        raise Refused(
            f"Kaspi says that {total} went back of this payment in all, not {before + money}",
            next_step="compare with the payment in the Kaspi Pay app",
        )


def _used(number: str, row: Refund) -> Conflict:
    return Conflict(
        f"Refund {number} was recorded before, for payment {row.payment_id}, by {row.requested_by}",
        next_step="one operation number is one refund; look at the number in the app again",
    )
