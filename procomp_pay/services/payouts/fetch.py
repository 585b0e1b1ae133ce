"""Store the providers' payouts: Stripe's by its API, Kaspi's as the days of its report."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, cast
from zoneinfo import ZoneInfo

from procomp_pay.domain.almaty import almaty_day
from procomp_pay.domain.errors import Refused
from procomp_pay.domain.payouts import BalanceLine
from procomp_pay.domain.reconciliation.refund_parts import part_refs
from procomp_pay.domain.reconciliation.statement_line import LineKind, StatementLine
from procomp_pay.domain.states import Channel
from procomp_pay.domain.text import N_
from procomp_pay.providers.stripe import payouts as at_stripe
from procomp_pay.services.context import AppContext
from procomp_pay.storage.database.chunks import chunks
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.payouts import repository as store
from procomp_pay.storage.reconciliation import provider_movements

_OUT = frozenset({LineKind.REFUND, LineKind.DISPUTE})
_PAGE = 500


@dataclass(slots=True)
class Fetched:
    """What was stored.

    :param incomplete: payouts whose entries do not add up to their amount. :param notes: what was left out.
    """

    payouts: int = 0
    new: int = 0
    entries: int = 0
    incomplete: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def full(self) -> dict[str, Any]:
        return {
            "payouts": self.payouts, "new": self.new, "entries": self.entries,
            "incomplete": self.incomplete, "notes": self.notes,
        }  # fmt: skip


async def fetch_stripe(ctx: AppContext, since: datetime, until: datetime) -> Fetched:
    """Store the payouts that Stripe made in a window with all that is in them, and the account's own costs.

    It may be killed and run again: a payout whose entries add up is not read twice.

    :raises ProviderUnavailable, OutcomeUnknown, ConfigurationError: Stripe does not answer.
    """
    stripe = cast(at_stripe.StripePages, ctx.providers.of(Channel.STRIPE_INTENT))
    result = Fetched()
    async for page in at_stripe.payouts(stripe, since, until):
        for payout in page:
            async with ctx.db.writing() as session:
                payout_id, is_new = await store.save_payout(session, _stripe_values(ctx, payout))
            if payout.reversal is not None:
                await _keep(ctx, "stripe", [payout.reversal], None)
            result.payouts += 1
            result.new += is_new
            async with ctx.db.reading() as session:
                known = await store.entries_net(session, payout_id)
            if known != payout.amount:
                async for lines in at_stripe.entries(stripe, payout.ref):
                    result.entries += await _keep(ctx, "stripe", lines, payout_id)
                async with ctx.db.reading() as session:
                    known = await store.entries_net(session, payout_id)
            if known != payout.amount:
                result.incomplete.append(payout.ref)
    async for costs in at_stripe.costs(stripe, since, until):
        await keep_costs(ctx, costs)
    return result


async def keep_costs(ctx: AppContext, costs: list[BalanceLine]) -> None:
    """Store costs of Stripe's account, which belong to no payment."""
    await _keep(ctx, "stripe", costs, None)


async def keep_kaspi_report(
    ctx: AppContext, lines: Iterable[StatementLine], zone: ZoneInfo, *, through: date | None = None
) -> Fetched:
    """Store each day of Kaspi's report as a payout of its net: payments less refunds less Kaspi's fees.

    A report with more lines of a day adds them. Lines of other kinds are left out: a sale in cash, or one
    that was declined, is not paid out, and a payout itself is the sum of the others.

    :param through: the last day, also if it is not over yet; ``None`` for the last one that is over.
    :raises Refused: a line names neither fee nor net: then nobody knows what arrives at the bank.
    """
    result, last = Fetched(), through or ctx.clock().astimezone(zone).date() - timedelta(days=1)
    days: dict[tuple[date, str], list[BalanceLine]] = defaultdict(list)
    others = 0
    for line in lines:
        if line.kind is LineKind.OTHER:
            others += 1
            continue
        if line.fee is None and line.net is None:
            raise Refused(
                N_(
                    "Line %(number)s of the report has no fee, so what Kaspi pays out is not known",
                    number=line.number,
                ),
                next_step=N_("export the report of operations with its column Стоимость услуг Kaspi"),
            )
        found = _kaspi_line(line)
        days[line.at.astimezone(zone).date(), found.currency].append(found)
    if others and through is None:  # the reconciliation of a closing says so itself
        what = N_("%(n)s lines of other kinds, such as payouts, fees and cash", n=others)
        result.notes.append(N_("left out: %(what)s", what=what))
    for (day, currency), entries in sorted(days.items()):
        if day > last:
            if through is None:
                result.notes.append(N_("%(day)s is not over yet: give the report again tomorrow", day=day))
            continue
        values = _values(ctx, "kaspi", day.isoformat(), currency, Decimal("0.00"), "paid", day)
        # a day as a whole: a run that is killed must not leave a half of its sum
        async with ctx.db.writing() as session:
            payout_id, is_new = await store.save_payout(session, values)
            told_apart = await _movements_told_apart(session, entries)
            told_apart = await _told_apart(session, told_apart, payout_id, day)
            for page in chunks(told_apart, _PAGE):
                await _save(ctx, session, "kaspi", page, payout_id)
            await store.set_amount(session, payout_id, await store.entries_net(session, payout_id))
        result.entries += len(entries)
        result.payouts += 1
        result.new += is_new
    return result


