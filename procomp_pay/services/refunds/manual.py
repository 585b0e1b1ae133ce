"""Record a refund that an operator made in the Kaspi Pay app, through settlement like any other."""

from __future__ import annotations

from dataclasses import dataclass

from procomp_pay.domain.errors import Conflict, PaymentError, Refused
from procomp_pay.domain.events import EventType, PaymentEvent
from procomp_pay.domain.money import Money
from procomp_pay.domain.operation_number import read
from procomp_pay.domain.operators import Right, check_desk_refund
from procomp_pay.domain.refunds import (
    RefundEvent,
    RefundState,
    amount_to_refund,
    is_providers_own_id,
    kaspi_refund_id,
    reserved_amount,
    total_refunded,
)
from procomp_pay.domain.states import CreateState, PaymentStatus
from procomp_pay.domain.text import N_
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.operators import authorize
from procomp_pay.services.refunds.create import Refunded, check_reason, state_of
from procomp_pay.services.refunds.policy import propose
from procomp_pay.services.settlement.apply import apply_event_in
from procomp_pay.services.settlement.provider_ref import provider_ref_of
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.refunds import Refund
from procomp_pay.storage.payments import kaspi_operations as numbers
from procomp_pay.storage.payments import refunds as refund_repository
from procomp_pay.storage.payments.repository import OrmLockedPayment, load_payment, lock_payment


@dataclass(frozen=True, slots=True)
class MadeInApp:
    """A refund that an operator made in the Kaspi Pay app.

    :param number: the refund's own operation number, as typed.
    :param money: ``None`` for the whole remaining amount.
    """

    payment_id: str
    number: str
    reason: str
    money: Money | None = None


@dataclass(frozen=True, slots=True)
class _Plan:
    """The refund to record.

    :param known: our row without a number that this refund completes, if Kaspi's total showed it before the
        operator recorded it.
    """

    money: Money
    known: Refund | None = None


async def check_made(ctx: AppContext, made: MadeInApp) -> Money:
    """Return the amount that would be recorded, without writing anything.

    :raises NotFound, Refused, Conflict: as :func:`record_made`.
    """
    number = read(made.number)
    async with ctx.db.reading() as session:
        locked = await load_payment(session, made.payment_id)
        plan = await _check(session, locked, made, number)
    await _check_policy(ctx, made, plan)
    return plan.money


async def _check_policy(ctx: AppContext, made: MadeInApp, plan: _Plan) -> None:
    """Check that the whole rest is what the refund policy gives back, where no sum was named.

    :raises Refused: it is not, or the policy cannot say: the operator has to name what the app refunded.
    """
    if made.money is not None or plan.known is not None:
        return
    try:
        proposal = await propose(ctx, made.payment_id)
    except Refused as error:  # its hint is for a refund that is still to be made
        raise Refused(error.message, next_step=_name_the_sum(made, plan.money)) from error
    if proposal is not None and proposal.money != plan.money:
        raise Refused(
            N_(
                "By the refund policy %(money)s goes back (%(rule)s), and %(rest)s is left of the payment",
                money=proposal.money,
                rule=proposal.rule,
                rest=plan.money,
            ),
            next_step=_name_the_sum(made, proposal.money if proposal.money.amount > 0 else plan.money),
        )


def _name_the_sum(made: MadeInApp, money: Money) -> str:
    return N_(
        "name the sum that was refunded: procomp-pay refund %(payment)s --made-in-app %(number)s "
        '--amount %(amount)s --reason "…"',
        payment=made.payment_id,
        number=read(made.number),
        amount=money.amount,
    )


async def record_made(ctx: AppContext, made: MadeInApp, actor: Actor) -> Refunded:
    """Record a refund made in the Kaspi Pay app.

    :raises NotFound: no such payment.
    :raises Refused: no operation number, more than the remaining amount, no reason, not a Kaspi payment, or
        Kaspi's refunded total is smaller.
    :raises Conflict: the number was used before, or the payment is not COMPLETED.
    :raises ProviderUnavailable, OutcomeUnknown: Kaspi knows the refunded total and cannot be asked now.
    """
    number = read(made.number)
    async with ctx.db.reading() as session:
        locked = await load_payment(session, made.payment_id)
        await authorize.check(ctx, session, Right.DESK, locked.payment.tournament_id)
        plan = await _check(session, locked, made, number)
        await _check_limit(session, ctx, locked, plan)
        before = await _total_refunded(session, locked)
    await _check_policy(ctx, made, plan)
    if plan.known is None:
        await _compare_with_kaspi(ctx, locked, before, plan.money)
    name = kaspi_refund_id(number)
    try:
        async with ctx.db.writing() as session:
            locked = await lock_payment(session, made.payment_id)
            await authorize.check(ctx, session, Right.DESK, locked.payment.tournament_id)
            compared, plan = plan.known is None, await _check(session, locked, made, number)
            await _check_limit(session, ctx, locked, plan)
            if plan.known is None:
                await _check_unchanged(session, locked, before if compared else None)
            await apply_event_in(session, ctx, _payment_event(ctx, made, plan, number, actor), locked)
            rows = await refund_repository.of_payment(session, made.payment_id)
            refund_id = next(row.id for row in rows if row.provider_refund_id == name)
    except PaymentError:
        raise
    except Exception as error:
        async with ctx.db.reading() as session:
            used = await refund_repository.by_provider_id(session, name)
        if used is None:
            raise
        raise _number_used(number, used) from error  # another operator recorded it at the same moment
    return await state_of(ctx, refund_id)


def _payment_event(ctx: AppContext, made: MadeInApp, plan: _Plan, number: str, actor: Actor) -> PaymentEvent:
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
            provider_refund_id=kaspi_refund_id(number),
            reason=reason,
        ),
        reason=reason,
    )


