"""The closing sheet of a tournament: every payment, sums, what does not agree, and who checked it.

It is of one moment: asked for again with the same ``as_of`` it has the same figures, whatever happened
since. Payments that were changed later are put back by the audit, which keeps each as it stood.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.errors import Refused
from procomp_pay.domain.events import Source
from procomp_pay.domain.money import Money
from procomp_pay.domain.refunds import DisputeState
from procomp_pay.domain.states import PAID_STATUSES, PaymentMethod, PaymentStatus
from procomp_pay.services.context import AppContext
from procomp_pay.services.registrations.tournaments import find_tournament
from procomp_pay.services.reports.closing_result import (
    AfterFees,
    Check,
    Closing,
    ClosingLine,
    Disagreement,
    Sum,
)
from procomp_pay.storage.reports import closing as book
from procomp_pay.storage.reports.attempts import one_moment

#: Payments of one sheet. No tournament is larger, and somebody is to sign it.
MOST = 50_000
#: The clerk of payments that were started in the app.
THE_APP = "(the app)"

_NONE = Decimal("0.00")
#: A payment of which the audit knows nothing yet but that it was started.
_STARTED: dict[str, Any] = {"status": "PENDING", "refunded": 0}


async def closing(ctx: AppContext, tournament: str, zone: ZoneInfo, as_of: datetime | None = None) -> Closing:
    """Close a tournament's books as of a moment; ``None`` for now.

    :param tournament: its id or whole name.
    :raises NotFound: no such tournament. :raises Refused: the moment is still to come, several tournaments
        have that name, or it has more than 50,000 payments.
    """
    now = ctx.clock()
    then = as_of or now
    if then > now:
        raise Refused(
            f"{then.astimezone(zone):%Y-%m-%d %H:%M} is still to come", next_step="leave --as-of out for now"
        )
    chosen = await find_tournament(ctx, tournament)
    async with ctx.db.reading() as session:
        await one_moment(ctx.db, session)
        open_ones, strange = await book.discrepancies(session, chosen.tournament_id, then)
        kinds: dict[str, list[str]] = {}
        for each in open_ones:
            kinds.setdefault(str(each.payment_id), []).append(each.kind)
        lines = await _lines(session, chosen.tournament_id, then, kinds)
        fees, with_fee = await book.fees(session, chosen.tournament_id, then)
        seal = await book.newest_seal(session, then)
        checks = [await _check(session, each, lines, then) for each in _providers(lines)]
    totals = _sums(lines, lambda _: "")
    return Closing(
        tournament_id=chosen.tournament_id,
        tournament_name=chosen.name,
        as_of=then,
        zone=zone,
        lines=lines,
        totals=totals,
        by_method=_sums(lines, lambda line: line.method.public_name),
        by_clerk=_sums(lines, lambda line: line.clerk),
        disagreements=[
            Disagreement(each.id, each.kind, str(each.payment_id), each.opened_at) for each in open_ones
        ],
        strange=strange,
        checks=checks,
        after_fees=_after_fees(lines, totals, fees, with_fee),
        seal=None if seal is None else (seal.merkle_root, seal.sealed_at, seal.sealed_by),
    )


async def _lines(
    session: AsyncSession, tournament_id: str, then: datetime, kinds: dict[str, list[str]]
) -> list[ClosingLine]:
    found: list[book.Known] = []
    async for known in book.payments(session, tournament_id, then):
        if len(found) == MOST:
            raise Refused(
                f"The tournament has more than {MOST} payments: too many for a sheet",
                next_step=f"procomp-pay report --tournament {tournament_id}",
            )
        found.append(known)
    changed = {k.payment.id for k in found if max(k.payment.updated_at, k.detail.updated_at) > then}
    pictures = await book.pictures(session, changed, then)
    under_way = await book.refunds_under_way(session, [known.payment.id for known in found], then)
    lines = []
    for known in found:
        key = known.payment.id
        standing = pictures.get(key, _STARTED) if key in changed else _now(known)
        lines.append(_line(known, standing, under_way.get(key, _NONE), tuple(sorted(kinds.get(key, ())))))
    return lines


def _now(known: book.Known) -> dict[str, Any]:
    """A payment that was not changed since, in the audit's words."""
    payment, detail = known.payment, known.detail
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
    known: book.Known, then: dict[str, Any], under_way: Decimal, disagreements: tuple[str, ...]
) -> ClosingLine:
    payment, detail = known.payment, known.detail
    status, dispute = PaymentStatus(then["status"]), then.get("dispute")
    at_provider = (payment.stripe_payment_id, then.get("charge"), detail.provider_ref)
    numbers = (then.get("kaspi_operation"), *at_provider)
    return ClosingLine(
        payment_id=payment.id,
        started_at=detail.created_at,
        paid_at=detail.completed_at if status in PAID_STATUSES else None,
        participant_name=known.full_name or "(removed)",
        category=known.category,
        method=payment.method or PaymentMethod.KASPI_QR,
        charged=Money(detail.charged_amount, detail.charged_currency),
        clerk=THE_APP if known.source == Source.APP.value else detail.started_by,
        status=status,
        is_late=bool(then.get("late")),
        is_duplicate=bool(then.get("duplicate")),
        dispute=DisputeState(dispute) if dispute else None,
        dispute_amount=(detail.dispute_amount or _NONE) if dispute else _NONE,
        refunded=Decimal(then["refunded"]).quantize(Decimal("0.01")),
        under_way=under_way,
        numbers=tuple(dict.fromkeys(each for each in numbers if each)),
        disagreements=disagreements,
    )


def _sums(lines: Iterable[ClosingLine], name: Callable[[ClosingLine], str]) -> list[Sum]:
    found: dict[tuple[str, str], Sum] = {}
    for line in lines:
        key = (name(line), line.charged.currency.value)
        found.setdefault(key, Sum(*key)).add(line)
    return [found[key] for key in sorted(found, key=lambda key: (key[0].casefold(), key[1] != "KZT", key))]


def _after_fees(
    lines: Iterable[ClosingLine], totals: list[Sum], fees: dict[str, Decimal], with_fee: set[str]
) -> list[AfterFees]:
    """By currency; a provider may take its fee in one in which nothing was paid."""
    kept = {each.currency: each.kept for each in totals}
    missing = Counter(
        line.charged.currency.value for line in lines if line.is_paid and line.payment_id not in with_fee
    )
    currencies = [*kept, *sorted(set(fees) - set(kept))]
    return [AfterFees(each, kept.get(each, _NONE), fees.get(each), missing[each]) for each in currencies]


def _providers(lines: Iterable[ClosingLine]) -> list[str]:
    used = {"kaspi" if line.method.is_kaspi else "stripe" for line in lines}
    return sorted(used) or ["kaspi", "stripe"]


async def _check(session: AsyncSession, provider: str, lines: list[ClosingLine], then: datetime) -> Check:
    first = lines[0].started_at if lines else then
    run = await book.last_run(session, provider, first, then)
    if run is None:
        return Check(provider)
    over = run.finished_at is not None and run.finished_at <= then
    return Check(
        provider=provider,
        state=run.state if over or run.finished_at is None else "running",
        started_at=run.started_at,
        finished_at=run.finished_at if over else None,
        window_from=run.window_from,
        window_until=run.window_until,
        source=run.source,
        counts=run.counts if over and isinstance(run.counts, dict) else {},
    )
