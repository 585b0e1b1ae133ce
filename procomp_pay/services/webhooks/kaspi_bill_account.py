"""Find the participant of a bill account, and check whether the fee can be paid now."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from procomp_pay.domain import payment_code
from procomp_pay.domain.errors import NotFound
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.states import OPEN_STATUSES, ParticipantStatus, PaymentStatus
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.platform import Participant, Tournament
from procomp_pay.storage.payments import kaspi_operations as numbers
from procomp_pay.storage.payments import repository as payments
from procomp_pay.storage.reconciliation import discrepancies
from procomp_pay.storage.registrations import lookup as people


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
    """A participant and the tournament to pay for; ``fee`` is in tenge, ``None`` if there is none."""

    participant: Participant
    tournament: Tournament
    fee: Money | None

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


async def find(session: AsyncSession, account: str) -> Account | None:
    """Find an account by a participant's id or the short code of one of their payments."""
    try:
        participant = await people.participant(session, account)
    except NotFound:
        participant_id = await _by_code(session, account)
        if participant_id is None:
            return None
        try:
            participant = await people.participant(session, participant_id)
        except NotFound:
            return None
    tournament = await people.tournament(session, participant.tournament_id)
    fees = await people.entry_fees(session, tournament)
    return Account(participant, tournament, fees.in_currency(Currency.KZT))


async def _by_code(session: AsyncSession, text: str) -> str | None:
    try:
        payment_id = await payments.find_by_code(session, payment_code.read(text))
    except NotFound:
        return None
    return None if payment_id is None else await numbers.participant_of(session, payment_id)


async def account_status(session: AsyncSession, account: Account | None) -> AccountStatus:
    """Return whether the fee can be paid by bill now; every obstacle is refused here, before money moves."""
    if account is None:
        return AccountStatus(Result.NO_ACCOUNT, "There is no such account")
    obstacle = _registration_obstacle(account) or await _payment_obstacle(session, account.participant.id)
    return obstacle or AccountStatus(Result.OK, account.shown, account.fee)


def _registration_obstacle(account: Account) -> AccountStatus | None:
    participant = account.participant
    if participant.status is ParticipantStatus.CANCELLED:
        return AccountStatus(Result.CANCELLED, "The registration is cancelled")
    if participant.status is ParticipantStatus.PAID or participant.payment_id is not None:
        return AccountStatus(Result.PAID, "The fee is paid already")
    if account.fee is None:
        return AccountStatus(Result.OTHER, "The tournament has no fee in tenge")
    return None


async def _payment_obstacle(session: AsyncSession, participant_id: str) -> AccountStatus | None:
    if await discrepancies.payment_awaiting_decision(session, participant_id, OPEN_STATUSES) is not None:
        return AccountStatus(Result.OTHER, "Money of another amount came: ask at the desk")
    for payment_id in await payments.open_ids(session, participant_id):
        locked = await payments.load_payment(session, payment_id)
        if locked.payment.status is PaymentStatus.PROCESSING:
            return AccountStatus(Result.IN_PROGRESS, "Another payment is being confirmed right now")
    return None
