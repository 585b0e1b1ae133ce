"""Money that came by the bill protocol, as a payment of its own through the one door.

It never settles a QR payment that is open beside it: that QR lives on, and money that comes through it too is
then seen as what it is, a second payment.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.events import EventType, PaymentEvent, ProviderIds, Source
from procomp_pay.domain.fees import Charge
from procomp_pay.domain.money import Money
from procomp_pay.domain.operation_number import canonical
from procomp_pay.domain.states import Channel, CreateState, PaymentMethod
from procomp_pay.domain.transitions import DiscrepancyKind, Topic
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.initiation.request import InitiateRequest, Registration, insert
from procomp_pay.services.settlement import side_effects
from procomp_pay.services.settlement.apply import apply_event_in
from procomp_pay.services.webhooks.kaspi_bill_account import Account
from procomp_pay.storage.models.payments import KaspiOperation
from procomp_pay.storage.payments.repository import lock_payment

#: Who acts where Kaspi calls us.
KASPI = Actor("kaspi", Source.KASPI_BILL)


@dataclass(frozen=True, slots=True)
class Arrived:
    """What Kaspi took, under its ``txn_id``."""

    txn_id: str
    money: Money
    at: datetime

    def event(self, payment_id: str) -> PaymentEvent:
        """The news about a payment."""
        return PaymentEvent(
            payment_id=payment_id,
            event_type=EventType.SUCCEEDED,
            at=self.at,
            source=KASPI.source,
            actor=KASPI.name,
            source_id=self.txn_id,
            money=self.money,
            ids=ProviderIds(kaspi_operation=self.txn_id),
            final_at_provider=True,
        )


async def take(
    session: AsyncSession, ctx: AppContext, account: Account, charge: Charge, arrived: Arrived
) -> str:
    """A new payment, settled in the caller's transaction, which holds the participant's lock; its id.

    The participant's fee may be paid already: then the door flags it as the second one, with an alert.
    Another amount than the fee settles nothing: the payment waits for a person.
    """
    order = InitiateRequest(account.who.id, PaymentMethod.KASPI_QR, Channel.KASPI_BILL)
    locked = await insert(session, ctx, order, KASPI, Registration(account.who, account.tournament, charge))
    # nothing of ours is at Kaspi: there is nothing to ask about, and nothing more can come through it
    locked.detail.create_state = CreateState.NEVER
    locked.detail.provider_open = False
    # also where the amount settles nothing: the number is this money's, and no clerk's for another payment
    locked.payment.kaspi_transaction_id = canonical(arrived.txn_id)
    await apply_event_in(session, ctx, arrived.event(locked.payment.id), locked)
    return locked.payment.id


async def confirm(session: AsyncSession, ctx: AppContext, used: KaspiOperation, arrived: Arrived) -> str:
    """A clerk has typed this number before Kaspi called: it is the same money, and Kaspi confirms it."""
    locked = await lock_payment(session, used.payment_id)
    event = arrived.event(locked.payment.id)
    before = side_effects.audit_snapshot(locked)
    await apply_event_in(session, ctx, event, locked)
    await side_effects.append_audit_entry(session, locked, event, "number:confirmed", before, ctx.clock())
    if used.amount != arrived.money.amount:
        found = {
            "recorded": used.amount,
            "paid": side_effects.as_document(arrived.money),
            "operation": arrived.txn_id,
            "recorded_by": used.recorded_by,
        }
        kind = DiscrepancyKind.AMOUNT_MISMATCH
        await side_effects.open_discrepancy(session, ctx, locked, kind, found, arrived.txn_id)
        await side_effects.enqueue_message(
            session, ctx, locked, Topic.ALERT_AMOUNT, arrived.money, once=arrived.txn_id
        )
    return locked.payment.id
