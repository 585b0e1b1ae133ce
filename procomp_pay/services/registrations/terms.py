"""The terms of a tournament: fees that hold on some days, and how much of a fee goes back until when."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from procomp_pay.domain.entry_fees import (
    KIND_NAMES,
    EntryFees,
    FeeKind,
    FeePeriod,
    FeeSchedule,
    check_period,
)
from procomp_pay.domain.errors import NotFound
from procomp_pay.domain.money import Money
from procomp_pay.domain.operators import Right
from procomp_pay.domain.refund_policy import RefundPolicy, RefundStep, checked_steps, read_step
from procomp_pay.domain.text import N_
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.operators import authorize
from procomp_pay.services.registrations.tournament_audit import record_change
from procomp_pay.services.views.timestamps import instant
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.platform import Tournament
from procomp_pay.storage.registrations import lookup as registrations
from procomp_pay.storage.registrations import terms as storage

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a tournament.

    :param now: the fees that hold at ``at``.
    """

    tournament_id: str
    name: str
    starts_at: datetime | None
    schedule: FeeSchedule
    policy: RefundPolicy | None
    at: datetime

    @property
    def now(self) -> EntryFees:
        return self.schedule.at(self.at)

    def full(self) -> dict[str, Any]:
        """Return all fields for ``--json``."""
        base, now = self.schedule.base, self.now
        return {
            "tournament_id": self.tournament_id,
            "name": self.name,
            "starts_at": instant(self.starts_at),
            "entry_fee": base.main.amount,
            "currency": base.main.currency.value,
            "now": [_money(fee) for c in now.currencies if (fee := now.in_currency(c)) is not None],
            "periods": [
                {
                    "kind": one.kind.value,
                    **_money(one.fee),
                    "since": one.days.since and one.days.since.isoformat(),
                    "until": one.days.until and one.days.until.isoformat(),
                    "timezone": one.days.zone.key,
                    "holds": one.holds(self.at),
                }
                for one in self.schedule.periods
            ],
            "refund_policy": [
                {
                    "percent": step.percent,
                    "kept": step.kept and _money(step.kept),
                    "until": (last := self.last_day(step)) and last.isoformat(),
                    "days_before": step.days_before,
                }
                for step in (self.policy.steps if self.policy else ())
            ],
        }

    def last_day(self, step: RefundStep) -> date | None:
        """Return a step's last day; ``None`` if it depends on a start that is unknown."""
        zone = self.policy.zone if self.policy else None
        return step.last_day(self.starts_at.astimezone(zone).date() if self.starts_at else None)


def _money(fee: Money) -> dict[str, Any]:
    return {"amount": fee.amount, "currency": fee.currency.value}


async def read(ctx: AppContext, tournament_id: str) -> Terms:
    """Return the terms of a tournament.

    :raises NotFound: no such tournament.
    """
    async with ctx.db.reading() as session:
        return await _terms(session, ctx, await registrations.tournament(session, tournament_id))


async def set_fee_period(ctx: AppContext, tournament_id: str, period: FeePeriod, actor: Actor) -> Terms:
    """Set a fee that holds on some days, in place of the one of its kind and currency. Open payments keep
    their amount.

    :raises NotFound: no such tournament. :raises Refused: another currency, or other such days overlap.
    :raises InvalidAmount: not more than zero, or tenge with tiyn.
    """
    async with ctx.db.writing() as session:
        row = await registrations.tournament(session, tournament_id, lock=True)
        await authorize.check(ctx, session, Right.FINANCE, row.id)
        schedule = await storage.fee_schedule(session, row)
        check_period(period, schedule)
        await storage.set_fee_period(session, row.id, period, actor.name, ctx.clock())
        same = (period.kind, period.fee.currency)
        former = [one for one in schedule.periods if (one.kind, one.fee.currency) == same]
        await record_change(session, ctx, row.id, actor, "fee_by_day_set", _fees(former), _fees([period]))
        terms = await _terms(session, ctx, row)
    _log.info("%s fee of tournament %s set by %s: %s", period.kind, row.id, actor.name, period.fee)
    return terms


