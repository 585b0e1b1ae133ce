"""Which payment a line of Kaspi's statement is about: pure, and never a guess between two.

A number decides before anything else: an operation number that we recorded, then Kaspi's id of the payment
(QrPaymentId). A line without a number that we know is compared by amount and time, and then only a payment
that nothing else claims, of which no other line could be, is taken. The order of the lines changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from procomp_pay.domain.money import Money
from procomp_pay.domain.statement import LineKind, StatementLine

#: Statements round to the minute, and two clocks differ: so much before a payment's making its line may
#: stand, and so much after its end.
SLACK = timedelta(minutes=2)


class How(StrEnum):
    """What tied a line to its payment; the first is the strongest."""

    OPERATION = "operation"  # the number settled this payment already
    REFUND = "refund"  # the number is that of a refund of this payment
    PAYMENT_ID = "payment_id"  # Kaspi's id of the payment
    AMOUNT_AND_TIME = "amount_and_time"


class Unmatched(StrEnum):
    """Why a line has no payment."""

    NONE_FITS = "none_fits"
    AMBIGUOUS = "ambiguous"  # two payments, or two lines, would do
    NOT_A_PAYMENT = "not_a_payment"  # fees, payouts: nothing to match


@dataclass(frozen=True, slots=True)
class Candidate:
    """A payment that a line could be about.

    :param since, until: its life at Kaspi; between them the customer could pay.
    :param qr_payment_id: Kaspi's id of it, where one is known.
    :param operations: operation numbers that settled it.
    :param refunds: Kaspi's numbers of its refunds.
    """

    payment_id: str
    charged: Money
    since: datetime
    until: datetime
    qr_payment_id: str | None = None
    operations: frozenset[str] = frozenset()
    refunds: frozenset[str] = frozenset()

    def lived_at(self, at: datetime) -> bool:
        """Whether a statement's time falls into its life, with some slack."""
        return self.since - SLACK <= at <= self.until + SLACK


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is certain of one line.

    :param payment_id, how: its payment; ``None`` where there is none for certain.
    :param why: why there is none.
    :param rivals: where it is ambiguous, the payments that could be meant, each of them.
    :param rival_lines: the file's lines that claim the same payment.
    """

    line: StatementLine
    payment_id: str | None = None
    how: How | None = None
    why: Unmatched | None = None
    rivals: tuple[str, ...] = ()
    rival_lines: tuple[int, ...] = ()

    @property
    def is_matched(self) -> bool:
        """It has its payment."""
        return self.payment_id is not None


def decide(line: StatementLine, candidates: Iterable[Candidate]) -> Verdict:
    """What one line says by itself; :func:`match` settles what lines claim together.

    A refund is matched by numbers alone: several may be of one amount on one day.
    """
    if line.kind is LineKind.OTHER:
        return Verdict(line, why=Unmatched.NOT_A_PAYMENT)
    found: dict[How, set[str]] = defaultdict(set)
    for each in candidates:
        how = _tie(line, each)
        if how is not None:
            found[how].add(each.payment_id)
    for how in How:
        if len(found[how]) == 1:
            return Verdict(line, payment_id=next(iter(found[how])), how=how)
        if found[how]:
            return Verdict(line, why=Unmatched.AMBIGUOUS, rivals=tuple(sorted(found[how])))
    return Verdict(line, why=Unmatched.NONE_FITS)


def _tie(line: StatementLine, candidate: Candidate) -> How | None:
    numbers = {number for number in (line.ref, line.payment_ref) if number}
    if line.kind is LineKind.REFUND and numbers & candidate.refunds:
        return How.REFUND
    if numbers & candidate.operations:
        return How.OPERATION
    if candidate.qr_payment_id in numbers:
        return How.PAYMENT_ID
    if line.kind is not LineKind.PAYMENT or candidate.operations:
        return None  # a payment whose number is known has its line elsewhere
    if line.payment_ref and candidate.qr_payment_id:
        return None  # both ids are known, and they differ
    fits = line.money == candidate.charged and candidate.lived_at(line.at)
    return How.AMOUNT_AND_TIME if fits else None


def match(lines: Sequence[StatementLine], candidates: Mapping[int, Sequence[Candidate]]) -> list[Verdict]:
    """Verdicts in the order of ``lines``: no payment has two payment lines, no line two payments.

    :param candidates: for each place in ``lines`` the payments that could be meant.
    """
    verdicts = [decide(line, candidates.get(place, ())) for place, line in enumerate(lines)]
    payments = [place for place, line in enumerate(lines) if line.kind is LineKind.PAYMENT]
    taken: set[str] = set()
    for how in (How.OPERATION, How.PAYMENT_ID):
        claims = _by_payment((place, verdicts[place]) for place in payments if verdicts[place].how is how)
        for payment_id, places in claims.items():
            if payment_id in taken or len(places) > 1:
                _contest(verdicts, places, payment_id)
        taken |= claims.keys()
    _match_by_amount(verdicts, payments, candidates, taken)
    return verdicts


def _match_by_amount(
    verdicts: list[Verdict],
    payments: Sequence[int],
    candidates: Mapping[int, Sequence[Candidate]],
    taken: set[str],
) -> None:
    """The lines without a known number, over the payments that no number has claimed.

    No conclusions are drawn from what is left over: a line may be about no payment of ours.
    """
    fits: dict[int, set[str]] = {}
    for place in payments:
        verdict = verdicts[place]
        by_number = verdict.how in (How.OPERATION, How.PAYMENT_ID) or verdict.rival_lines
        if by_number or verdict.why is Unmatched.NONE_FITS or _ties(verdict, candidates.get(place, ())):
            continue
        free = [each for each in candidates.get(place, ()) if each.payment_id not in taken]
        verdicts[place] = decide(verdict.line, free)
        fits[place] = {each.payment_id for each in free if _tie(verdict.line, each) is not None}
    wanted: dict[str, list[int]] = defaultdict(list)
    for place, payment_ids in fits.items():
        for payment_id in payment_ids:
            wanted[payment_id].append(place)
    for payment_id, places in wanted.items():
        if len(places) > 1:
            matched = [place for place in places if verdicts[place].payment_id == payment_id]
            _contest(verdicts, matched, payment_id, places)


def _ties(verdict: Verdict, candidates: Sequence[Candidate]) -> bool:
    """Whether two payments bear a number of the line: no amount can settle that."""
    return verdict.why is Unmatched.AMBIGUOUS and any(
        _tie(verdict.line, each) not in (None, How.AMOUNT_AND_TIME) for each in candidates
    )


def _by_payment(verdicts: Iterable[tuple[int, Verdict]]) -> dict[str, list[int]]:
    claims: dict[str, list[int]] = defaultdict(list)
    for place, verdict in verdicts:
        if verdict.payment_id is not None:
            claims[verdict.payment_id].append(place)
    return claims


def _contest(
    verdicts: list[Verdict], places: Sequence[int], payment_id: str, rivals: Sequence[int] | None = None
) -> None:
    """Several lines claim one payment: none of them has it."""
    claiming = tuple(sorted(verdicts[place].line.number for place in (places if rivals is None else rivals)))
    for place in places:
        verdicts[place] = Verdict(
            verdicts[place].line, why=Unmatched.AMBIGUOUS, rivals=(payment_id,), rival_lines=claiming
        )
