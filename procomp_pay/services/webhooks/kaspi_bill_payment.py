"""Money that came by the bill protocol, as a payment of its own through the one door.

It never settles a QR payment that is open beside it: that QR lives on, and money that comes through it too is
then seen as what it is, a second payment.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.events import Fact, News, ProviderIds, Source
from procomp_pay.domain.fees import Charge
from procomp_pay.domain.money import Money
from procomp_pay.domain.operation_number import canonical
from procomp_pay.domain.states import Channel, CreateState, PaymentMethod
from procomp_pay.domain.transitions import DiscrepancyKind, Topic
from procomp_pay.services.context import Actor, Desk
from procomp_pay.services.initiation.request import Order, Registration, insert
from procomp_pay.services.settlement import side_effects as ledger
from procomp_pay.services.settlement.apply import settle_in
from procomp_pay.services.webhooks.kaspi_bill_account import Account
from procomp_pay.storage.models.payments import KaspiOperation
from procomp_pay.storage.payments.repository import hold

#: Who acts where Kaspi calls us.
KASPI = Actor("kaspi", Source.KASPI_BILL)


@dataclass(frozen=True, slots=True)
class Arrived:
    """What Kaspi took, under its ``txn_id``."""

    txn_id: str
    money: Money
    at: datetime

    def fact(self, payment_id: str) -> Fact:
        """The news about a payment."""
        return Fact(
            payment_id=payment_id,
            news=News.SUCCEEDED,
            at=self.at,
            source=KASPI.source,
            actor=KASPI.name,
            source_id=self.txn_id,
            money=self.money,
            ids=ProviderIds(kaspi_operation=self.txn_id),
            final_at_provider=True,
        )


async def take(session: AsyncSession, desk: Desk, account: Account, charge: Charge, arrived: Arrived) -> str:
    """A new payment, settled in the caller's transaction, which holds the participant's lock; its id.

    The participant's fee may be paid already: then the door flags it as the second one, with an alert.
    Another amount than the fee settles nothing: the payment waits for a person.
    """
    order = Order(account.who.id, PaymentMethod.KASPI_QR, Channel.KASPI_BILL)
    held = await insert(session, desk, order, KASPI, Registration(account.who, account.tournament, charge))
    # nothing of ours is at Kaspi: there is nothing to ask about, and nothing more can come through it
    held.detail.create_state = CreateState.NEVER
    held.detail.provider_open = False
    # also where the amount settles nothing: the number is this money's, and no clerk's for another payment
    held.payment.kaspi_transaction_id = canonical(arrived.txn_id)
    await settle_in(session, desk, arrived.fact(held.payment.id), held)
    return held.payment.id


async def confirm(session: AsyncSession, desk: Desk, used: KaspiOperation, arrived: Arrived) -> str:
    """A clerk has typed this number before Kaspi called: it is the same money, and Kaspi confirms it."""
    held = await hold(session, used.payment_id)
    fact = arrived.fact(held.payment.id)
    before = ledger.picture(held)
    await settle_in(session, desk, fact, held)
    await ledger.note(session, held, fact, "number:confirmed", before, desk.clock())
    if used.amount != arrived.money.amount:
        found = {
            "recorded": used.amount,
            "paid": ledger.as_document(arrived.money),
            "operation": arrived.txn_id,
            "recorded_by": used.recorded_by,
        }
        kind = DiscrepancyKind.AMOUNT_MISMATCH
        await ledger.disagree(session, desk, held, kind, found, arrived.txn_id)
        await ledger.tell(session, desk, held, Topic.ALERT_AMOUNT, arrived.money, once=arrived.txn_id)
    return held.payment.id
