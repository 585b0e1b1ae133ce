"""Record money received by the bill protocol as a payment of its own, through settlement.

It never settles an open QR payment of the same participant: the QR stays valid, and money that comes through
it as well is then recognised as a second payment.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

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
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.payments import KaspiOperation
from procomp_pay.storage.payments.repository import lock_payment

#: The actor of payments that Kaspi reports.
KASPI = Actor("kaspi", Source.KASPI_BILL)


@dataclass(frozen=True, slots=True)
class BillPayment:
    """Money that Kaspi took, under its ``txn_id``."""

    txn_id: str
    money: Money
    at: datetime

    def event(self, payment_id: str) -> PaymentEvent:
        """Return the payment event for settlement."""
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


async def record_payment(
    session: AsyncSession, ctx: AppContext, account: Account, charge: Charge, received: BillPayment
) -> str:
    """Insert and settle a new payment in the caller's transaction, which has locked the participant; return
    its id.

    If the participant's fee is already paid, settlement flags the payment as a duplicate, with an alert. An
    amount other than the fee settles nothing: the payment awaits manual review.
    """
    request = InitiateRequest(account.participant.id, PaymentMethod.KASPI_QR, Channel.KASPI_BILL)
    registration = Registration(account.participant, account.tournament, charge)
    locked = await insert(session, ctx, request, KASPI, registration)
    # there is no object at Kaspi: nothing can be polled, and no more money can come through it
    locked.detail.create_state = CreateState.NEVER
    locked.detail.provider_open = False
    # also if the amount settles nothing: the number must not be accepted for another payment
    locked.payment.kaspi_transaction_id = canonical(received.txn_id)
    await apply_event_in(session, ctx, received.event(locked.payment.id), locked)
    return locked.payment.id


async def confirm(session: AsyncSession, ctx: AppContext, used: KaspiOperation, received: BillPayment) -> str:
    """Confirm money that an operator recorded under this number before Kaspi called; return its payment's id.

    Another amount opens a discrepancy, with an alert.
    """
    locked = await lock_payment(session, used.payment_id)
    event = received.event(locked.payment.id)
    before = side_effects.audit_snapshot(locked)
    await apply_event_in(session, ctx, event, locked)
    await side_effects.append_audit_entry(session, locked, event, "number:confirmed", before, ctx.clock())
    if used.amount != received.money.amount:
        details = {
            "recorded": used.amount,
            "paid": side_effects.as_document(received.money),
            "operation": received.txn_id,
            "recorded_by": used.recorded_by,
        }
        kind = DiscrepancyKind.AMOUNT_MISMATCH
        await side_effects.open_discrepancy(session, ctx, locked, kind, details, received.txn_id)
        await side_effects.enqueue_message(
            session, ctx, locked, Topic.ALERT_AMOUNT, received.money, once=received.txn_id
        )
    return locked.payment.id
