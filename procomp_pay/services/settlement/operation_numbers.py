"""The door's part for Kaspi's operation numbers: one number settles one payment, whoever brings it.

A provider's number that was used before is money that came: it is kept for a person. A person who brings such
a number is refused, and told who used it for whom.
"""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.errors import Conflict
from procomp_pay.domain.events import EventType, PaymentEvent
from procomp_pay.domain.operation_number import canonical
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.domain.transitions import DiscrepancyKind, Topic
from procomp_pay.services.context import AppContext
from procomp_pay.services.settlement import side_effects
from procomp_pay.storage.database.insert_once import insert_once
from procomp_pay.storage.models.payments import KaspiOperation
from procomp_pay.storage.payments import kaspi_operations as numbers
from procomp_pay.storage.payments.locked_payment import LockedPayment

_ALMATY = ZoneInfo("Asia/Almaty")
_NOT_PAID = (EventType.FAILED, EventType.CANCELLED, EventType.EXPIRED)
#: Who names a number without having it from Kaspi's word on the QR; a statement's line may only fit.
_NOT_KASPI = ("person", "app", "reconcile")
_BY = {
    "kaspi_status": "as Kaspi itself said",
    "kaspi_bill": "as Kaspi itself said",
    "kaspi_callback": "as the gateway said",
}


async def claim_operation_number(
    session: AsyncSession, ctx: AppContext, locked: LockedPayment, event: PaymentEvent
) -> bool:
    """Write the fact's number down for its payment, which is COMPLETED and locked.

    :returns: whether it was new.
    :raises Conflict: a person brings a number that settled another payment, or a second one for this one.
    """
    number = canonical(str(event.ids.kaspi_operation))
    mine = await numbers.of_payment(session, locked.payment.id)
    if any(row.operation_number == number for row in mine):
        return False
    if mine and event.source.is_person:
        raise await payment_already_settled(session, mine[0])
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
        await _twice(session, ctx, locked, event, number, {"settled": used.payment_id})
    elif mine and mine[0].operation_number != locked.detail.provider_ref:
        # two numbers for one payment: paid twice, or a person mistyped the first one. Not where the first
        # is the QR's own number, which the customer's receipt shows
        await _twice(session, ctx, locked, event, number, {"recorded": mine[0].operation_number})
    return True


async def _twice(
    session: AsyncSession,
    ctx: AppContext,
    locked: LockedPayment,
    event: PaymentEvent,
    number: str,
    more: dict[str, str],
) -> None:
    found = {"operation": number, "source": event.source.value} | more
    await side_effects.open_discrepancy(
        session, ctx, locked, DiscrepancyKind.DUPLICATE_PAYMENT, found, number
    )
    money = event.money or locked.charged
    await side_effects.enqueue_message(
        session, ctx, locked, Topic.ALERT_DUPLICATE, money, once=number, **found
    )


async def number_already_used(session: AsyncSession, used: KaspiOperation) -> Conflict:
    """Why a number cannot settle a second payment, with who used it, for whom and when."""
    who = await numbers.owner(session, used.payment_id)
    return Conflict(
        f"Operation {used.operation_number} has settled another payment: {_name(who)}, "
        f"payment {used.payment_id}, {_when(used)}",
        next_step=f"compare the receipts: procomp-pay status --payment {used.payment_id}",
    )


async def payment_already_settled(session: AsyncSession, used: KaspiOperation) -> Conflict:
    """Why a payment takes no second number."""
    who = await numbers.owner(session, used.payment_id)
    return Conflict(
        f"Payment {used.payment_id} of {_name(who)} is PAID already, by operation {used.operation_number}, "
        f"{_when(used)}",
        next_step=f"nothing needs to be done; see it: procomp-pay status --payment {used.payment_id}",
    )


def _name(who: numbers.Owner) -> str:
    if who.full_name is None:
        return "a participant who was removed"
    return who.full_name + (f" ({who.category})" if who.category else "")


def _when(used: KaspiOperation) -> str:
    said = _BY.get(used.source, f"recorded by {used.recorded_by}")
    return f"{said} on {local_time(used.created_at)}"


def local_time(at: datetime) -> str:
    """``2026-05-02 14:05``, by the clock on the hall's wall."""
    return f"{at.astimezone(_ALMATY):%Y-%m-%d %H:%M}"


async def flag_contradicted_verification(
    session: AsyncSession, ctx: AppContext, locked: LockedPayment, event: PaymentEvent
) -> None:
    """A person said that it was paid, or a statement's line that fits, and Kaspi's last word on its QR is
    that it was not: kept for a person.

    The fee stays settled: the money may have come another way. A receipt can be forged.
    """
    if event.event_type not in _NOT_PAID or not event.final_at_provider or event.source.is_person:
        return
    if locked.payment.status is not PaymentStatus.COMPLETED or locked.detail.provider_ref is None:
        return
    mine = await numbers.of_payment(session, locked.payment.id)
    if not mine or any(row.source not in _NOT_KASPI for row in mine):
        return
    found = {
        "operation": mine[0].operation_number,
        "recorded_by": mine[0].recorded_by,
        "kaspi_says": event.reason or event.event_type.value,
    }
    key = f"not paid:{locked.detail.provider_ref}"
    await side_effects.open_discrepancy(session, ctx, locked, DiscrepancyKind.STATUS_MISMATCH, found)
    await side_effects.enqueue_message(
        session, ctx, locked, Topic.ALERT_STATUS, locked.charged, once=key, **found
    )
