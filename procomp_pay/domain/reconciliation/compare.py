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

from procomp_pay.domain.reconciliation.records import Finding, OurRefund, Ours, Place, Repair, Stand, Theirs
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.refunds import DisputeState, RefundState, is_of_a_sum
from procomp_pay.domain.states import OPEN_STATUSES, PAID_STATUSES, PaymentStatus
from procomp_pay.domain.transitions import DiscrepancyKind

_K = DiscrepancyKind
_T = TypeVar("_T", Ours, Theirs)


def match(ours: Iterable[Ours], theirs: Iterable[Theirs]) -> Iterator[Finding]:
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
            yield from judge(payment, list(group[1]))
            group = next(groups, None)
        else:
            yield from judge(payment, [])
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


def _unknown(group: list[Theirs]) -> Iterator[Finding]:
    """Money at the provider that is of no payment of ours. What never came is nobody's business."""
    told: set[str] = set()
    for each in group:
        if each.kind is LineKind.OTHER or each.stand is not Stand.PAID or each.mark in told:
            continue
        told.add(each.mark)
        what = f"a {each.kind.value} that is not in our books"
        if each.candidates:
            one = len(each.candidates) == 1
            what = "it fits a payment that is over" if one else "several payments fit it"
        yield Finding(_K.MISSING_LOCALLY, what, each.mark, None, each)


def judge(ours: Ours, group: list[Theirs]) -> Iterator[Finding]:
    """What differs for one payment."""
    if ours.moving:
        return
    of_kind: dict[LineKind, list[Theirs]] = {}
    for each in _once(group):
        of_kind.setdefault(each.kind, []).append(each)
    yield from _payment(ours, of_kind.get(LineKind.PAYMENT, []))
    failed = {each.ref for each in of_kind.get(LineKind.REFUND_FAILED, [])}
    yield from _refunds(ours, _after_failures(of_kind.get(LineKind.REFUND, []), failed))
    yield from _disputes(ours, of_kind)
    yield from _alone(ours)


def _once(group: list[Theirs]) -> Iterator[Theirs]:
    """Two files that overlap tell the same line twice: that is one."""
    told: set[tuple[object, ...]] = set()
    for each in group:
        # parts of one amount may both stand under the purchase's number: then their times tell them apart
        part = each.at if each.kind is LineKind.REFUND and each.payment_ref is None else None
        same = (each.kind, each.ref, each.amount, each.currency, each.stand, part)
        if same not in told:
            told.add(same)
            yield each


def _after_failures(refunds: list[Theirs], failed: set[str]) -> list[Theirs]:
    return [replace(each, stand=Stand.ENDED) if each.ref in failed else each for each in refunds]


def _payment(ours: Ours, payments: list[Theirs]) -> Iterator[Finding]:
    settled, still_open = ours.status in PAID_STATUSES, ours.status in OPEN_STATUSES
    paid = sorted(
        (each for each in payments if each.stand is Stand.PAID),
        key=lambda each: (ours.mark_of(each) != ours.mark, each.ref != ours.number, each.at, each.ref),
    )
    if paid:
        yield from _paid(ours, paid[0], settled=settled)
        for extra in paid[1:]:
            if extra.mark == paid[0].mark and extra.ref == paid[0].ref:
                yield from _money(ours, extra)  # the same operation, told with two amounts
            else:
                # two operations of one QR are told apart by their numbers alone
                mark = extra.ref if extra.mark == paid[0].mark else extra.mark
                yield Finding(_K.DUPLICATE_PAYMENT, "paid twice at the provider", mark, ours, extra)
        return
    if payments and settled:
        mark = ours.mark_of(payments[0])
        yield Finding(_K.STATUS_MISMATCH, "not paid at the provider", mark, ours, payments[0])
    elif payments and still_open and all(each.stand is Stand.ENDED for each in payments):
        ended = payments[-1]
        yield Finding(_K.STATUS_MISMATCH, "over at the provider", ended.mark, ours, ended, Repair.ASK)
    elif settled and not payments and ours.expected:
        yield Finding(_K.MISSING_AT_PROVIDER, "the provider does not have it", ours.mark, ours, None)
    elif ours.overdue and not settled and not (payments and payments[-1].stand is Stand.ENDED):
        seen = payments[0] if payments else None
        yield Finding(_K.STUCK, "open beyond its life", ours.mark, ours, seen, Repair.ASK)


def _paid(ours: Ours, theirs: Theirs, *, settled: bool) -> Iterator[Finding]:
    wrong = list(_money(ours, theirs))
    yield from wrong
    if not wrong and not settled:
        yield Finding(_K.STATUS_MISMATCH, "paid at the provider", theirs.mark, ours, theirs, Repair.ASK)


def _money(ours: Ours, theirs: Theirs) -> Iterator[Finding]:
    if theirs.currency is not None and theirs.currency != ours.money.currency:
        yield Finding(_K.CURRENCY_MISMATCH, "another currency", ours.mark_of(theirs), ours, theirs)
    elif theirs.amount is not None and theirs.amount != ours.money.amount:
        yield Finding(_K.AMOUNT_MISMATCH, "another amount", ours.mark_of(theirs), ours, theirs)


