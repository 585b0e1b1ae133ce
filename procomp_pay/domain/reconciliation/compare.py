"""Compare our books with a provider's: take two streams in the same order, and yield the mismatches.

The functions are pure, and only one payment's records are in memory at a time. :func:`match` also says which
mismatches can be repaired automatically.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from decimal import Decimal
from itertools import groupby
from typing import TypeVar

from procomp_pay.domain.almaty import almaty_day
from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.labels import UnknownLabel
from procomp_pay.domain.reconciliation.records import (
    LocalRecord,
    LocalRefund,
    Mismatch,
    ProviderRecord,
    ProviderState,
    RegistrationState,
    RepairAction,
)
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.refunds import (
    DisputeState,
    RefundState,
    is_id_of_refunded_total,
    kaspi_refund_id,
    number_by_purchase,
)
from procomp_pay.domain.states import OPEN_STATUSES, PAID_STATUSES, PaymentStatus
from procomp_pay.domain.text import N_

_K = DiscrepancyKind
_NOT_OURS = {
    LineKind.PAYMENT: N_("a payment that is not in our books"),
    LineKind.REFUND: N_("a refund that is not in our books"),
    LineKind.REFUND_FAILED: N_("a refund_failed that is not in our books"),
    LineKind.DISPUTE: N_("a dispute that is not in our books"),
    LineKind.DISPUTE_REVERSED: N_("a dispute_reversed that is not in our books"),
}
_OTHER_MONEY = {
    _K.AMOUNT_MISMATCH: N_("another amount"),
    _K.CURRENCY_MISMATCH: N_("another currency"),
    _K.DUPLICATE_PAYMENT: N_("paid twice at the provider"),
}
_T = TypeVar("_T", LocalRecord, ProviderRecord)


def match(ours: Iterable[LocalRecord], theirs: Iterable[ProviderRecord]) -> Iterator[Mismatch]:
    """Yield the mismatches of two streams that are ordered by key; ``theirs`` may have several records of a
    key.

    :raises ValueError: a stream is out of order, so that the result would be wrong.
    """
    groups = groupby(_ordered(theirs, strictly=False), key=lambda record: record.key)
    group = next(groups, None)
    for payment in _ordered(ours, strictly=True):
        while group is not None and group[0] < payment.key:
            yield from _unknown(list(group[1]))
            group = next(groups, None)
        if group is not None and group[0] == payment.key:
            yield from compare_payment(payment, list(group[1]))
            group = next(groups, None)
        else:
            yield from compare_payment(payment, [])
    while group is not None:
        yield from _unknown(list(group[1]))
        group = next(groups, None)


def _ordered(entries: Iterable[_T], *, strictly: bool) -> Iterator[_T]:
    last: str | None = None
    for entry in entries:
        if last is not None and (entry.key < last or (strictly and entry.key == last)):
            raise ValueError(f"out of order: {entry.key} after {last}")
        last = entry.key
        yield entry


def _unknown(group: list[ProviderRecord]) -> Iterator[Mismatch]:
    """Yield provider payments and refunds without a payment of ours. Ignore those that were never paid."""
    yielded: set[str] = set()
    for record in group:
        if (
            record.kind is LineKind.OTHER
            or record.stand is not ProviderState.PAID
            or record.reference in yielded
        ):
            continue
        yielded.add(record.reference)
        what = _NOT_OURS[record.kind]
        if record.candidates:
            is_single = len(record.candidates) == 1
            what = N_("it fits a payment that is over") if is_single else N_("several payments fit it")
        yield Mismatch(_K.MISSING_LOCALLY, what, record.reference, None, record)


def compare_payment(ours: LocalRecord, group: list[ProviderRecord]) -> Iterator[Mismatch]:
    """Yield the mismatches of one payment."""
    if ours.changed_since_read:
        return
    of_kind: dict[LineKind, list[ProviderRecord]] = {}
    of_others: list[ProviderRecord] = []
    for record in _once(group):
        if _difference_told(ours, record):
            of_others.append(record)
        else:
            of_kind.setdefault(record.kind, []).append(record)
    yield from _payment(ours, of_kind.get(LineKind.PAYMENT, []))
    failed = {record.ref for record in of_kind.get(LineKind.REFUND_FAILED, [])}
    yield from _refunds(ours, _after_failures(of_kind.get(LineKind.REFUND, []), failed))
    yield from _disputes(ours, of_kind)
    yield from _alone(ours)
    yield from _other_money(ours, of_others)


def _difference_told(ours: LocalRecord, theirs: ProviderRecord) -> tuple[DiscrepancyKind, str] | None:
    """Return the kind and reference of the discrepancy that tells of an operation's money already, which did
    not settle the payment; ``None`` for the payment's own operations."""
    return ours.other_money.get(theirs.ref) or ours.other_money.get(theirs.reference)


