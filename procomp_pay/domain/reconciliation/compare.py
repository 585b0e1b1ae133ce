"""Our books against a provider's: two streams in the same order in, what does not agree out.

Pure, and flat in memory: one payment's entries are held at a time. :func:`match` says what differs and which
differences the desk may repair by itself; nothing here knows a database or a provider.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from decimal import Decimal
from itertools import groupby
from typing import TypeVar

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
from procomp_pay.domain.refunds import DisputeState, RefundState, is_of_a_sum
from procomp_pay.domain.states import OPEN_STATUSES, PAID_STATUSES, PaymentStatus
from procomp_pay.domain.transitions import DiscrepancyKind

_K = DiscrepancyKind
_T = TypeVar("_T", LocalRecord, ProviderRecord)


def match(ours: Iterable[LocalRecord], theirs: Iterable[ProviderRecord]) -> Iterator[Mismatch]:
    """What differs between two streams that are ordered by key; ``theirs`` may say several things of one.

    :raises ValueError: a stream that is out of order: everything found in it would be wrong.
    """
    groups = groupby(_ordered(theirs, strictly=False), key=lambda each: each.key)
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
    """Money at the provider that is of no payment of ours. What never came is nobody's business."""
    told: set[str] = set()
    for each in group:
        if each.kind is LineKind.OTHER or each.stand is not ProviderState.PAID or each.reference in told:
            continue
        told.add(each.reference)
        what = f"a {each.kind.value} that is not in our books"
        if each.candidates:
            one = len(each.candidates) == 1
            what = "it fits a payment that is over" if one else "several payments fit it"
        yield Mismatch(_K.MISSING_LOCALLY, what, each.reference, None, each)


def compare_payment(ours: LocalRecord, group: list[ProviderRecord]) -> Iterator[Mismatch]:
    """What differs for one payment."""
    if ours.changed_since_read:
        return
    of_kind: dict[LineKind, list[ProviderRecord]] = {}
    for each in _once(group):
        of_kind.setdefault(each.kind, []).append(each)
    yield from _payment(ours, of_kind.get(LineKind.PAYMENT, []))
    failed = {each.ref for each in of_kind.get(LineKind.REFUND_FAILED, [])}
    yield from _refunds(ours, _after_failures(of_kind.get(LineKind.REFUND, []), failed))
    yield from _disputes(ours, of_kind)
    yield from _alone(ours)


def _once(group: list[ProviderRecord]) -> Iterator[ProviderRecord]:
    """Two files that overlap tell the same line twice: that is one."""
    told: set[tuple[object, ...]] = set()
    for each in group:
        # parts of one amount may both stand under the purchase's number: then their times tell them apart
        part = each.at if each.kind is LineKind.REFUND and each.payment_ref is None else None
        same = (each.kind, each.ref, each.amount, each.currency, each.stand, part)
        if same not in told:
            told.add(same)
            yield each


def _after_failures(refunds: list[ProviderRecord], failed: set[str]) -> list[ProviderRecord]:
    return [replace(each, stand=ProviderState.ENDED) if each.ref in failed else each for each in refunds]


def _payment(ours: LocalRecord, payments: list[ProviderRecord]) -> Iterator[Mismatch]:
    settled, still_open = ours.status in PAID_STATUSES, ours.status in OPEN_STATUSES
    paid = sorted(
        (each for each in payments if each.stand is ProviderState.PAID),
        key=lambda each: (
            ours.reference_of(each) != ours.reference,
            each.ref != ours.number,
            each.at,
            each.ref,
        ),
    )
    if paid:
        yield from _paid(ours, paid[0], settled=settled)
        for extra in paid[1:]:
            if extra.reference == paid[0].reference and extra.ref == paid[0].ref:
                yield from _money(ours, extra)  # the same operation, told with two amounts
            else:
                # two operations of one QR are told apart by their numbers alone
                mark = extra.ref if extra.reference == paid[0].reference else extra.reference
                yield Mismatch(_K.DUPLICATE_PAYMENT, "paid twice at the provider", mark, ours, extra)
        return
    if payments and settled:
        mark = ours.reference_of(payments[0])
        yield Mismatch(_K.STATUS_MISMATCH, "not paid at the provider", mark, ours, payments[0])
    elif payments and still_open and all(each.stand is ProviderState.ENDED for each in payments):
        ended = payments[-1]
        yield Mismatch(
            _K.STATUS_MISMATCH, "over at the provider", ended.reference, ours, ended, RepairAction.ASK
        )
    elif settled and not payments and ours.expected:
        yield Mismatch(_K.MISSING_AT_PROVIDER, "the provider does not have it", ours.reference, ours, None)
    elif ours.overdue and not settled and not (payments and payments[-1].stand is ProviderState.ENDED):
        seen = payments[0] if payments else None
        yield Mismatch(_K.STUCK, "open beyond its life", ours.reference, ours, seen, RepairAction.ASK)