async def _check(session: AsyncSession, locked: OrmLockedPayment, made: MadeInApp, number: str) -> _Plan:
    check_reason(made.reason)
    if not locked.detail.channel.is_kaspi:
        raise Refused(
            N_("This payment was not made with Kaspi"),
            next_step=f'procomp-pay refund {made.payment_id} --reason "…"',
        )
    used = await refund_repository.by_provider_id(session, kaspi_refund_id(number))
    if used is not None:
        raise _number_used(number, used)
    payment_id = await _payment_with(session, number)
    if payment_id is not None:
        raise Conflict(
            N_(
                "%(number)s is the number of a payment (%(payment)s), not of a refund",
                number=number,
                payment=payment_id,
            ),
            next_step=N_("use the refund's own number: Kaspi Pay app, History, the refund"),
        )
    rows = await refund_repository.of_payment(session, locked.payment.id)
    known = _without_number(locked, rows, made.money, number)
    if known is not None:
        return _Plan(Money(known.amount, known.currency), known)
    if locked.payment.status is not PaymentStatus.COMPLETED:
        raise Conflict(
            N_(
                "Payment %(payment)s is %(status)s: only a completed payment can be refunded",
                payment=locked.payment.id,
                status=locked.payment.status,
            )
        )
    if any(row.state is RefundState.PENDING for row in rows):
        raise Conflict(
            N_("Another refund of this payment is in progress"),
            next_step=N_(
                "wait until it is final: procomp-pay status --payment %(payment)s", payment=locked.payment.id
            ),
        )
    return _Plan(
        amount_to_refund(locked.charged, reserved_amount(refund_repository.amounts(rows)), made.money)
    )


def _without_number(
    locked: OrmLockedPayment, rows: list[Refund], money: Money | None, number: str
) -> Refund | None:
    """Return the recorded refund of this amount that still lacks its number.

    :raises Conflict: there are several, and no amount was given.
    """
    unnamed = [
        row
        for row in rows
        if row.state is RefundState.SUCCEEDED and not is_providers_own_id(row.provider_refund_id)
    ]
    rest = locked.charged.amount - reserved_amount(refund_repository.amounts(rows))
    if money is None and rest > 0:
        money = Money(rest, locked.charged.currency)
    if money is not None:
        unnamed = [row for row in unnamed if Money(row.amount, row.currency) == money]
    elif len(unnamed) > 1:
        raise Conflict(
            N_(
                "Payment %(payment)s has several refunds without a number: %(number)s could be any of them",
                payment=locked.payment.id,
                number=number,
            ),
            next_step=N_("give the refunded amount: --amount AMOUNT"),
        )
    return unnamed[0] if unnamed else None


async def _check_limit(session: AsyncSession, ctx: AppContext, locked: OrmLockedPayment, plan: _Plan) -> None:
    """Check the limit of the role ``desk`` for the payment: earlier and pending refunds count, too.

    :raises Forbidden: it is more.
    """
    rows = await refund_repository.of_payment(session, locked.payment.id)
    reserved = Money(reserved_amount(refund_repository.amounts(rows)), locked.charged.currency)
    total = reserved if plan.known is not None else reserved + plan.money
    check_desk_refund(ctx.operator, total, ctx.limits)


async def _total_refunded(session: AsyncSession, locked: OrmLockedPayment) -> Money:
    """Return the total of the refunds that succeeded, by our books."""
    rows = await refund_repository.of_payment(session, locked.payment.id)
    return Money(total_refunded(refund_repository.amounts(rows)), locked.charged.currency)


async def _check_unchanged(session: AsyncSession, locked: OrmLockedPayment, before: Money | None) -> None:
    """Check that no refund was recorded since Kaspi's total was compared with our books: another operator or
    the nightly reconciliation may have recorded this one.

    :param before: the total refunded by our books then; ``None`` if nothing was compared, since the number
        belonged to a known refund, which another operator has completed meanwhile.
    :raises Conflict: a refund was recorded.
    """
    if await _total_refunded(session, locked) != before:
        raise Conflict(
            N_("Another refund of this payment was recorded at the same moment: it may be this one"),
            next_step=N_("check it: procomp-pay status --payment %(payment)s", payment=locked.payment.id),
        )


async def _payment_with(session: AsyncSession, number: str) -> str | None:
    """Return the payment whose receipt has the number: it settled the payment, belongs to its QR, or came
    with a different amount.
    """
    settled = await numbers.used_by(session, number)
    if settled is not None:
        return settled.payment_id
    return await numbers.qr_of(session, number) or await numbers.came_under(session, number)


async def _compare_with_kaspi(ctx: AppContext, locked: OrmLockedPayment, before: Money, money: Money) -> None:
    """Compare the operator's amount with Kaspi's refunded total, if Kaspi reports it.

    :raises Refused: Kaspi's total is smaller.
    """
    if locked.detail.create_state is not CreateState.OPEN:
        return
    total = (await ctx.providers.of(locked.detail.channel).list_refunds(provider_ref_of(locked))).total
    if total is not None and total.amount < (before + money).amount:
        raise Refused(
            N_(
                "Kaspi has refunded %(total)s of this payment in total, not %(before)s",
                total=total,
                before=before + money,
            ),
            next_step=N_("compare with the payment in the Kaspi Pay app"),
        )


def _number_used(number: str, row: Refund) -> Conflict:
    return Conflict(
        N_(
            "Refund %(number)s was recorded before, for payment %(payment)s, by %(requested_by)s",
            number=number,
            payment=row.payment_id,
            requested_by=row.requested_by,
        ),
        next_step=N_("each refund has its own number: check it in the Kaspi Pay app"),
    )
