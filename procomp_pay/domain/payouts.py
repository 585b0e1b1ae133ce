"""Match payouts of providers to lines of the bank's statement: to the tiyn, and never by a guess."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.text import N_

#: Days after the expected one in which the money may arrive: weekends, and the longest holidays.
WITHIN_DAYS = 7
#: Days after the expected one from which a payout that did not arrive is called missing.
MISSING_AFTER_DAYS = 5
#: The most payouts that a bank may credit by one line, such as those of a long weekend.
MOST_TOGETHER = 7
#: Days around a line's own within which a day that it names is that of a payout; a contract's is older.
_NEAR_DAYS = 31
_PAYOUT_ID = re.compile(r"(?<![a-z0-9])po_[a-z0-9]+")
_DAY = re.compile(r"(?<!\d)(?:(\d\d)[./](\d\d)[./](\d{4}|\d\d)|(\d{4})-(\d\d)-(\d\d))(?!\d)")
#: How banks write the names of providers.
_NAMES = {"kaspi": ("kaspi", "каспи", "caspkzka"), "stripe": ("stripe",)}
#: Stripe's words for a payout that does not arrive.
_ENDED = frozenset({"failed", "canceled"})
#: Stripe's reporting category of what puts a failed payout on the balance again.
REVERSAL = "payout_reversal"
#: Stripe's reporting categories that are the account's own costs, of no payment.
COSTS = frozenset({"fee", "network_cost", "tax", "stripe_fee", "stripe_fx_fee", "tax_fee"})


class PayoutState(StrEnum):
    """Where the money of a payout is."""

    ON_THE_WAY = "on_the_way"
    ARRIVED = "arrived"
    MISSING = "missing"  # it should have arrived, and the bank's files of those days do not show it
    NO_BANK_LINES = "no_bank_lines"  # it should have arrived, and no file of the bank covers those days
    FAILED = "failed"  # the provider took it back: the money is on its balance again
    RETURNED = "returned"  # it arrived, and then failed: the bank must have sent it back
    DIFFERS = "differs"  # the bank's line and what it was matched with are not the same sum any more
    NOTHING_DUE = "nothing_due"  # payments and refunds were the same sum


#: No line of the bank is known for a payout whose money is to come.
NOT_ARRIVED = frozenset({PayoutState.ON_THE_WAY, PayoutState.MISSING, PayoutState.NO_BANK_LINES})


@dataclass(frozen=True, slots=True)
class BankLine:
    """A line of a bank's statement; ``amount`` is negative for money that left the account."""

    account: str
    booked_on: date
    amount: Decimal
    currency: str
    number: str = ""
    party: str = ""
    purpose: str = ""

    @property
    def text(self) -> str:
        """Return all that the bank wrote about it."""
        return " ".join(filter(None, (self.number, self.party, self.purpose)))


@dataclass(frozen=True, slots=True)
class BankFileRead:
    """A file of the bank that was read; ``first`` and ``last`` are the days of which it has all lines."""

    read_at: datetime
    first: date | None
    last: date | None


@dataclass(frozen=True, slots=True)
class BalanceLine:
    """A movement on a provider's balance.

    :param ref: unique among the provider's movements of its kind.
    :param category: the provider's word for it.
    :param source: the object that moved it: ``ch_…``, ``re_…``, a Kaspi operation number.
    :param payment_refs: numbers by which our payment may be found.
    """

    kind: LineKind
    ref: str
    category: str
    amount: Decimal
    fee: Decimal
    net: Decimal
    currency: str
    at: datetime
    description: str = ""
    source: str = ""
    payment_refs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Expected:
    """A payout whose money is looked for.

    :param words: what only a line about this payout says: its id, or its day.
    """

    payout_id: str
    provider: str
    currency: str
    amount: Decimal
    expected_on: date
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Credit:
    """A line of the bank that belongs to no payout yet."""

    line_id: str
    booked_on: date
    currency: str
    amount: Decimal
    text: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """Payouts that arrived by one line. ``how`` says what proved it."""

    payout_ids: tuple[str, ...]
    line_id: str
    how: str