def _other_money(ours: LocalRecord, theirs: list[ProviderRecord]) -> Iterator[Mismatch]:
    """Yield what came by other operations as the differences that tell of it already. What of it went back
    is no refund of the payment."""
    for record in theirs:
        told = _difference_told(ours, record)
        if told and record.kind is LineKind.PAYMENT and record.stand is ProviderState.PAID:
            kind, reference = told
            yield Mismatch(kind, _OTHER_MONEY[kind], reference, ours, record)
    yield from _unknown([record for record in theirs if record.kind is not LineKind.PAYMENT])


def _once(group: list[ProviderRecord]) -> Iterator[ProviderRecord]:
    """Yield each record once: files that overlap repeat lines."""
    yielded: set[tuple[object, ...]] = set()
    for record in group:
        # two partial refunds of one amount may both have the purchase's number: then their times differ
        refunded_at = record.at if record.kind is LineKind.REFUND and record.payment_ref is None else None
        content = (record.kind, record.ref, record.amount, record.currency, record.stand, refunded_at)
        if content not in yielded:
            yielded.add(content)
            yield record


def _after_failures(refunds: list[ProviderRecord], failed: set[str]) -> list[ProviderRecord]:
    return [
        replace(record, stand=ProviderState.ENDED) if record.ref in failed else record for record in refunds
    ]


def _payment(ours: LocalRecord, payments: list[ProviderRecord]) -> Iterator[Mismatch]:
    settled, still_open = ours.status in PAID_STATUSES, ours.status in OPEN_STATUSES
    paid = sorted(
        (record for record in payments if record.stand is ProviderState.PAID),
        key=lambda record: (
            ours.reference_of(record) != ours.reference,
            record.ref != ours.number,
            record.at,
            record.ref,
        ),
    )
    if isinstance(ours.status, UnknownLabel):  # the platform's own: the money alone is compared
        settled = settled or ours.place is RegistrationState.TAKEN
        yield from _paid(ours, paid[0], settled=settled, action=None) if paid else ()
        return
    if paid:
        yield from _paid(ours, paid[0], settled=settled)
        for extra in paid[1:]:
            if extra.reference == paid[0].reference and extra.ref == paid[0].ref:
                yield from _amounts(ours, extra)  # the same operation, reported with two amounts
            else:
                # two operations of one QR differ only in their numbers
                reference = extra.ref if extra.reference == paid[0].reference else extra.reference
                yield Mismatch(_K.DUPLICATE_PAYMENT, N_("paid twice at the provider"), reference, ours, extra)
        return
    if payments and settled:
        reference = ours.reference_of(payments[0])
        yield Mismatch(_K.STATUS_MISMATCH, N_("not paid at the provider"), reference, ours, payments[0])
    elif payments and still_open and all(record.stand is ProviderState.ENDED for record in payments):
        ended = payments[-1]
        yield Mismatch(
            _K.STATUS_MISMATCH, N_("over at the provider"), ended.reference, ours, ended, RepairAction.ASK
        )
    elif settled and not payments and ours.expected:
        yield Mismatch(
            _K.MISSING_AT_PROVIDER, N_("the provider does not have it"), ours.reference, ours, None
        )
    elif ours.overdue and not settled and not (payments and payments[-1].stand is ProviderState.ENDED):
        record = payments[0] if payments else None
        yield Mismatch(_K.STUCK, N_("open beyond its life"), ours.reference, ours, record, RepairAction.ASK)


def _paid(
    ours: LocalRecord,
    theirs: ProviderRecord,
    *,
    settled: bool,
    action: RepairAction | None = RepairAction.ASK,
) -> Iterator[Mismatch]:
    mismatches = list(_amounts(ours, theirs))
    yield from mismatches
    if not mismatches and not settled:
        what = N_("paid at the provider")
        yield Mismatch(_K.STATUS_MISMATCH, what, theirs.reference, ours, theirs, action)


