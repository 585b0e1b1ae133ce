"""What the desk reads: people, a person's payments, the open payments, those of today, the unpaid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import takewhile

from procomp_pay.cli.framework import formats
from procomp_pay.domain.entry_fees import EntryFees
from procomp_pay.domain.errors import NotFound
from procomp_pay.domain.states import PAID_STATUSES, Channel, PaymentStatus
from procomp_pay.services.context import AppContext
from procomp_pay.services.registrations.participants import (
    ParticipantView,
    participant_view,
    search_participants,
)
from procomp_pay.services.registrations.terms import fees_for
from procomp_pay.services.registrations.tournaments import list_tournaments, tournament_view
from procomp_pay.services.views import payment as views
from procomp_pay.services.views.payment import PaymentView
from procomp_pay.storage.payments.listing import Filter

#: People that a search shows, open payments, and payments of a day.
_FOUND, _OPEN, _TODAY = 20, 100, 1000
#: A tournament that began longer ago is over, and those who did not pay for it are not counted.
_OVER_AFTER = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Person:
    """A participant at the desk.

    :param is_paid: the fee counts as paid, by the platform's own record.
    :param payment_id: the payment that was opened, by its row or its code.
    """

    participant_id: str
    name: str
    category: str | None
    tournament_name: str
    is_paid: bool = False
    payment_id: str | None = None

    @classmethod
    def of_participant(cls, row: ParticipantView) -> Person:
        return cls(row.participant_id, row.full_name, row.category, row.tournament_name, row.is_paid)

    @classmethod
    def of_payment(cls, view: PaymentView) -> Person:
        return cls(
            view.participant_id,
            view.participant_name,
            view.category,
            view.tournament_name,
            is_paid=view.is_marked_paid or view.settled_by is not None,
            payment_id=view.payment_id,
        )


@dataclass(frozen=True, slots=True)
class Record:
    """A person with all payments, newest first, and the fees; ``None`` if the registration was deleted."""

    person: Person
    payments: list[PaymentView]
    fees: EntryFees | None

    @property
    def paid(self) -> PaymentView | None:
        """The payment that settled the fee."""
        paid = [view for view in self.payments if view.status is PaymentStatus.COMPLETED]
        return next((view for view in paid if not view.is_duplicate), paid[0] if paid else None)

    @property
    def to_refund(self) -> PaymentView | None:
        """The paid payment that a refund is of: the one that was opened, else one that was paid twice."""
        for view in self.payments:
            if view.payment_id == self.person.payment_id and view.status in PAID_STATUSES:
                return view if view.status is PaymentStatus.COMPLETED else None  # never another one instead
        paid = [view for view in self.payments if view.status is PaymentStatus.COMPLETED]
        return next((view for view in paid if view.is_duplicate and view.rest.amount), self.paid)

    @property
    def open(self) -> PaymentView | None:
        """The newest payment that the customer can still make; none from before one that was paid."""
        since = takewhile(lambda view: view.status not in PAID_STATUSES, self.payments)
        return next((view for view in since if not view.is_final), None)

    @property
    def to_cancel(self) -> PaymentView | None:
        """The newest payment that the customer can still make, also if the fee is paid otherwise."""
        return next((view for view in self.payments if not view.is_final), None)

    @property
    def to_verify(self) -> PaymentView | None:
        """The newest Kaspi payment that is not known to be paid."""
        unpaid = (
            view
            for view in self.payments
            if view.channel.is_kaspi and view.status not in (PaymentStatus.COMPLETED, PaymentStatus.REFUNDED)
        )
        return next(unpaid, None)

    @property
    def invoice(self) -> PaymentView | None:
        """An invoice on the customer's phone that can still be paid."""
        return next(
            (view for view in self.payments if view.channel is Channel.KASPI_REMOTE and not view.is_final),
            None,
        )


async def search(ctx: AppContext, text: str, tournament_id: str | None) -> list[ParticipantView]:
    """Return the participants whose name fits, the best first."""
    return await search_participants(ctx, text, tournament_id=tournament_id, limit=_FOUND)


async def record(ctx: AppContext, person: Person) -> Record:
    """Return a person's payments and fees, and whether the fee counts as paid now."""
    payments, _ = await views.many(ctx, Filter(participant_id=person.participant_id))
    try:
        fees = await fees_for(ctx, person.participant_id)
        person = replace(person, is_paid=(await participant_view(ctx, person.participant_id)).is_paid)
    except NotFound:
        fees = None
    return Record(person, payments, fees)


async def open_payments(ctx: AppContext, tournament_id: str | None) -> list[PaymentView]:
    """Return the payments that customers can still make, the oldest first."""
    found: list[PaymentView] = []
    for status in (PaymentStatus.PENDING, PaymentStatus.PROCESSING):
        wanted = Filter(status=status, tournament_id=tournament_id)
        found += (await views.many(ctx, wanted, limit=_OPEN))[0]
    return sorted(found, key=lambda view: view.created_at)


async def todays_payments(ctx: AppContext, tournament_id: str | None) -> list[PaymentView]:
    """Return the payments that were started today, the newest first."""
    today = ctx.clock().astimezone(formats.almaty()).date()
    wanted = Filter(tournament_id=tournament_id, since=formats.day_begins(today))
    found: list[PaymentView] = []
    cursor: str | None = None
    while len(found) < _TODAY:
        page, cursor = await views.many(ctx, wanted, limit=200, cursor=cursor)
        found += page
        if cursor is None:
            break
    return found


async def count_unpaid(ctx: AppContext, tournament_id: str | None) -> tuple[int, int]:
    """Return how many have not paid and how many are registered: for one tournament, or for all that are not
    over."""
    if tournament_id is not None:
        tournaments = [await tournament_view(ctx, tournament_id)]
    else:
        latest = await list_tournaments(ctx)
        since = ctx.clock() - _OVER_AFTER
        tournaments = [row for row in latest if row.starts_at and row.starts_at >= since] or latest[:1]
    registered = sum(row.registered for row in tournaments)
    return registered - sum(row.paid for row in tournaments), registered
