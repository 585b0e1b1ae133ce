"""Read, by one SELECT, what decides whether a payment may be started. The participant is locked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import bindparam, exists
from sqlmodel import and_, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.entry_fees import EntryFees
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import OPEN_STATUSES
from procomp_pay.storage.models.idempotency import IdempotencyKey
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Tournament
from procomp_pay.storage.models.registrations import ArchivedTournament
from procomp_pay.storage.models.terms import FeePeriodRow, TournamentFee
from procomp_pay.storage.payments.idempotency import Claim
from procomp_pay.storage.reconciliation import discrepancies
from procomp_pay.storage.registrations.terms import main_fee


@dataclass(frozen=True, slots=True)
class BeforeStart:
    """What mostly need not be read any further: no payment is open, no money is unknown, and so on.

    :param fees: of all days but those in periods.
    :param awaits_decision: a payment for which other money came and no decision was made.
    :param has_unknown_money: books from a backup do not know the owner of some money.
    """

    tournament: Tournament
    fees: EntryFees
    knows_key: bool
    knows_code: bool
    is_archived: bool
    has_fee_periods: bool
    has_open_payments: bool
    has_unknown_money: bool
    awaits_decision: str | None


async def read(
    session: AsyncSession, participant: Participant, claim: Claim | None, code: str
) -> BeforeStart:
    """Return what is committed now; so read it after the lock, which may have been waited for.

    :param claim: on the idempotency key of the request. :param code: the code for a new payment.
    """
    values = {
        "participant": participant.id,
        "tournament": participant.tournament_id,
        "scope": claim.scope if claim else None,
        "key": claim.key if claim else None,
        "code": code,
    }
    rows: Any = (await session.exec(_query(), params=values)).all()
    tournament = rows[0][0]  # a participant refers to it
    others = {currency: Money(amount, currency) for _, currency, amount, *_ in rows if currency is not None}
    return BeforeStart(tournament, EntryFees(tournament.id, main_fee(tournament), others), *rows[0][3:])


@cache
def _query() -> Any:
    tournament: Any = bindparam("tournament")
    participant: Any = bindparam("participant")
    key = and_(col(IdempotencyKey.scope) == bindparam("scope"), col(IdempotencyKey.key) == bindparam("key"))
    is_open = and_(col(PaymentDetail.participant_id) == participant, col(PaymentDetail.provider_open))
    awaiting = discrepancies.awaiting_decision(participant, OPEN_STATUSES).limit(1).scalar_subquery()
    columns: list[Any] = [
        Tournament,
        TournamentFee.currency,
        TournamentFee.amount,
        exists().where(key),
        exists().where(col(PaymentDetail.short_code) == bindparam("code")),
        exists().where(col(ArchivedTournament.tournament_id) == tournament),
        exists().where(col(FeePeriodRow.tournament_id) == tournament),
        exists().where(is_open),
        exists().where(*discrepancies.unknown_money()),
        awaiting,
    ]
    return (
        select(*columns)
        .select_from(Tournament)
        .join(TournamentFee, col(TournamentFee.tournament_id) == col(Tournament.id), isouter=True)
        .where(col(Tournament.id) == tournament)
        .order_by(col(TournamentFee.currency))
    )