def _paid(ours: LocalRecord, theirs: ProviderRecord, *, settled: bool) -> Iterator[Mismatch]:
    wrong = list(_money(ours, theirs))
    yield from wrong
    if not wrong and not settled:
        yield Mismatch(
            _K.STATUS_MISMATCH, "paid at the provider", theirs.reference, ours, theirs, RepairAction.ASK
        )


def _money(ours: LocalRecord, theirs: ProviderRecord) -> Iterator[Mismatch]:
    if theirs.currency is not None and theirs.currency != ours.money.currency:
        yield Mismatch(_K.CURRENCY_MISMATCH, "another currency", ours.reference_of(theirs), ours, theirs)
    elif theirs.amount is not None and theirs.amount != ours.money.amount:
        yield Mismatch(_K.AMOUNT_MISMATCH, "another amount", ours.reference_of(theirs), ours, theirs)


def _refunds(ours: LocalRecord, theirs: list[ProviderRecord]) -> Iterator[Mismatch]:
    sums = [each for each in theirs if each.total]
    if sums:
        yield from _refund_sum(ours, sums[-1])
        return
    left = list(ours.refunds)
    strangers: list[ProviderRecord] = []
    for each in theirs:
        ours_of_it = _pair(left, each)
        if ours_of_it is None:
            strangers.append(each)
            continue
        left.remove(ours_of_it)
        yield from _refund(ours, ours_of_it, each)
    sums_of_ours = [each for each in left if is_of_a_sum(each.ref)]
    if strangers and sums_of_ours:
        left = [each for each in left if each not in sums_of_ours]
        yield from _within_sums(ours, sums_of_ours, strangers)
    else:
        for each in strangers:
            yield from _refund(ours, None, each)
    for lonely in left:
        if lonely.state is RefundState.SUCCEEDED and lonely.expected:
            mark = lonely.ref or lonely.refund_id
            what = "the provider does not have the refund"
            yield Mismatch(_K.REFUND_MISMATCH, what, mark, ours, None, None, lonely)


def _within_sums(
    ours: LocalRecord, sums: list[LocalRefund], theirs: list[ProviderRecord]
) -> Iterator[Mismatch]:
    """Kaspi's sum had shown what went back in its app; a statement's lines now tell the single refunds of
    it. Counted once more they would be money that never went."""
    back = [
        each for each in theirs if each.stand is ProviderState.PAID and each.currency == ours.money.currency
    ]
    if sum(each.amount or 0 for each in back) == sum(each.amount for each in sums):
        return
    for each in back:
        what = "it may be part of a refund that our books have as one sum"
        yield Mismatch(_K.REFUND_MISMATCH, what, each.ref, ours, each)


def _pair(left: list[LocalRefund], theirs: ProviderRecord) -> LocalRefund | None:
    """Our refund that theirs is: by id; else by amount, where ours has no id that could disagree."""
    for each in left:
        if theirs.ref == each.ref or (theirs.hint is not None and theirs.hint == each.refund_id):
            return each
    for each in left:
        nameless = each.ref is None or each.ref.startswith("kaspi:")
        if nameless and each.amount == theirs.amount and each.state in _MAY_BE[theirs.stand]:
            return each
    return None