def _amounts(ours: LocalRecord, theirs: ProviderRecord) -> Iterator[Mismatch]:
    if theirs.currency is not None and theirs.currency != ours.money.currency:
        yield Mismatch(_K.CURRENCY_MISMATCH, N_("another currency"), ours.reference_of(theirs), ours, theirs)
    elif theirs.amount is not None and theirs.amount != ours.money.amount:
        yield Mismatch(_K.AMOUNT_MISMATCH, N_("another amount"), ours.reference_of(theirs), ours, theirs)


def _refunds(ours: LocalRecord, theirs: list[ProviderRecord]) -> Iterator[Mismatch]:
    sums = [record for record in theirs if record.total]
    if sums:
        yield from _refund_sum(ours, sums[-1])
        return
    left, unknown = list(ours.refunds), theirs
    # all ids before any amount: whatever the order of the lines, a refund is not taken for another of its sum
    for find in (_find_by_id, _find_by_amount):
        theirs, unknown = unknown, []
        for record in theirs:
            local = find(left, record)
            if local is None:
                unknown.append(record)
                continue
            left.remove(local)
            yield from _refund(ours, local, record)
    local_sums = [refund for refund in left if is_id_of_refunded_total(refund.ref)]
    if unknown and local_sums:
        left = [refund for refund in left if refund not in local_sums]
        yield from _within_sums(ours, local_sums, unknown)
    else:
        for record in unknown:
            yield from _refund(ours, None, record)
    for refund in left:
        if refund.state is RefundState.SUCCEEDED and refund.expected:
            reference = refund.ref or refund.refund_id
            what = N_("the provider does not have the refund")
            yield Mismatch(_K.REFUND_MISMATCH, what, reference, ours, None, None, refund)


def _within_sums(
    ours: LocalRecord, sums: list[LocalRefund], theirs: list[ProviderRecord]
) -> Iterator[Mismatch]:
    """Yield single refunds that may be part of a sum in our books.

    Kaspi's API reports refunds made in its app as one sum; a statement lists each of them. Recorded again,
    they would be counted twice."""
    paid = [
        record
        for record in theirs
        if record.stand is ProviderState.PAID and record.currency == ours.money.currency
    ]
    if sum(record.amount or 0 for record in paid) == sum(refund.amount for refund in sums):
        return
    for record in paid:
        what = N_("it may be part of a refund that our books have as one sum")
        yield Mismatch(_K.REFUND_MISMATCH, what, record.ref, ours, record)


def _find_by_id(left: list[LocalRefund], theirs: ProviderRecord) -> LocalRefund | None:
    """Return our refund with the id of theirs."""
    by_purchase = kaspi_refund_id(number_by_purchase(theirs.ref, theirs.at))
    ids = (theirs.ref, kaspi_refund_id(theirs.ref), by_purchase)
    for refund in left:
        if refund.ref in ids or (theirs.hint is not None and theirs.hint == refund.refund_id):
            return refund
    return None


def _find_by_amount(left: list[LocalRefund], theirs: ProviderRecord) -> LocalRefund | None:
    """Return our refund of the amount of theirs, if it has no id, or one of Kaspi's, which a statement need
    not show. What a statement showed on one day is not what it shows on another."""
    for refund in left:
        has_no_id = refund.ref is None or refund.ref.startswith("kaspi:")
        is_of_another_day = refund.made_at is not None and almaty_day(refund.made_at) != almaty_day(theirs.at)
        if (
            has_no_id
            and not is_of_another_day
            and refund.amount == theirs.amount
            and refund.state in _POSSIBLE_STATES[theirs.stand]
        ):
            return refund
    return None


_POSSIBLE_STATES = {
    ProviderState.PAID: (RefundState.SUCCEEDED, RefundState.PENDING),
    ProviderState.OPEN: (RefundState.PENDING,),
    ProviderState.ENDED: (RefundState.FAILED, RefundState.CANCELLED, RefundState.PENDING),
}