async def _told_apart(
    session: AsyncSession, lines: list[BalanceLine], payout_id: str, day: date
) -> list[BalanceLine]:
    """Return a day's lines, each with a reference of its own."""
    refunds = [line for line in lines if line.kind is LineKind.REFUND]
    known = await store.refunds_by_ref(session, "kaspi", {line.ref for line in refunds})
    first = {ref: (day if payout == payout_id else None, amount) for ref, (payout, amount) in known.items()}
    refs = iter(part_refs(((line.ref, day, line.amount) for line in refunds), first))
    return [replace(line, ref=next(refs)) if line.kind is LineKind.REFUND else line for line in lines]


async def _movements_told_apart(session: AsyncSession, lines: list[BalanceLine]) -> list[BalanceLine]:
    """Return lines of which each refund under its purchase's number has a source of its own, as `reconcile`
    names it: a refund's own number is one movement, wherever it is read."""
    payments = await _payments(session, "kaspi", [line for line in lines if line.kind is LineKind.REFUND])

    def is_part(line: BalanceLine) -> bool:
        return line.kind is LineKind.REFUND and line.source in payments

    parts = [line for line in lines if is_part(line)]
    known = await provider_movements.refunds_by_ref(session, "kaspi", {line.source for line in parts})
    first = {ref: (almaty_day(at), amount) for ref, (at, amount) in known.items()}
    sources = iter(part_refs(((line.source, almaty_day(line.at), line.amount) for line in parts), first))
    return [replace(line, source=next(sources)) if is_part(line) else line for line in lines]


def _kaspi_line(line: StatementLine) -> BalanceLine:
    gross = -line.money.amount if line.kind in _OUT else line.money.amount
    net = line.net if line.net is not None else gross - (line.fee or 0)
    return BalanceLine(
        kind=line.kind,
        ref=line.ref,
        category=line.kind.value,
        amount=gross,
        fee=gross - net,
        net=net,
        currency=str(getattr(line.money.currency, "value", line.money.currency)),
        at=line.at,
        description=line.description,
        source=line.ref,
        payment_refs=tuple(filter(None, (line.payment_ref, line.ref))),
    )


def _stripe_values(ctx: AppContext, payout: at_stripe.StripePayout) -> dict[str, Any]:
    values = _values(
        ctx, "stripe", payout.ref, payout.currency, payout.amount, payout.status, payout.expected_on
    )
    return values | {"trace": payout.trace, "failure": payout.failure}


def _values(
    ctx: AppContext, provider: str, ref: str, currency: str, amount: Decimal, status: str, day: date
) -> dict[str, Any]:
    return {
        "id": ctx.new_id(), "provider": provider, "ref": ref, "currency": currency, "amount": amount,
        "status": status, "expected_on": day, "trace": None, "failure": None, "recorded_at": ctx.clock(),
    }  # fmt: skip


async def _keep(ctx: AppContext, provider: str, lines: list[BalanceLine], payout_id: str | None) -> int:
    if lines:
        async with ctx.db.writing() as session:
            await _save(ctx, session, provider, lines, payout_id)
    return len(lines)


async def _save(
    ctx: AppContext, session: AsyncSession, provider: str, lines: list[BalanceLine], payout_id: str | None
) -> None:
    payments = await _payments(session, provider, lines)
    rows = [
        {
            "id": ctx.new_id(), "provider": provider, "kind": line.kind, "ref": line.ref,
            "payout_id": payout_id,
            "payment_id": next((payments[ref] for ref in line.payment_refs if ref in payments), None),
            "category": line.category, "description": line.description[:200], "amount": line.amount,
            "fee": line.fee, "net": line.net, "currency": line.currency, "at": line.at,
            "recorded_at": ctx.clock(),
        }
        for line in lines
    ]  # fmt: skip
    await store.save_entries(session, rows)
    await provider_movements.record(
        session,
        [
            {
                "id": ctx.new_id(), "provider": provider, "payment_id": row["payment_id"], "kind": line.kind,
                "ref": line.source, "balance_transaction_id": line.ref if provider == "stripe" else None,
                "amount": line.amount, "fee": line.fee, "net": line.net, "currency": line.currency,
                "at": line.at, "source": "stripe_api" if provider == "stripe" else "statement",
                "recorded_at": ctx.clock(),
            }
            for line, row in zip(lines, rows, strict=True)
            if row["payment_id"] and line.source and line.kind is not LineKind.OTHER
        ],
    )  # fmt: skip


async def _payments(session: AsyncSession, provider: str, lines: list[BalanceLine]) -> dict[str, str]:
    references = {ref for line in lines for ref in line.payment_refs}
    return await provider_movements.payment_ids_by_reference(session, provider, references)
