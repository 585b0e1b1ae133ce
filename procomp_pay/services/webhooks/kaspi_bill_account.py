"""Find the participant of a bill account, check that the fee can be paid now, and record the payment.

A bill payment never settles an open QR payment of the same participant: the QR stays valid, and money that
comes through it as well is then recognised as a second payment.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

from procomp_pay.domain import payment_code
from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.entry_fees import Charge, FeeSchedule
from procomp_pay.domain.errors import NotFound
from procomp_pay.domain.events import EventType, PaymentEvent, ProviderIds, Source
from procomp_pay.domain.labels import UnknownLabel
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.states import (
    OPEN_STATUSES,
    Channel,
    CreateState,
    ParticipantStatus,
    PaymentMethod,
    PaymentStatus,
)
from procomp_pay.domain.topics import Topic
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.initiation.request import InitiateRequest, Registration, prepare
from procomp_pay.services.settlement import side_effects
from procomp_pay.services.settlement.apply import apply_event_in
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.initiation import new_payment
from procomp_pay.storage.models.kaspi_operations import KaspiOperation
from procomp_pay.storage.models.platform import Participant, Tournament
from procomp_pay.storage.payments import kaspi_operations as numbers
from procomp_pay.storage.payments import lookup
from procomp_pay.storage.payments import repository as payments
from procomp_pay.storage.payments.repository import lock_payment
from procomp_pay.storage.reconciliation import discrepancies
from procomp_pay.storage.registrations import lookup as registrations
from procomp_pay.storage.registrations import participants
from procomp_pay.storage.registrations.terms import fee_schedule

#: How long a customer may look at a bill before they pay it.
_SHOWN_FOR = timedelta(minutes=30)


class Result(IntEnum):
    """The result codes of the protocol."""

    OK = 0
    NO_ACCOUNT = 1
    CANCELLED = 2
    PAID = 3
    IN_PROGRESS = 4
    OTHER = 5


@dataclass(frozen=True, slots=True)
class Account:
    """A participant and the tournament to pay for.

    :param at: when the fee is paid, or asked for.
    """

    participant: Participant
    tournament: Tournament
    fees: FeeSchedule
    at: datetime

    @property
    def fee(self) -> Money | None:
        """The fee in tenge; ``None`` if there is none: the platform may have written zero."""
        fee = self.fees.at(self.at).in_currency(Currency.KZT)
        return fee if fee is not None and fee.amount > 0 else None

    def charged(self, paid: Money) -> Money | None:
        """Return the fee that this money is for: a bill may be paid a little after another fee began."""
        shown = self.fees.at(self.at - _SHOWN_FOR).in_currency(Currency.KZT)
        return shown if shown == paid else self.fee

    @property
    def shown(self) -> str:
        """Return the text for the customer in the Kaspi app, who can be anybody: no family names."""
        first, *rest = self.participant.full_name.split() or [""]
        return f"{self.tournament.name}: {' '.join([first, *(f'{rest[0][:1]}.' for _ in rest[:1])])}"


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """The answer to ``check``; ``due`` is set if the account can be paid."""

    result: Result
    comment: str
    due: Money | None = None


async def find(session: AsyncSession, account: str, at: datetime) -> Account | None:
    """Find an account by a participant's id or the short code of one of their payments.

    :param at: when the fee is paid, or asked for.
    """
    try:
        participant = await registrations.participant(session, account)
    except NotFound:
        participant_id = await _by_code(session, account)
        if participant_id is None:
            return None
        try:
            participant = await registrations.participant(session, participant_id)
        except NotFound:
            return None
    tournament = await registrations.tournament(session, participant.tournament_id)
    return Account(participant, tournament, await fee_schedule(session, tournament), at)


async def _by_code(session: AsyncSession, text: str) -> str | None:
    try:
        payment_id = await lookup.find_by_code(session, payment_code.read(text))
    except NotFound:
        return None
    return None if payment_id is None else await numbers.participant_of(session, payment_id)


async def account_status(session: AsyncSession, account: Account | None) -> AccountStatus:
    """Return whether the fee can be paid by bill now; every obstacle is refused here, before money moves."""
    if account is None:
        return AccountStatus(Result.NO_ACCOUNT, "There is no such account")
    obstacle = await _registration_obstacle(session, account) or await _payment_obstacle(
        session, account.participant.id
    )
    return obstacle or AccountStatus(Result.OK, account.shown, account.fee)


async def _registration_obstacle(session: AsyncSession, account: Account) -> AccountStatus | None:
    participant = account.participant
    is_over = bool(await participants.archived_ids(session, [account.tournament.id]))
    if is_over or participant.status is ParticipantStatus.CANCELLED:
        why = "The tournament is over" if is_over else "The registration is cancelled"
        return AccountStatus(Result.CANCELLED, why)
    if await registrations.has_paid(session, participant):
        return AccountStatus(Result.PAID, "The fee is paid already")
    if isinstance(participant.status, UnknownLabel):
        return AccountStatus(Result.OTHER, "The registration cannot be paid now: ask the organisers")
    if account.fee is None:
        return AccountStatus(Result.OTHER, "The tournament has no fee in tenge")
    if await discrepancies.unknown_money_after_restore(session, account.fees.ever(Currency.KZT)) is not None:
        return AccountStatus(Result.OTHER, "The fee may be paid already: ask at the desk")
    return None


async def _payment_obstacle(session: AsyncSession, participant_id: str) -> AccountStatus | None:
    if await discrepancies.payment_awaiting_decision(session, participant_id, OPEN_STATUSES) is not None:
        return AccountStatus(Result.OTHER, "Money of another amount came: ask at the desk")
    for payment_id in await lookup.open_ids(session, participant_id):
        locked = await payments.load_payment(session, payment_id)
        if locked.payment.status is PaymentStatus.PROCESSING:
            return AccountStatus(Result.IN_PROGRESS, "Another payment is being confirmed right now")
    return None


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
    payment_id = ctx.new_id()
    code = await lookup.free_code(session, payment_id)
    new = prepare(ctx, request, KASPI, registration, payment_id, code)
    # there is no object at Kaspi: nothing can be polled, and no more money can come through it
    new.detail.create_state = CreateState.NEVER
    new.detail.provider_open = False
    await new_payment.write(session, new)
    await apply_event_in(session, ctx, received.event(payment_id))
    return payment_id


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