def _refund(ours: LocalRecord, local: LocalRefund | None, theirs: ProviderRecord) -> Iterator[Mismatch]:
    if local is None:
        if theirs.stand is not ProviderState.ENDED:
            what = N_("a refund that our books do not have")
            yield Mismatch(_K.REFUND_MISMATCH, what, theirs.ref, ours, theirs, RepairAction.REFUNDS)
        return
    is_comparable = theirs.currency == ours.money.currency or not theirs.is_settled_amount
    if is_comparable and (theirs.amount != local.amount or theirs.currency != ours.money.currency):
        yield Mismatch(_K.REFUND_MISMATCH, N_("another amount went back"), theirs.ref, ours, theirs)
    elif theirs.stand is ProviderState.PAID and local.state is not RefundState.SUCCEEDED:
        what = N_("the refund went through")
        yield Mismatch(_K.REFUND_MISMATCH, what, theirs.ref, ours, theirs, RepairAction.REFUNDS, local)
    elif theirs.stand is ProviderState.ENDED and local.state in (RefundState.SUCCEEDED, RefundState.PENDING):
        what = N_("the refund failed")
        yield Mismatch(_K.REFUND_MISMATCH, what, theirs.ref, ours, theirs, RepairAction.REFUNDS, local)


def _refund_sum(ours: LocalRecord, theirs: ProviderRecord) -> Iterator[Mismatch]:
    """Compare the sums of refunds, unless one of ours is pending: it may be part of the provider's sum."""
    if any(refund.state is RefundState.PENDING for refund in ours.refunds) or theirs.amount is None:
        return
    refunded = sum(
        (refund.amount for refund in ours.refunds if refund.state is RefundState.SUCCEEDED), Decimal("0.00")
    )
    if theirs.amount > refunded:
        what = N_("more went back than our books say")
        yield Mismatch(_K.REFUND_MISMATCH, what, "sum", ours, theirs, RepairAction.REFUNDS)
    elif theirs.amount < refunded:
        yield Mismatch(_K.REFUND_MISMATCH, N_("less went back than our books say"), "sum", ours, theirs)


def _disputes(ours: LocalRecord, of_kind: dict[LineKind, list[ProviderRecord]]) -> Iterator[Mismatch]:
    for record in of_kind.get(LineKind.DISPUTE, []):
        if ours.dispute is None or (record.dispute is not None and not _same_dispute(ours.dispute, record)):
            what = (
                N_("a dispute that our books do not have")
                if ours.dispute is None
                else N_("the dispute went on")
            )
            yield Mismatch(_K.STATUS_MISMATCH, what, record.ref, ours, record, RepairAction.DISPUTE)


def _same_dispute(ours: tuple[str, DisputeState], theirs: ProviderRecord) -> bool:
    """Return whether our books have a dispute's state, or another dispute that weighs as much."""
    if theirs.dispute is None:
        return False
    if ours[0] != theirs.ref:
        return theirs.dispute.weight <= ours[1].weight
    return ours[1] is theirs.dispute or (ours[1].is_open and theirs.dispute.is_open)


def _alone(ours: LocalRecord) -> Iterator[Mismatch]:
    """Yield the mismatches within our own books."""
    if isinstance(ours.status, UnknownLabel):
        return
    if ours.status is not PaymentStatus.COMPLETED:
        if ours.place is RegistrationState.TAKEN:
            what = N_("the participant counts as paid, the payment is not")
            yield Mismatch(_K.PARTICIPANT_MISMATCH, what, ours.reference, ours, None)
        return
    if ours.late:
        yield Mismatch(_K.LATE_PAYMENT, N_("it came after the end"), ours.reference, ours, None)
    free = ours.place is RegistrationState.FREE and not ours.refunds
    if ours.place is RegistrationState.OTHER or (ours.duplicate and not free):
        yield Mismatch(
            _K.DUPLICATE_PAYMENT, N_("another payment settles the fee"), ours.reference, ours, None
        )
    elif ours.place is RegistrationState.FREE:
        what = N_("the participant was not activated")
        yield Mismatch(_K.PARTICIPANT_MISMATCH, what, ours.reference, ours, None, RepairAction.PLACE)
    elif ours.place is RegistrationState.GONE:
        what = N_("the participant is gone, or registered elsewhere")
        yield Mismatch(_K.PARTICIPANT_MISMATCH, what, ours.reference, ours, None)