@dataclass(frozen=True, slots=True)
class Question:
    """Lines and payouts that fit each other in several ways, or that name each other and differ."""

    payout_ids: tuple[str, ...]
    line_ids: tuple[str, ...]
    why: str


def days_of(day: date) -> tuple[str, ...]:
    """Return how a bank writes a day."""
    return (f"{day:%d.%m.%Y}", f"{day:%d.%m.%y}", f"{day:%Y-%m-%d}", f"{day:%d/%m/%Y}")


def names_provider(text: str, provider: str) -> bool:
    """Return whether a line names the provider."""
    lower = text.casefold()
    return any(name in lower for name in _NAMES.get(provider, (provider,)))


def provider_of(text: str) -> str | None:
    """Return the provider that a line names; ``None`` for none."""
    return next((provider for provider in _NAMES if names_provider(text, provider)), None)


def state_of(
    status: str,
    amount: Decimal,
    expected_on: date,
    today: date,
    *,
    arrived: Decimal | None,
    due: Decimal,
    covered: bool,
) -> PayoutState:
    """Return where a payout's money is.

    :param arrived: the amount of the bank's line that it was matched with. :param due: the sum of all payouts
        that were matched with that line. :param covered: what :func:`is_covered` returns.
    """
    if arrived is not None:
        if status in _ENDED:
            return PayoutState.RETURNED
        return PayoutState.ARRIVED if arrived == due else PayoutState.DIFFERS
    if status in _ENDED:
        return PayoutState.FAILED
    if not amount:
        return PayoutState.NOTHING_DUE
    if today <= awaited_until(expected_on):
        return PayoutState.ON_THE_WAY
    return PayoutState.MISSING if covered else PayoutState.NO_BANK_LINES


def awaited_until(expected_on: date) -> date:
    """Return the last day on which a payout may arrive without being missing."""
    return expected_on + timedelta(days=MISSING_AFTER_DAYS)


def is_covered(expected_on: date, files: Sequence[BankFileRead]) -> bool:
    """Return whether files of the bank cover every day on which a payout should have arrived."""
    days = range(expected_on.toordinal(), awaited_until(expected_on).toordinal() + 1)
    return all(
        any(file.first <= day <= file.last for file in files if file.first and file.last)
        for day in map(date.fromordinal, days)
    )


def due_on(provider: str, expected_on: date) -> date:
    """Return the day on whose evening a payout should be at the bank: the arrival that Stripe names. Kaspi
    pays a day out on a later one."""
    return expected_on + timedelta(days=1) if provider == "kaspi" else expected_on


def is_open_on(
    day: date, state: PayoutState, due: date, failed_on: date | None, *, followed: bool = True
) -> bool:
    """Return whether a payout keeps the closing of a day open: it is due and did not arrive, or with another
    sum; or it failed on that day (the provider pays its money out again). What is due later does not.

    :param followed: whether any statement of the bank was given: without, nobody can know what arrived.
    """
    if state in (PayoutState.FAILED, PayoutState.RETURNED):
        return day == (failed_on or due)
    is_late = state in NOT_ARRIVED or state is PayoutState.DIFFERS
    return followed and due <= day and is_late


