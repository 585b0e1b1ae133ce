"""Make sure that a Kaspi operation number settles one payment only, whichever source reports it.

If a provider reports a number that was used before, the money was received and is left for manual review. An
operator who enters such a number gets an error that names the payment it settled.
"""

from __future__ import annotations

from procomp_pay.domain.almaty import almaty_time
from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.errors import Conflict, ErrorCode
from procomp_pay.domain.events import EventType, PaymentEvent
from procomp_pay.domain.operation_number import canonical
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.domain.text import N_
from procomp_pay.domain.topics import Topic
from procomp_pay.services.context import AppContext
from procomp_pay.services.settlement import side_effects
from procomp_pay.storage.database.insert_once import insert_once
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.kaspi_operations import KaspiOperation
from procomp_pay.storage.payments import kaspi_operations as numbers
from procomp_pay.storage.payments.locked_payment import LockedPayment

_NOT_PAID = (EventType.FAILED, EventType.CANCELLED, EventType.EXPIRED)
#: Sources that do not have the number from Kaspi's status of the QR.
_NOT_KASPI = ("person", "app", "reconcile")
_BY = {
    "kaspi_status": N_("reported by Kaspi"),
    "kaspi_bill": N_("reported by Kaspi"),
    "kaspi_callback": N_("reported by the gateway"),
}


async def claim_operation_number(
    session: AsyncSession, ctx: AppContext, locked: LockedPayment, event: PaymentEvent
) -> bool:
    """Record the operation number of an event for its payment, which is COMPLETED and locked.

    :returns: True if the number was new.
    :raises Conflict: an operator enters a number that settled another payment, or a second one for this one.
    """
    number = canonical(str(event.ids.kaspi_operation))
    recorded = await numbers.of_payment(session, locked.payment.id)
    if any(row.operation_number == number for row in recorded):
        return False
    if recorded and event.source.is_person:
        raise await payment_already_settled(session, recorded[0])
    money = event.money or locked.charged
    row = {
        "operation_number": number,
        "payment_id": locked.payment.id,
        "amount": money.amount,
        "paid_at": event.at,
        "source": event.source.value,
        "recorded_by": event.actor,
        "created_at": ctx.clock(),
    }
    if not await insert_once(session, KaspiOperation, row):
        used = await numbers.used_by(session, number)
        if used is None or used.payment_id == locked.payment.id:
            return False
        if event.source.is_person:
            raise await number_already_used(session, used)
        await _flag_duplicate(session, ctx, locked, event, number, {"settled": used.payment_id})
        return True
    await side_effects.close_unapplied(session, locked, number, money, by=event.actor, now=ctx.clock())
    if recorded and recorded[0].operation_number != locked.detail.provider_ref:
        # two numbers for one payment: it was paid twice, or the first number was mistyped; unless the first
        # one is the number of the QR itself, which the customer's receipt shows
        await _flag_duplicate(session, ctx, locked, event, number, {"recorded": recorded[0].operation_number})
    return True


async def _flag_duplicate(
    session: AsyncSession,
    ctx: AppContext,
    locked: LockedPayment,
    event: PaymentEvent,
    number: str,
    extra: dict[str, str],
) -> None:
    detail = {"operation": number, "source": event.source.value} | extra
    await side_effects.open_discrepancy(
        session, ctx, locked, DiscrepancyKind.DUPLICATE_PAYMENT, detail, number
    )
    money = event.money or locked.charged
    await side_effects.enqueue_message(
        session, ctx, locked, Topic.ALERT_DUPLICATE, money, once=number, **detail
    )


async def number_already_used(session: AsyncSession, used: KaspiOperation) -> Conflict:
    """Return the error for a number that has settled another payment, with that payment."""
    participant = await numbers.owner(session, used.payment_id)
    return Conflict(
        N_(
            "Operation %(number)s has settled another payment: %(participant)s, payment %(payment)s, "
            "%(when)s",
            number=used.operation_number,
            participant=_name(participant),
            payment=used.payment_id,
            when=_when(used),
        ),
        next_step=N_(
            "compare the receipts: procomp-pay status --payment %(payment)s", payment=used.payment_id
        ),
        code=ErrorCode.OPERATION_NUMBER_USED,
    )


async def payment_already_settled(session: AsyncSession, used: KaspiOperation) -> Conflict:
    """Return the error for a second number of a payment."""
    participant = await numbers.owner(session, used.payment_id)
    return Conflict(
        N_(
            "Payment %(payment)s of %(participant)s is already settled by operation %(number)s, %(when)s",
            payment=used.payment_id,
            participant=_name(participant),
            number=used.operation_number,
            when=_when(used),
        ),
        next_step=N_(
            "nothing to do; details: procomp-pay status --payment %(payment)s", payment=used.payment_id
        ),
        code=ErrorCode.ALREADY_PAID,
    )


def _name(participant: numbers.Owner) -> str:
    if participant.full_name is None:
        return N_("a deleted participant")
    return participant.full_name + (f" ({participant.category})" if participant.category else "")


def _when(used: KaspiOperation) -> str:
    source = _BY.get(used.source) or N_("recorded by %(name)s", name=used.recorded_by)
    return N_("%(source)s on %(time)s", source=source, time=almaty_time(used.created_at))


async def flag_contradicted_verification(
    session: AsyncSession, ctx: AppContext, locked: LockedPayment, event: PaymentEvent
) -> None:
    """Open a discrepancy if Kaspi's final status contradicts a manual verification or a statement line.

    The fee stays settled, because the money may have been paid another way; but a receipt can be forged.
    """
    if event.event_type not in _NOT_PAID or not event.final_at_provider or event.source.is_person:
        return
    if locked.payment.status is not PaymentStatus.COMPLETED or locked.detail.provider_ref is None:
        return
    recorded = await numbers.of_payment(session, locked.payment.id)
    if not recorded or any(row.source not in _NOT_KASPI for row in recorded):
        return
    detail = {
        "operation": recorded[0].operation_number,
        "recorded_by": recorded[0].recorded_by,
        "kaspi_says": event.reason or event.event_type.value,
    }
    key = f"not paid:{locked.detail.provider_ref}"
    await side_effects.open_discrepancy(session, ctx, locked, DiscrepancyKind.STATUS_MISMATCH, detail)
    await side_effects.enqueue_message(
        session, ctx, locked, Topic.ALERT_STATUS, locked.charged, once=key, **detail
    )
