"""Ask Kaspi about one payment while a clerk waits: shortly, and whatever it says goes through the door."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from procomp_pay.domain.errors import ConfigurationError, NotFound, PaymentError
from procomp_pay.domain.events import EventType
from procomp_pay.domain.kaspi_verification import KaspiWord
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import CreateState
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.lifecycle.create_at_provider import provider_ref_of
from procomp_pay.services.lifecycle.polling import apply_provider_status
from procomp_pay.storage.payments.repository import OrmLockedPayment, load_payment

log = logging.getLogger(__name__)

#: Seconds that a clerk waits for Kaspi. Then their own eyes count.
PATIENCE_S = 4.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What Kaspi said; ``money`` where it told the amount that was paid."""

    word: KaspiWord
    money: Money | None = None


async def ask_kaspi(ctx: AppContext, locked: OrmLockedPayment, actor: Actor) -> Asked:
    """Ask now. News are applied: a payment that Kaspi calls paid is COMPLETED afterwards, unless the amount
    differs."""
    if locked.detail.create_state is not CreateState.OPEN or locked.detail.provider_ref is None:
        return Asked(KaspiWord.CANNOT_BE_ASKED)
    try:
        provider = ctx.providers.of(locked.detail.channel)
        async with asyncio.timeout(PATIENCE_S):
            seen = await provider.fetch(provider_ref_of(locked))
    except (PaymentError, TimeoutError) as error:
        log.warning("Kaspi cannot say now whether payment %s was made: %s", locked.payment.id, error)
        return Asked(_without_answer(error))
    if not seen.authoritative:
        return Asked(KaspiWord.CANNOT_BE_ASKED)
    await apply_provider_status(ctx, locked.payment.id, seen, actor)
    if seen.event_type is EventType.PROCESSING:
        return Asked(KaspiWord.CONFIRMING)
    return Asked(KaspiWord.PAID if seen.event_type is EventType.SUCCEEDED else KaspiWord.NOT_PAID, seen.money)


async def ask(ctx: AppContext, payment_id: str, actor: Actor) -> KaspiWord:
    """As :func:`ask_kaspi`, for a clerk who has just picked a payment.

    :raises NotFound: no such payment.
    """
    async with ctx.db.reading() as session:
        locked = await load_payment(session, payment_id)
    return (await ask_kaspi(ctx, locked, actor)).word


def _without_answer(error: Exception) -> KaspiWord:
    if isinstance(error, NotFound):
        return KaspiWord.UNKNOWN_THERE
    unset = isinstance(error, ConfigurationError)
    return KaspiWord.CANNOT_BE_ASKED if unset else KaspiWord.NO_ANSWER
