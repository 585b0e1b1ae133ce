"""Read the payments, refunds or payouts of a period for accounting, without holding them all in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from procomp_pay.domain.events import Source
from procomp_pay.domain.exports import Export
from procomp_pay.domain.payouts import PayoutState
from procomp_pay.domain.period import Period
from procomp_pay.domain.states import PaymentMethod
from procomp_pay.services.context import AppContext
from procomp_pay.services.payouts.view import PayoutView, list_payouts
from procomp_pay.services.registrations.tournaments import tournament_view
from procomp_pay.services.reports.tournament_closing import THE_APP
from procomp_pay.storage.reports import movements as queries
from procomp_pay.storage.reports.attempts import Scope, one_moment

#: The columns, in their order. They are documented in docs/finance.md and keep their names.
COLUMNS = (
    "date", "time", "type", "status", "tournament_id", "tournament", "participant_id", "participant", "club",
    "method", "currency", "gross", "fee", "net", "balance_currency", "provider_number", "clerk",
    "fiscal_number", "payment_id",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Movement:
    """One movement, signed as the money moves: a refund is negative. :data:`COLUMNS` are its fields.

    :param at: in the zone of the period, or a day.
    :param fee, net: in ``balance_currency``, that of the provider's balance; ``None`` while not known.
    """

    at: datetime | date
    type: str
    status: str
    currency: str
    gross: Decimal
    fee: Decimal | None = None
    net: Decimal | None = None
    balance_currency: str | None = None
    tournament_id: str | None = None
    tournament: str | None = None
    participant_id: str | None = None
    participant: str | None = None
    club: str | None = None
    method: str | None = None
    provider_number: str | None = None
    clerk: str | None = None
    fiscal_number: str | None = None
    payment_id: str | None = None

    def values(self) -> dict[str, str]:
        """Return the columns as texts; what is not known or does not apply is empty."""
        moment = self.at if isinstance(self.at, datetime) else None
        special = {"date": f"{self.at:%Y-%m-%d}", "time": "" if moment is None else f"{moment:%H:%M:%S}"}
        return {name: special[name] if name in special else _text(getattr(self, name)) for name in COLUMNS}


def _text(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, Decimal) else "" if value is None else str(value)


async def movements(
    ctx: AppContext,
    what: Export,
    period: Period,
    tournament_id: str | None = None,
    *,
    arrived_only: bool = False,
) -> AsyncIterator[Movement]:
    """Yield the movements of a period, oldest first, as of one moment.

    :param arrived_only: no payouts that did not arrive at the bank, or not as they are now.
    :raises NotFound: no such tournament.
    """
    if what is Export.PAYOUTS:
        # of all: a payout may be expected in one period and arrive in the next one
        views = await list_payouts(ctx, period.zone, None, None)
        for view in sorted(views, key=_day_of):
            is_in_period = (period.since or date.min) <= _day_of(view) <= (period.until or date.max)
            if is_in_period and (view.state is PayoutState.ARRIVED or not arrived_only):
                yield _payout(view)
        return
    chosen = None if tournament_id is None else await tournament_view(ctx, tournament_id)
    scope = Scope(chosen.tournament_id if chosen else None, period.begins, period.ends)
    async with ctx.db.reading() as session:
        await one_moment(ctx.db, session)
        read = queries.received if what is Export.PAYMENTS else queries.paid_back
        async for row in read(session, scope):
            yield _movement(row, what, period)


def _day_of(view: PayoutView) -> date:
    return view.arrived_on or view.row.payout.expected_on


def _payout(view: PayoutView) -> Movement:
    payout = view.row.payout
    return Movement(
        at=_day_of(view),
        type="payout",
        status=view.state.value,
        currency=payout.currency,
        gross=view.row.gross if view.adds_up else payout.amount,
        fee=view.row.fee if view.adds_up else None,
        net=payout.amount,
        balance_currency=payout.currency,
        method=payout.provider,
        provider_number=payout.ref,
        clerk=payout.matched_by,
    )


def _movement(row: queries.MovementRow, what: Export, period: Period) -> Movement:
    is_payment = what is Export.PAYMENTS
    fiscal = row.fiscal_number.get("number") if isinstance(row.fiscal_number, dict) else None
    return Movement(
        at=row.at.astimezone(period.zone),
        type="payment" if is_payment else "refund",
        status=row.status,
        currency=row.currency,
        gross=row.amount if is_payment else -row.amount,
        fee=row.fee,
        net=row.net if row.fee is not None else None,
        balance_currency=row.fee_currency if row.fee is not None else None,
        tournament_id=row.tournament_id,
        tournament=row.tournament,
        participant_id=row.participant_id,
        participant=row.participant or "(removed)",
        club=row.club,
        method=(row.method or PaymentMethod.KASPI_QR).public_name,
        provider_number=row.provider_number,
        clerk=THE_APP if is_payment and row.source == Source.APP.value else row.clerk,
        fiscal_number=str(fiscal) if fiscal else None,
        payment_id=row.payment_id,
    )
