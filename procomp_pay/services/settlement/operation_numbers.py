"""The door's part for Kaspi's operation numbers: one number settles one payment, whoever brings it.

A provider's number that was used before is money that came: it is kept for a person. A person who brings such
a number is refused, and told who used it for whom.
"""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.errors import Conflict
from procomp_pay.domain.events import Fact, News
from procomp_pay.domain.operation_number import canonical
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.domain.transitions import DiscrepancyKind, Topic
from procomp_pay.services.context import Desk
from procomp_pay.services.settlement import side_effects as ledger
from procomp_pay.storage.database.insert_once import insert_once
from procomp_pay.storage.models.payments import KaspiOperation
from procomp_pay.storage.payments import kaspi_operations as numbers
from procomp_pay.storage.payments.locked_payment import Holding

_ALMATY = ZoneInfo("Asia/Almaty")
_NOT_PAID = (News.FAILED, News.CANCELLED, News.EXPIRED)
#: Who names a number without having it from Kaspi's word on the QR; a statement's line may only fit.
_NOT_KASPI = ("person", "app", "reconcile")
_BY = {
    "kaspi_status": "as Kaspi itself said",
    "kaspi_bill": "as Kaspi itself said",
    "kaspi_callback": "as the gateway said",
}


async def use_up(session: AsyncSession, desk: Desk, held: Holding, fact: Fact) -> bool:
    """Write the fact's number down for its payment, which is COMPLETED and locked.

    :returns: whether it was new.
    :raises Conflict: a person brings a number that settled another payment, or a second one for this one.
    """
    number = canonical(str(fact.ids.kaspi_operation))
    mine = await numbers.of_payment(session, held.payment.id)
    if any(row.operation_number == number for row in mine):
        return False
    if mine and fact.source.is_person:
        raise await settled_before(session, mine[0])
    money = fact.money or held.charged
    row = {
        "operation_number": number,
        "payment_id": held.payment.id,
        "amount": money.amount,
        "paid_at": fact.at,
        "source": fact.source.value,
        "recorded_by": fact.actor,
        "created_at": desk.clock(),
    }
    if not await insert_once(session, KaspiOperation, row):
        used = await numbers.used_by(session, number)
        if used is None or used.payment_id == held.payment.id:
            return False
        if fact.source.is_person:
            raise await used_before(session, used)
        await _twice(session, desk, held, fact, number, {"settled": used.payment_id})
    elif mine and mine[0].operation_number != held.detail.provider_ref:
        # two numbers for one payment: paid twice, or a person mistyped the first one. Not where the first
        # is the QR's own number, which the customer's receipt shows
        await _twice(session, desk, held, fact, number, {"recorded": mine[0].operation_number})
    return True


async def _twice(
    session: AsyncSession, desk: Desk, held: Holding, fact: Fact, number: str, more: dict[str, str]
) -> None:
    found = {"operation": number, "source": fact.source.value} | more
    await ledger.disagree(session, desk, held, DiscrepancyKind.DUPLICATE_PAYMENT, found, number)
    money = fact.money or held.charged
    await ledger.tell(session, desk, held, Topic.ALERT_DUPLICATE, money, once=number, **found)


async def used_before(session: AsyncSession, used: KaspiOperation) -> Conflict:
    """Why a number cannot settle a second payment, with who used it, for whom and when."""
    who = await numbers.owner(session, used.payment_id)
    return Conflict(
        f"Operation {used.operation_number} has settled another payment: {_name(who)}, "
        f"payment {used.payment_id}, {_when(used)}",
        next_step=f"compare the receipts: procomp-pay status --payment {used.payment_id}",
    )


async def settled_before(session: AsyncSession, used: KaspiOperation) -> Conflict:
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


async def doubt(session: AsyncSession, desk: Desk, held: Holding, fact: Fact) -> None:
    """A person said that it was paid, or a statement's line that fits, and Kaspi's last word on its QR is
    that it was not: kept for a person.

    The fee stays settled: the money may have come another way. A receipt can be forged.
    """
    if fact.news not in _NOT_PAID or not fact.final_at_provider or fact.source.is_person:
        return
    if held.payment.status is not PaymentStatus.COMPLETED or held.detail.provider_ref is None:
        return
    mine = await numbers.of_payment(session, held.payment.id)
    if not mine or any(row.source not in _NOT_KASPI for row in mine):
        return
    found = {
        "operation": mine[0].operation_number,
        "recorded_by": mine[0].recorded_by,
        "kaspi_says": fact.reason or fact.news.value,
    }
    key = f"not paid:{held.detail.provider_ref}"
    await ledger.disagree(session, desk, held, DiscrepancyKind.STATUS_MISMATCH, found)
    await ledger.tell(session, desk, held, Topic.ALERT_STATUS, held.charged, once=key, **found)
