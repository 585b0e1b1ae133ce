"""Ask Kaspi about one payment while a clerk waits: shortly, and whatever it says goes through the door."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from procomp_pay.domain.errors import ConfigurationError, NotFound, PaymentError
from procomp_pay.domain.events import News
from procomp_pay.domain.kaspi_verification import KaspiWord
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import CreateState
from procomp_pay.services.context import Actor, Desk
from procomp_pay.services.lifecycle.polling import apply_seen
from procomp_pay.services.settlement.provider_handle import handle_of
from procomp_pay.storage.payments.repository import Held, hold

log = logging.getLogger(__name__)

#: Seconds that a clerk waits for Kaspi. Then their own eyes count.
PATIENCE_S = 4.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What Kaspi said; ``money`` where it told the amount that was paid."""

    word: KaspiWord
    money: Money | None = None


async def ask_kaspi(desk: Desk, held: Held, actor: Actor) -> Asked:
    """Ask now. News are applied: a payment that Kaspi calls paid is COMPLETED afterwards, unless the amount
    differs."""
    if held.detail.create_state is not CreateState.OPEN or held.detail.provider_ref is None:
        return Asked(KaspiWord.CANNOT_BE_ASKED)
    try:
        provider = desk.providers.of(held.detail.channel)
        async with asyncio.timeout(PATIENCE_S):
            seen = await provider.fetch(handle_of(held))
    except (PaymentError, TimeoutError) as error:
        log.warning("Kaspi cannot say now whether payment %s was made: %s", held.payment.id, error)
        return Asked(_without_answer(error))
    if not seen.told:
        return Asked(KaspiWord.CANNOT_BE_ASKED)
    await apply_seen(desk, held.payment.id, seen, actor)
    if seen.news is News.PROCESSING:
        return Asked(KaspiWord.CONFIRMING)
    return Asked(KaspiWord.PAID if seen.news is News.SUCCEEDED else KaspiWord.NOT_PAID, seen.money)


async def ask(desk: Desk, payment_id: str, actor: Actor) -> KaspiWord:
    """As :func:`ask_kaspi`, for a clerk who has just picked a payment.

    :raises NotFound: no such payment.
    """
    async with desk.db.reading() as session:
        held = await hold(session, payment_id, lock=False)
    return (await ask_kaspi(desk, held, actor)).word


def _without_answer(error: Exception) -> KaspiWord:
    if isinstance(error, NotFound):
        return KaspiWord.UNKNOWN_THERE
    unset = isinstance(error, ConfigurationError)
    return KaspiWord.CANNOT_BE_ASKED if unset else KaspiWord.NO_ANSWER
