"""Make the closing sheet of a tournament: every payment, sums, open discrepancies, and the last checks.

All figures are as of one moment: the same ``as_of`` always gives the same figures. The state of payments that
changed later is read from the audit, which has a snapshot of each state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from procomp_pay.domain.errors import Refused
from procomp_pay.domain.events import Source
from procomp_pay.domain.money import Money
from procomp_pay.domain.refunds import DisputeState
from procomp_pay.domain.states import PAID_STATUSES, PaymentMethod, status_of
from procomp_pay.domain.text import N_
from procomp_pay.services.context import AppContext
from procomp_pay.services.payouts.view import sums_of_tournament
from procomp_pay.services.registrations.tournaments import tournament_view
from procomp_pay.services.reports.tournament_closing_result import (
    AfterFees,
    Check,
    ClosingLine,
    Disagreement,
    Sum,
    TournamentClosing,
)
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.reports import tournament_closing as queries
from procomp_pay.storage.reports.attempts import one_moment

#: The most payments of a sheet. No tournament is larger, and two people have to sign the sheet.
MOST = 50_000
#: The clerk of payments that were started in the app.
THE_APP = "(the app)"

_NONE = Decimal("0.00")
#: The state of a payment that was only started at that moment.
_STARTED: dict[str, Any] = {"status": "PENDING", "refunded": 0}


async def tournament_closing(
    ctx: AppContext, tournament_id: str, zone: ZoneInfo, as_of: datetime | None = None
) -> TournamentClosing:
    """Return a tournament's closing sheet as of a moment; ``None`` for now.

    :raises NotFound: no such tournament. :raises Refused: the moment is in the future, or it has more than
        50,000 payments.
    """
    now = ctx.clock()
    then = as_of or now
    if then > now:
        raise Refused(
            N_("%(time)s is in the future", time=f"{then.astimezone(zone):%Y-%m-%d %H:%M}"),
            next_step=N_("leave out --as-of for now"),
        )
    chosen = await tournament_view(ctx, tournament_id)
    async with ctx.db.reading() as session:
        await one_moment(ctx.db, session)
        open_rows, strange = await queries.discrepancies(session, chosen.tournament_id, then)
        kinds: dict[str, list[str]] = {}
        for row in open_rows:
            kinds.setdefault(str(row.payment_id), []).append(row.kind)
        lines = await _lines(session, chosen.tournament_id, then, kinds)
        fees, with_fee = await queries.fees(session, chosen.tournament_id, then)
        paid_out = await sums_of_tournament(session, chosen.tournament_id, then, zone)
        seal = await queries.newest_seal(session, then)
        checks = [await _check(session, provider, lines, then) for provider in _providers(lines)]
    totals = _sums(lines, lambda _: "")
    return TournamentClosing(
        tournament_id=chosen.tournament_id,
        tournament_name=chosen.name,
        as_of=then,
        zone=zone,
        lines=lines,
        totals=totals,
        by_method=_sums(lines, lambda line: line.method.public_name),
        by_clerk=_sums(lines, lambda line: line.clerk),
        disagreements=[
            Disagreement(row.id, row.kind, str(row.payment_id), row.opened_at) for row in open_rows
        ],
        strange=strange,
        checks=checks,
        after_fees=_after_fees(lines, totals, fees, with_fee),
        seal=None if seal is None else (seal.merkle_root, seal.sealed_at, seal.sealed_by),
        payouts=paid_out,
    )


async def _lines(
    session: AsyncSession, tournament_id: str, then: datetime, kinds: dict[str, list[str]]
) -> list[ClosingLine]:
    rows: list[queries.ClosingPayment] = []
    async for row in queries.payments(session, tournament_id, then):
        if len(rows) == MOST:
            raise Refused(
                N_("The tournament has more than %(most)s payments: too many for a sheet", most=MOST),
                next_step=f"procomp-pay report --tournament {tournament_id}",
            )
        rows.append(row)
    changed = {row.payment.id for row in rows if max(row.payment.updated_at, row.detail.updated_at) > then}
    snapshots = await queries.snapshots(session, changed, then)
    under_way = await queries.refunds_under_way(session, [row.payment.id for row in rows], then)
    lines = []
    for row in rows:
        key = row.payment.id
        snapshot = snapshots.get(key, _STARTED) if key in changed else _snapshot_of(row)
        lines.append(_line(row, snapshot, under_way.get(key, _NONE), tuple(sorted(kinds.get(key, ())))))
    return lines


def _snapshot_of(row: queries.ClosingPayment) -> dict[str, Any]:
    """Return the state of a payment that has not changed since, as an audit snapshot."""
    payment, detail = row.payment, row.detail
    return {
        "status": payment.status,
        "late": detail.is_late,
        "duplicate": detail.is_duplicate,
        "refunded": detail.refunded_amount,
        "dispute": detail.dispute_state,
        "kaspi_operation": payment.kaspi_transaction_id,
        "charge": detail.charge_id,
    }


def _line(
    row: queries.ClosingPayment,
    snapshot: dict[str, Any],
    under_way: Decimal,
    disagreements: tuple[str, ...],
) -> ClosingLine:
    payment, detail = row.payment, row.detail
    status, dispute = status_of(snapshot["status"]), snapshot.get("dispute")
    at_provider = (payment.stripe_payment_id, snapshot.get("charge"), detail.provider_ref)
    numbers = (snapshot.get("kaspi_operation"), *at_provider)
    return ClosingLine(
        payment_id=payment.id,
        started_at=detail.created_at,
        paid_at=detail.completed_at if status in PAID_STATUSES else None,
        participant_name=row.full_name or "(removed)",
        category=row.category,
        method=payment.method or PaymentMethod.KASPI_QR,
        charged=Money(detail.charged_amount, detail.charged_currency),
        clerk=THE_APP if row.source == Source.APP.value else detail.started_by,
        status=status,
        is_late=bool(snapshot.get("late")),
        is_duplicate=bool(snapshot.get("duplicate")),
        dispute=DisputeState(dispute) if dispute else None,
        dispute_amount=(detail.dispute_amount or _NONE) if dispute else _NONE,
        refunded=Decimal(snapshot["refunded"]).quantize(Decimal("0.01")),
        under_way=under_way,
        numbers=tuple(dict.fromkeys(number for number in numbers if number)),
        disagreements=disagreements,
    )


def _sums(lines: Iterable[ClosingLine], name: Callable[[ClosingLine], str]) -> list[Sum]:
    sums: dict[tuple[str, str], Sum] = {}
    for line in lines:
        key = (name(line), line.charged.currency.value)
        sums.setdefault(key, Sum(*key)).add(line)
    return [sums[key] for key in sorted(sums, key=lambda key: (key[0].casefold(), key[1] != "KZT", key))]


def _after_fees(
    lines: Iterable[ClosingLine], totals: list[Sum], fees: dict[str, Decimal], with_fee: set[str]
) -> list[AfterFees]:
    """Return the amounts after fees by currency; a provider may take fees in a currency without payments."""
    kept = {total.currency: total.kept for total in totals}
    missing = Counter(
        line.charged.currency.value for line in lines if line.is_paid and line.payment_id not in with_fee
    )
    currencies = [*kept, *sorted(set(fees) - set(kept))]
    return [
        AfterFees(currency, kept.get(currency, _NONE), fees.get(currency), missing[currency])
        for currency in currencies
    ]


def _providers(lines: Iterable[ClosingLine]) -> list[str]:
    used = {"kaspi" if line.is_kaspi else "stripe" for line in lines}
    return sorted(used) or ["kaspi", "stripe"]


async def _check(session: AsyncSession, provider: str, lines: list[ClosingLine], then: datetime) -> Check:
    first = lines[0].started_at if lines else then
    run = await queries.last_run(session, provider, first, then)
    if run is None:
        return Check(provider)
    is_finished = run.finished_at is not None and run.finished_at <= then
    return Check(
        provider=provider,
        state=run.state if is_finished or run.finished_at is None else "running",
        started_at=run.started_at,
        finished_at=run.finished_at if is_finished else None,
        window_from=run.window_from,
        window_until=run.window_until,
        source=run.source,
        counts=run.counts if is_finished and isinstance(run.counts, dict) else {},
    )
