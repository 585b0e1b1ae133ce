"""Ask Kaspi about one payment while an operator waits, and apply the status that it reports."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import ConfigurationError, NotFound, PaymentError
from procomp_pay.domain.events import EventType
from procomp_pay.domain.kaspi_verification import KaspiAnswer
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import Channel, CreateState
from procomp_pay.providers.kaspi.service import KaspiPaymentService
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.lifecycle.polling import apply_provider_status
from procomp_pay.services.settlement.provider_ref import provider_ref_of
from procomp_pay.storage.payments.repository import OrmLockedPayment, load_payment

log = logging.getLogger(__name__)

#: Seconds that an operator waits for Kaspi. After that the receipt is accepted without an answer.
PATIENCE_S = 4.0


@dataclass(frozen=True, slots=True)
class KaspiResult:
    """Kaspi's answer, with the paid amount and the time of the payment if it reports them."""

    answer: KaspiAnswer
    money: Money | None = None
    at: datetime | None = None


async def ask_kaspi(
    ctx: AppContext, locked: OrmLockedPayment, actor: Actor, number: str | None = None
) -> KaspiResult:
    """Ask Kaspi now and apply its status.

    A payment that Kaspi reports as paid is COMPLETED afterwards, unless the amount differs.

    :param number: the receipt's number, which Kaspi is asked about if it is not known which purchase is this
        payment's.
    """
    if locked.detail.create_state is not CreateState.OPEN or locked.detail.provider_ref is None:
        return await _ask_by_number(ctx, locked, number)
    try:
        provider = ctx.providers.of(locked.detail.channel)
        async with asyncio.timeout(PATIENCE_S):
            status = await provider.fetch(provider_ref_of(locked))
    except (PaymentError, TimeoutError) as error:
        log.warning("Kaspi did not confirm the status of payment %s: %s", locked.payment.id, error)
        return KaspiResult(_answer_from_error(error))
    if not status.authoritative:
        return KaspiResult(KaspiAnswer.CANNOT_BE_ASKED)
    await apply_provider_status(ctx, locked.payment.id, status, actor)
    if status.event_type is EventType.PROCESSING:
        return KaspiResult(KaspiAnswer.CONFIRMING)
    return KaspiResult(
        KaspiAnswer.PAID if status.event_type is EventType.SUCCEEDED else KaspiAnswer.NOT_PAID, status.money
    )


async def _ask_by_number(ctx: AppContext, locked: OrmLockedPayment, number: str | None) -> KaspiResult:
    """Ask for the purchase with the receipt's number: most likely it is the purchase's own.

    A purchase that Kaspi does not know decides nothing, since Kaspi does not document that they are the same.
    """
    provider = ctx.providers.of(locked.detail.channel)
    if (
        number is None
        or locked.detail.channel is Channel.KASPI_BILL
        or not isinstance(provider, KaspiPaymentService)
        or provider.scheme not in (KaspiScheme.STANDARD, KaspiScheme.ENHANCED)
    ):
        return KaspiResult(KaspiAnswer.CANNOT_BE_ASKED)
    try:
        async with asyncio.timeout(PATIENCE_S):
            purchase = await provider.refunds().purchase(number)
    except (PaymentError, TimeoutError) as error:
        log.warning("Kaspi does not report purchase %s: %s", number, error)
        return KaspiResult(KaspiAnswer.CANNOT_BE_ASKED)
    answer = KaspiAnswer.PAID if purchase.refundable.amount else KaspiAnswer.NOT_PAID  # all was refunded
    return KaspiResult(answer, purchase.money, purchase.at)


async def ask(ctx: AppContext, payment_id: str, actor: Actor) -> KaspiAnswer:
    """Call :func:`ask_kaspi` for a payment that an operator has just selected.

    :raises NotFound: no such payment.
    """
    async with ctx.db.reading() as session:
        locked = await load_payment(session, payment_id)
    return (await ask_kaspi(ctx, locked, actor)).answer


def _answer_from_error(error: Exception) -> KaspiAnswer:
    if isinstance(error, NotFound):
        return KaspiAnswer.UNKNOWN_THERE
    is_unset = isinstance(error, ConfigurationError)
    return KaspiAnswer.CANNOT_BE_ASKED if is_unset else KaspiAnswer.NO_ANSWER
