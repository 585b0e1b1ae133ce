"""Write down a refund that a person made in the Kaspi Pay app: checked as a payment is, by the one door."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.errors import Conflict, PaymentError, Refused
from procomp_pay.domain.facts import Fact, News
from procomp_pay.domain.money import Money
from procomp_pay.domain.operation_number import read
from procomp_pay.domain.refunds import RefundNews, RefundState, amount_to_refund, gone_back, held_back
from procomp_pay.domain.states import CreateState, PaymentStatus
from procomp_pay.payments.desk import Actor, Desk
from procomp_pay.payments.opening import handle_of
from procomp_pay.payments.refund import Refunded, check_reason, state_of
from procomp_pay.payments.settle import settle_in
from procomp_pay.storage import kaspi_operations as numbers
from procomp_pay.storage import refunds as book
from procomp_pay.storage.module import Refund
from procomp_pay.storage.payments import Held, hold


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


async def check_made(desk: Desk, made: MadeInApp) -> Money:
    """How much would be written down. Writes nothing.

    :raises NotFound, Refused, Conflict: as :func:`record_made`.
    """
    number = read(made.number)
    async with desk.db.reading() as session:
        return await _checked(session, await hold(session, made.payment_id, lock=False), made, number)


async def record_made(desk: Desk, made: MadeInApp, actor: Actor) -> Refunded:
    """Write it down.

    :raises NotFound: no such payment.
    :raises Refused: no operation number, more than the rest, no reason, not a payment at Kaspi, or Kaspi says
        that less went back.
    :raises Conflict: the number was used before, or the payment is not COMPLETED.
    :raises ProviderUnavailable, OutcomeUnknown: Kaspi tells what went back, and cannot be asked now.
    """
    number = read(made.number)
    async with desk.db.reading() as session:
        held = await hold(session, made.payment_id, lock=False)
        money = await _checked(session, held, made, number)
        known = await _known(session, held)
    await _compare(desk, held, known, money)
    name = book.kaspi_name(number)
    try:
        async with desk.db.writing() as session:
            held = await hold(session, made.payment_id)
            money = await _checked(session, held, made, number)
            await _check_nobody_was_faster(session, held, known)
            news = RefundNews(
                RefundState.SUCCEEDED, money, provider_refund_id=name, reason=made.reason.strip()
            )
            fact = Fact(
                payment_id=made.payment_id,
                news=News.REFUND,
                at=desk.clock(),
                source=actor.source,
                actor=actor.name,
                request_id=actor.request_id,
                refund=news,
                reason=made.reason.strip(),
            )
            await settle_in(session, desk, fact, held)
            rows = await book.of_payment(session, made.payment_id)
            refund_id = next(row.id for row in rows if row.provider_refund_id == name)
    except PaymentError:
        raise
    except Exception as error:
        async with desk.db.reading() as session:
            used = await book.by_provider_id(session, name)
        if used is None:
            raise
        raise _used(number, used) from error  # another one wrote it down at the same moment
    return await state_of(desk, refund_id)


async def _checked(session: AsyncSession, held: Held, made: MadeInApp, number: str) -> Money:
    check_reason(made.reason)
    if not held.detail.channel.is_kaspi:
        raise Refused(
            "This payment was not made with Kaspi",
            next_step=f'procomp-pay refund {made.payment_id} --reason "…"',
        )
    used = await book.by_provider_id(session, book.kaspi_name(number))
    if used is not None:
        raise _used(number, used)
    paid = await _paid_with(session, number)
    if paid is not None:
        raise Conflict(
            f"{number} is the number of a payment ({paid}), not of a refund",
            next_step="in the Kaspi Pay app the refund stands in History with a number of its own",
        )
    if held.payment.status is not PaymentStatus.COMPLETED:
        raise Conflict(f"Payment {held.payment.id} is {held.payment.status}: only what was paid can go back")
    rows = await book.of_payment(session, held.payment.id)
    if any(row.state is RefundState.PENDING for row in rows):
        raise Conflict("Another refund of this payment is under way", next_step="wait until it is known")
    return amount_to_refund(held.charged, held_back(book.amounts(rows)), made.money)


async def _known(session: AsyncSession, held: Held) -> Money:
    """What has gone back for certain, by our books."""
    rows = await book.of_payment(session, held.payment.id)
    return Money(gone_back(book.amounts(rows)), held.charged.currency)


async def _check_nobody_was_faster(session: AsyncSession, held: Held, known: Money) -> None:
    """Kaspi's sum was compared with our books as they were: another clerk, or the nightly run, may have
    written the same refund down since.

    :raises Conflict: something was.
    """
    if await _known(session, held) != known:
        raise Conflict(
            "Another refund of this payment was written down at this moment: it may be this one",
            next_step=f"look at it: procomp-pay status --payment {held.payment.id}",
        )


async def _paid_with(session: AsyncSession, number: str) -> str | None:
    """The payment whose receipt bears the number: it settled one, or is a QR's own, or money of another
    amount came under it."""
    settled = await numbers.used_by(session, number)
    if settled is not None:
        return settled.payment_id
    return await numbers.qr_of(session, number) or await numbers.came_under(session, number)


async def _compare(desk: Desk, held: Held, known: Money, money: Money) -> None:
    """Where Kaspi tells what went back of the payment, a person's word must agree."""
    if held.detail.create_state is not CreateState.OPEN:
        return
    total = (await desk.providers.of(held.detail.channel).returned(handle_of(held))).total
    if total is not None and total.amount < (known + money).amount:
        raise Refused(
            f"Kaspi says that {total} went back of this payment in all, not {known + money}",
            next_step="compare with the payment in the Kaspi Pay app",
        )


def _used(number: str, row: Refund) -> Conflict:
    return Conflict(
        f"Refund {number} was recorded before, for payment {row.payment_id}, by {row.requested_by}",
        next_step="one operation number is one refund; look at the number in the app again",
    )