async def remove_fee_period(ctx: AppContext, tournament_id: str, kind: FeeKind, actor: Actor) -> Terms:
    """Remove the fees of a kind, in every currency.

    :raises NotFound: no such tournament, or no such fee.
    """
    async with ctx.db.writing() as session:
        row = await registrations.tournament(session, tournament_id, lock=True)
        await authorize.check(ctx, session, Right.FINANCE, row.id)
        former = [one for one in (await storage.fee_schedule(session, row)).periods if one.kind is kind]
        if not await storage.remove_fee_periods(session, row.id, kind=kind):
            raise NotFound(
                N_("The tournament has no %(kind)s", kind=KIND_NAMES[kind]),
                next_step=f"procomp-pay tournament fees {row.id}",
            )
        await record_change(session, ctx, row.id, actor, "fee_by_day_removed", _fees(former), None)
        terms = await _terms(session, ctx, row)
    _log.info("%s fee of tournament %s removed by %s", kind, row.id, actor.name)
    return terms


async def set_refund_policy(
    ctx: AppContext, tournament_id: str, steps: Sequence[str], zone: ZoneInfo, actor: Actor
) -> Terms:
    """Set the refund policy, in place of the former one; no steps remove it.

    :param steps: as :func:`procomp_pay.domain.refund_policy.read_step` reads them.
    :raises NotFound: no such tournament.
    :raises Refused, InvalidAmount: a step is none, or two end on one day.
    """
    async with ctx.db.writing() as session:
        row = await registrations.tournament(session, tournament_id, lock=True)
        await authorize.check(ctx, session, Right.FINANCE, row.id)
        start = None if row.starts_at is None else row.starts_at.astimezone(zone).date()
        read = [read_step(step, row.currency) for step in steps]
        known = checked_steps(read, start) if read else []
        former = await storage.refund_policy(session, row.id)
        await storage.set_refund_policy(session, row.id, known, zone, actor.name, ctx.clock())
        before = None if former is None else _policy(former.steps, former.zone)
        after = _policy(known, zone) if known else None
        await record_change(session, ctx, row.id, actor, "refund_policy_set", before, after)
        terms = await _terms(session, ctx, row)
    _log.info("refund policy of tournament %s set by %s: %s", row.id, actor.name, ", ".join(steps) or "none")
    return terms


def _fees(periods: Sequence[FeePeriod]) -> dict[str, Any] | None:
    """Return fees by day for the audit trail; ``None`` for none."""
    return {
        f"{one.kind}_{one.fee.currency}".lower(): (
            f"{one.fee.amount} {one.fee.currency}, {one.days.since or '...'} to {one.days.until or '...'}, "
            f"{one.days.zone.key}"
        )
        for one in periods
    } or None


def _policy(steps: Sequence[RefundStep], zone: ZoneInfo) -> dict[str, Any]:
    """Return a refund policy for the audit trail, its steps as they are typed."""
    typed = [
        f"{step.until or f'{step.days_before}d'}:{step.percent}"
        + (f":{step.kept.amount}" if step.kept else "")
        for step in steps
    ]
    return {"steps": ", ".join(typed), "timezone": zone.key}


async def _terms(session: AsyncSession, ctx: AppContext, row: Tournament) -> Terms:
    return Terms(
        row.id,
        row.name,
        row.starts_at,
        await storage.fee_schedule(session, row),
        await storage.refund_policy(session, row.id),
        ctx.clock(),
    )


async def fees_for(ctx: AppContext, participant_id: str) -> EntryFees:
    """Return the entry fees of a participant's tournament that hold now.

    :raises NotFound: no such participant.
    """
    async with ctx.db.reading() as session:
        participant = await registrations.participant(session, participant_id)
        tournament = await registrations.tournament(session, participant.tournament_id)
        return (await storage.fee_schedule(session, tournament)).at(ctx.clock())