_MAY_BE = {
    ProviderState.PAID: (RefundState.SUCCEEDED, RefundState.PENDING),
    ProviderState.OPEN: (RefundState.PENDING,),
    ProviderState.ENDED: (RefundState.FAILED, RefundState.CANCELLED, RefundState.PENDING),
}


def _refund(ours: LocalRecord, known: LocalRefund | None, theirs: ProviderRecord) -> Iterator[Mismatch]:
    if known is None:
        if theirs.stand is not ProviderState.ENDED:
            what = "a refund that our books do not have"
            yield Mismatch(_K.REFUND_MISMATCH, what, theirs.ref, ours, theirs, RepairAction.REFUNDS)
        return
    if theirs.amount != known.amount or theirs.currency != ours.money.currency:
        yield Mismatch(_K.REFUND_MISMATCH, "another amount went back", theirs.ref, ours, theirs)
    elif theirs.stand is ProviderState.PAID and known.state is not RefundState.SUCCEEDED:
        what = "the refund went through"
        yield Mismatch(_K.REFUND_MISMATCH, what, theirs.ref, ours, theirs, RepairAction.REFUNDS, known)
    elif theirs.stand is ProviderState.ENDED and known.state in (RefundState.SUCCEEDED, RefundState.PENDING):
        what = "the refund failed"
        yield Mismatch(_K.REFUND_MISMATCH, what, theirs.ref, ours, theirs, RepairAction.REFUNDS, known)


def _refund_sum(ours: LocalRecord, theirs: ProviderRecord) -> Iterator[Mismatch]:
    """Where a provider tells one sum, a refund of ours whose outcome is unknown may be part of it."""
    if any(each.state is RefundState.PENDING for each in ours.refunds) or theirs.amount is None:
        return
    gone = sum((e.amount for e in ours.refunds if e.state is RefundState.SUCCEEDED), Decimal("0.00"))
    if theirs.amount > gone:
        what = "more went back than our books say"
        yield Mismatch(_K.REFUND_MISMATCH, what, "sum", ours, theirs, RepairAction.REFUNDS)
    elif theirs.amount < gone:
        yield Mismatch(_K.REFUND_MISMATCH, "less went back than our books say", "sum", ours, theirs)


def _disputes(ours: LocalRecord, of_kind: dict[LineKind, list[ProviderRecord]]) -> Iterator[Mismatch]:
    for each in of_kind.get(LineKind.DISPUTE, []):
        if ours.dispute is None or (each.dispute is not None and not _same_dispute(ours.dispute, each)):
            what = "a dispute that our books do not have" if ours.dispute is None else "the dispute went on"
            yield Mismatch(_K.STATUS_MISMATCH, what, each.ref, ours, each, RepairAction.DISPUTE)


def _same_dispute(ours: tuple[str, DisputeState], theirs: ProviderRecord) -> bool:
    if theirs.dispute is None or ours[0] != theirs.ref:
        return False
    return ours[1] is theirs.dispute or (ours[1].is_open and theirs.dispute.is_open)


def _alone(ours: LocalRecord) -> Iterator[Mismatch]:
    """What does not agree within our own books."""
    if ours.status is not PaymentStatus.COMPLETED:
        if ours.place is RegistrationState.TAKEN:
            what = "the participant counts as paid, the payment is not"
            yield Mismatch(_K.PARTICIPANT_MISMATCH, what, ours.reference, ours, None)
        return
    if ours.late:
        yield Mismatch(_K.LATE_PAYMENT, "it came after the end", ours.reference, ours, None)
    free = ours.place is RegistrationState.FREE and not ours.refunds
    if ours.place is RegistrationState.OTHER or (ours.duplicate and not free):
        yield Mismatch(_K.DUPLICATE_PAYMENT, "another payment settles the fee", ours.reference, ours, None)
    elif ours.place is RegistrationState.FREE:
        what = "the participant was not activated"
        yield Mismatch(_K.PARTICIPANT_MISMATCH, what, ours.reference, ours, None, RepairAction.PLACE)
    elif ours.place is RegistrationState.GONE:
        what = "the participant is gone, or registered elsewhere"
        yield Mismatch(_K.PARTICIPANT_MISMATCH, what, ours.reference, ours, None)
