"""The payments that a line of Kaspi's statement could be about, found by index."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.kaspi_life import MARGIN, USUAL_CONFIRM_S, USUAL_SCAN_S
from procomp_pay.domain.kaspi_statement import SLACK, Candidate
from procomp_pay.domain.money import Money
from procomp_pay.domain.statement import LineKind, StatementLine
from procomp_pay.domain.states import Channel
from procomp_pay.storage.module import KaspiOperation, PaymentDetail, Refund

#: From a payment's making to the last moment at which money can come: of a QR or a link, and of an invoice,
#: which the customer has a day for. They bound the walk along the index of times.
LONGEST_QR = timedelta(minutes=30)
LONGEST_LIFE = timedelta(hours=25)
#: More payments than this of one amount within one life are a stadium's, and ambiguous anyhow.
_MOST = 200
_KASPI_CHANNELS = tuple(channel for channel in Channel if channel.is_kaspi)


async def candidates(session: AsyncSession, line: StatementLine) -> list[Candidate]:
    """Payments that bear one of the line's numbers; and, for a payment's line, open or unverified ones of its
    amount whose life covers its time. Unverified: no operation number is known of it, however it stands.
    """
    if line.kind is LineKind.OTHER:
        return []
    found = set(await _by_number(session, {number for number in (line.ref, line.payment_ref) if number}))
    if line.kind is LineKind.PAYMENT:
        found |= set((await session.exec(by_amount_and_time(line.money, line.at))).all())
    return await _as_candidates(session, sorted(found))


async def _by_number(session: AsyncSession, numbers: set[str]) -> list[str]:
    if not numbers:
        return []
    queries = (
        select(KaspiOperation.payment_id).where(col(KaspiOperation.operation_number).in_(numbers)),
        select(PaymentDetail.payment_id).where(
            col(PaymentDetail.provider_ref).in_(numbers), col(PaymentDetail.channel).in_(_KASPI_CHANNELS)
        ),
        select(Refund.payment_id).where(col(Refund.provider_refund_id).in_(numbers)),
    )
    found: list[str] = []
    for query in queries:
        found += (await session.exec(query)).all()
    return found


def by_amount_and_time(money: Money, at: datetime) -> Any:
    """The query for unverified Kaspi payments of an amount that may have lived at a time, oldest first."""
    return (
        select(PaymentDetail.payment_id)
        .join(
            KaspiOperation,
            col(KaspiOperation.payment_id) == col(PaymentDetail.payment_id),
            isouter=True,
        )
        .where(
            col(PaymentDetail.created_at) <= at + SLACK,
            col(PaymentDetail.created_at) >= at - LONGEST_LIFE - SLACK,
            # a day is walked for the few that live so long; the rest are told by their making
            or_(
                col(PaymentDetail.created_at) >= at - LONGEST_QR - SLACK,
                col(PaymentDetail.expires_at) >= at - LONGEST_QR - SLACK,
            ),
            PaymentDetail.charged_amount == money.amount,
            PaymentDetail.charged_currency == money.currency,
            col(PaymentDetail.channel).in_(_KASPI_CHANNELS),
            col(KaspiOperation.payment_id).is_(None),
        )
        .order_by(col(PaymentDetail.created_at), col(PaymentDetail.payment_id))
        .limit(_MOST)
    )


async def _as_candidates(session: AsyncSession, payment_ids: Sequence[str]) -> list[Candidate]:
    if not payment_ids:
        return []
    details = await session.exec(select(PaymentDetail).where(col(PaymentDetail.payment_id).in_(payment_ids)))
    operations = await _numbers(
        session, KaspiOperation.payment_id, KaspiOperation.operation_number, payment_ids
    )
    refunds = await _numbers(session, Refund.payment_id, Refund.provider_refund_id, payment_ids)
    return [
        Candidate(
            payment_id=detail.payment_id,
            charged=Money(detail.charged_amount, detail.charged_currency),
            since=detail.created_at,
            until=_until(detail),
            qr_payment_id=detail.provider_ref,
            operations=operations[detail.payment_id],
            refunds=refunds[detail.payment_id],
        )
        for detail in sorted(details.all(), key=lambda each: each.payment_id)
    ]


async def _numbers(
    session: AsyncSession, payment: Any, number: Any, payment_ids: Sequence[str]
) -> dict[str, frozenset[str]]:
    rows = await session.exec(select(payment, number).where(col(payment).in_(payment_ids)))
    found: dict[str, set[str]] = defaultdict(set)
    for payment_id, value in rows.all():
        if value is not None:
            found[payment_id].add(value)
    return defaultdict(frozenset, {key: frozenset(values) for key, values in found.items()})


def _until(detail: PaymentDetail) -> datetime:
    """The last moment at which Kaspi could still take the money: both of its time-outs have passed."""
    scan_until = detail.expires_at or detail.created_at + timedelta(
        seconds=detail.scan_timeout_s or USUAL_SCAN_S
    )
    confirm = timedelta(seconds=detail.confirm_timeout_s or USUAL_CONFIRM_S)
    scanned = detail.scanned_at or scan_until
    return max(scan_until, scanned) + confirm + MARGIN