def _refunds(ours: Ours, theirs: list[Theirs]) -> Iterator[Finding]:
    sums = [each for each in theirs if each.total]
    if sums:
        yield from _refund_sum(ours, sums[-1])
        return
    left = list(ours.refunds)
    strangers: list[Theirs] = []
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
            yield Finding(_K.REFUND_MISMATCH, what, mark, ours, None, None, lonely)


def _within_sums(ours: Ours, sums: list[OurRefund], theirs: list[Theirs]) -> Iterator[Finding]:
    """Kaspi's sum had shown what went back in its app; a statement's lines now tell the single refunds of
    it. Counted once more they would be money that never went."""
    back = [each for each in theirs if each.stand is Stand.PAID and each.currency == ours.money.currency]
    if sum(each.amount or 0 for each in back) == sum(each.amount for each in sums):
        return
    for each in back:
        what = "it may be part of a refund that our books have as one sum"
        yield Finding(_K.REFUND_MISMATCH, what, each.ref, ours, each)


def _pair(left: list[OurRefund], theirs: Theirs) -> OurRefund | None:
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
    Stand.PAID: (RefundState.SUCCEEDED, RefundState.PENDING),
    Stand.OPEN: (RefundState.PENDING,),
    Stand.ENDED: (RefundState.FAILED, RefundState.CANCELLED, RefundState.PENDING),
}


def _refund(ours: Ours, known: OurRefund | None, theirs: Theirs) -> Iterator[Finding]:
    if known is None:
        if theirs.stand is not Stand.ENDED:
            what = "a refund that our books do not have"
            yield Finding(_K.REFUND_MISMATCH, what, theirs.ref, ours, theirs, Repair.REFUNDS)
        return
    if theirs.amount != known.amount or theirs.currency != ours.money.currency:
        yield Finding(_K.REFUND_MISMATCH, "another amount went back", theirs.ref, ours, theirs)
    elif theirs.stand is Stand.PAID and known.state is not RefundState.SUCCEEDED:
        what = "the refund went through"
        yield Finding(_K.REFUND_MISMATCH, what, theirs.ref, ours, theirs, Repair.REFUNDS, known)
    elif theirs.stand is Stand.ENDED and known.state in (RefundState.SUCCEEDED, RefundState.PENDING):
        what = "the refund failed"
        yield Finding(_K.REFUND_MISMATCH, what, theirs.ref, ours, theirs, Repair.REFUNDS, known)


def _refund_sum(ours: Ours, theirs: Theirs) -> Iterator[Finding]:
    """Where a provider tells one sum, a refund of ours whose outcome is unknown may be part of it."""
    if any(each.state is RefundState.PENDING for each in ours.refunds) or theirs.amount is None:
        return
    gone = sum((e.amount for e in ours.refunds if e.state is RefundState.SUCCEEDED), Decimal("0.00"))
    if theirs.amount > gone:
        what = "more went back than our books say"
        yield Finding(_K.REFUND_MISMATCH, what, "sum", ours, theirs, Repair.REFUNDS)
    elif theirs.amount < gone:
        yield Finding(_K.REFUND_MISMATCH, "less went back than our books say", "sum", ours, theirs)


def _disputes(ours: Ours, of_kind: dict[LineKind, list[Theirs]]) -> Iterator[Finding]:
    for each in of_kind.get(LineKind.DISPUTE, []):
        if ours.dispute is None or (each.dispute is not None and not _same_dispute(ours.dispute, each)):
            what = "a dispute that our books do not have" if ours.dispute is None else "the dispute went on"
            yield Finding(_K.STATUS_MISMATCH, what, each.ref, ours, each, Repair.DISPUTE)


def _same_dispute(ours: tuple[str, DisputeState], theirs: Theirs) -> bool:
    if theirs.dispute is None or ours[0] != theirs.ref:
        return False
    return ours[1] is theirs.dispute or (ours[1].is_open and theirs.dispute.is_open)


def _alone(ours: Ours) -> Iterator[Finding]:
    """What does not agree within our own books."""
    if ours.status is not PaymentStatus.COMPLETED:
        if ours.place is Place.TAKEN:
            what = "the participant counts as paid, the payment is not"
            yield Finding(_K.PARTICIPANT_MISMATCH, what, ours.mark, ours, None)
        return
    if ours.late:
        yield Finding(_K.LATE_PAYMENT, "it came after the end", ours.mark, ours, None)
    free = ours.place is Place.FREE and not ours.refunds
    if ours.place is Place.OTHER or (ours.duplicate and not free):
        yield Finding(_K.DUPLICATE_PAYMENT, "another payment settles the fee", ours.mark, ours, None)
    elif ours.place is Place.FREE:
        what = "the participant was not activated"
        yield Finding(_K.PARTICIPANT_MISMATCH, what, ours.mark, ours, None, Repair.PLACE)
    elif ours.place is Place.GONE:
        what = "the participant is gone, or registered elsewhere"
        yield Finding(_K.PARTICIPANT_MISMATCH, what, ours.mark, ours, None)