def match(payouts: Sequence[Expected], lines: Sequence[Credit]) -> tuple[list[Match], list[Question]]:
    """Match payouts and lines that belong to each other beyond doubt; name those that are in doubt.

    In this order: a line that names its payout; the only payout and the only line that fit each other by
    amount, currency and days, if the line names the provider and neither another payout nor another day; of
    several of one sum those of the same day, if that settles all of them; and one line for several payouts in
    a row.
    """
    matches: list[Match] = []
    questions: list[Question] = []
    open_payouts = {payout.payout_id: payout for payout in payouts if payout.amount}
    open_lines = {line.line_id: line for line in lines}

    def settle(found: Iterable[Match]) -> None:
        for each in found:
            matches.append(each)
            del open_lines[each.line_id]
            for payout_id in each.payout_ids:
                del open_payouts[payout_id]

    by_reference, differing = _by_reference(list(open_payouts.values()), list(open_lines.values()))
    settle(by_reference)
    questions += [question for question in differing if question.line_ids[0] in open_lines]
    by_amount, unclear = _by_amount(list(open_payouts.values()), list(open_lines.values()))
    settle(by_amount)
    questions += unclear
    asked = {line_id for question in questions for line_id in question.line_ids}
    rest = [line for line in open_lines.values() if line.line_id not in asked]
    together, several = _together(list(open_payouts.values()), rest)
    settle(together)
    return matches, questions + several


def _fits(payout: Expected, line: Credit) -> bool:
    """Return whether a line may be about a payout, whatever its amount."""
    named = provider_of(line.text)
    in_time = 0 <= (line.booked_on - payout.expected_on).days <= WITHIN_DAYS
    return payout.currency == line.currency and in_time and named in (None, payout.provider)


def _is_named(payout: Expected, line: Credit) -> bool:
    """Return whether a line names a payout. The line's own day is no name: it may be that of the document;
    nor is any day in a line that does not name the provider."""
    own = days_of(line.booked_on)
    is_from_provider = provider_of(line.text) is not None
    return any(
        word in line.text
        for word in payout.words
        if word not in own and (is_from_provider or not _days_in(word))
    )


def _names_another(payouts: Iterable[Expected], line: Credit) -> bool:
    """Return whether a line names a payout, or a day of payouts, that is none of these."""
    words = [word.casefold() for payout in payouts for word in payout.words]
    # a bank may cut an id
    named = _PAYOUT_ID.findall(line.text.casefold())
    if not all(any(word.startswith(one) for word in words) for one in named):
        return True
    days = {day for word in words for day in _days_in(word)}
    return bool(days) and any(
        day not in days and day != line.booked_on and abs((line.booked_on - day).days) <= _NEAR_DAYS
        for day in _days_in(line.text)
    )


def may_be_same(one: str, other: str, booked_on: date) -> bool:
    """Return whether two texts may be about one credit: they name no different provider, payout or day."""
    providers = {provider_of(one), provider_of(other)} - {None}
    ids = [set(_PAYOUT_ID.findall(text.casefold())) for text in (one, other)]
    # a day far away is that of a contract
    days = [
        {day for day in _days_in(text) if 0 < abs((day - booked_on).days) <= _NEAR_DAYS}
        for text in (one, other)
    ]
    # a bank may cut an id
    same_id = any(a.startswith(b) or b.startswith(a) for a in ids[0] for b in ids[1])
    return len(providers) < 2 and (same_id or not all(ids)) and bool(days[0] & days[1] or not all(days))


def _days_in(text: str) -> set[date]:
    """Return the days that a text names."""
    found = set()
    for match_ in _DAY.finditer(text):
        day, month, year, *iso = match_.groups()
        if day is None:
            year, month, day = iso
        try:
            found.add(date(int(year) + (2000 if len(year) == 2 else 0), int(month), int(day)))
        except ValueError:  # a number that only looks like a day
            continue
    return found


def _by_reference(payouts: list[Expected], lines: list[Credit]) -> tuple[list[Match], list[Question]]:
    matches, questions, used = [], [], set()
    for line in lines:
        named = [p for p in payouts if p.payout_id not in used and _fits(p, line) and _is_named(p, line)]
        equal = [p for p in named if p.amount == line.amount]
        if len(equal) == 1:
            matches.append(Match((equal[0].payout_id,), line.line_id, "reference"))
            used.add(equal[0].payout_id)
        elif (
            len(named) == 1
            and not equal
            and not any(word in days_of(named[0].expected_on) for word in named[0].words)
        ):
            short = line.amount - named[0].amount
            questions.append(
                Question(
                    (named[0].payout_id,),
                    (line.line_id,),
                    N_("the bank's sum differs by %(sum)s", sum=f"{short:+.2f}"),
                )
            )
    return matches, questions


def _by_amount(payouts: list[Expected], lines: list[Credit]) -> tuple[list[Match], list[Question]]:
    matches: list[Match] = []
    questions: list[Question] = []
    of_line = {
        line.line_id: {
            p.payout_id
            for p in payouts
            if p.amount == line.amount and _fits(p, line) and not _names_another([p], line)
        }
        for line in lines
    }
    from_nobody = {line.line_id for line in lines if provider_of(line.text) is None}
    days = {p.payout_id: p.expected_on for p in payouts}
    booked = {line.line_id: line.booked_on for line in lines}
    for line_ids, payout_ids in _groups(of_line):
        if from_nobody.issuperset(line_ids):
            why = N_("the sum fits, but the line does not name the provider")
            questions.append(Question(tuple(payout_ids), tuple(line_ids), why))
            continue
        if len(line_ids) == len(payout_ids) == 1:
            matches.append(Match(tuple(payout_ids), line_ids[0], "amount"))
            continue
        same_day = {
            line_id: [p for p in payout_ids if p in of_line[line_id] and days[p] == booked[line_id]]
            for line_id in line_ids
        }
        chosen = {found[0] for found in same_day.values() if len(found) == 1}
        if len(chosen) == len(line_ids) == len(payout_ids) and from_nobody.isdisjoint(line_ids):
            matches += [Match((found[0],), line_id, "amount and day") for line_id, found in same_day.items()]
        else:
            why = N_("several payouts or lines of the same sum fit")
            questions.append(Question(tuple(payout_ids), tuple(line_ids), why))
    return matches, questions


def _groups(of_line: dict[str, set[str]]) -> Iterable[tuple[list[str], list[str]]]:
    """Yield the lines and payouts that are connected by what may belong together."""
    left = {line_id: found for line_id, found in of_line.items() if found}
    while left:
        first = next(iter(left))
        line_ids, payout_ids = [first], set(left.pop(first))
        grown = True
        while grown:
            more = [line_id for line_id, found in left.items() if found & payout_ids]
            grown = bool(more)
            for line_id in more:
                line_ids.append(line_id)
                payout_ids |= left.pop(line_id)
        yield line_ids, sorted(payout_ids)


def _together(payouts: list[Expected], lines: list[Credit]) -> tuple[list[Match], list[Question]]:
    """Match a line that names a provider with several of its payouts in a row."""
    matches: list[Match] = []
    questions: list[Question] = []
    used: set[str] = set()
    found: dict[str, list[tuple[str, ...]]] = {}
    for line in lines:
        provider = provider_of(line.text)
        row = sorted(
            (p for p in payouts if p.provider == provider and _fits(p, line)),
            key=lambda payout: (payout.expected_on, payout.payout_id),
        )
        by_id = {p.payout_id: p for p in row}
        runs = [
            run for run in _runs(row, line.amount) if not _names_another([by_id[key] for key in run], line)
        ]
        if runs:
            found[line.line_id] = runs
    for line_id, runs in found.items():
        others = {p for other, their in found.items() if other != line_id for run in their for p in run}
        if len(runs) == 1 and not (set(runs[0]) & (others | used)):
            matches.append(Match(runs[0], line_id, "sum of several"))
            used.update(runs[0])
        else:
            all_of_them = tuple(dict.fromkeys(p for run in runs for p in run))
            questions.append(Question(all_of_them, (line_id,), N_("several sums of payouts fit")))
    return matches, questions


def _runs(row: list[Expected], amount: Decimal) -> list[tuple[str, ...]]:
    runs = []
    for start in range(len(row)):
        for end in range(start + 2, min(len(row), start + MOST_TOGETHER) + 1):
            if sum(payout.amount for payout in row[start:end]) == amount:
                runs.append(tuple(payout.payout_id for payout in row[start:end]))
    return runs
