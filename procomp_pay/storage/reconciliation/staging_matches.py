"""Find repeated names among millions in constant memory; match unnumbered Kaspi lines by amount and time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import compress
from typing import TYPE_CHECKING, Any

from procomp_pay.domain import payment_code
from procomp_pay.domain.errors import NotFound
from procomp_pay.domain.kaspi_schedule import schedule_for
from procomp_pay.domain.reconciliation.amount_time_match import PossibleMatch, match_certain
from procomp_pay.domain.states import Channel
from procomp_pay.storage.models import exact_json
from procomp_pay.storage.reconciliation import staging_sql as sql
from procomp_pay.storage.reconciliation.discrepancies import (
    operations_in,
    unapplied_numbers,
    was_decided,
)

if TYPE_CHECKING:
    from procomp_pay.storage.reconciliation.staging_engines import Engine

#: With more pairs than this the lines cannot be told apart: they are probably another merchant's.
MOST_PAIRS = 100_000


async def match_by_amount_and_time(engine: Engine) -> None:
    """Assign a payment to each line if :func:`match_certain` is certain; otherwise store the candidates.

    Money about which somebody decided while it was nobody's is not assigned: it may have been given back.
    """
    decided: set[str] = set()
    for resolution, text in await engine.rows(sql.DECIDED_ROWS, {}):
        if was_decided(resolution, detail := exact_json.loads(text)):
            decided |= unapplied_numbers(detail)
    if decided:
        await engine.fill("decided_number", [(number,) for number in decided])
        await engine.run(sql.DECIDED, {})
    for statement in (sql.UNMATCHED_LINES, *sql.unidentified_payments(engine.later)):
        await engine.run(statement, {})
    rows = await engine.rows(sql.pairs(engine.later), {"most": MOST_PAIRS})
    if len(rows) == MOST_PAIRS:
        return
    certain, doubtful = match_certain(_possible_match(engine, row) for row in rows)
    for match, payment_id in certain.items():
        await engine.run(sql.RESOLVED, {"match": match, "id": payment_id})
    for match, names in doubtful.items():
        await engine.run(sql.CANDIDATES, {"match": match, "names": " ".join(names)})


async def match_by_discrepancy(engine: Engine) -> None:
    """Assign the payment for which a line's money came without settling it: a discrepancy tells of it, and as
    money of nobody it would be given back a second time."""
    other_money = {
        number: payment_id
        for payment_id, detail in await engine.rows(sql.OTHER_MONEY_ROWS, {})
        for number in operations_in(exact_json.loads(detail))
    }
    if other_money:
        await engine.fill("other_money", list(other_money.items()))
        await engine.run(sql.BY_OTHER_MONEY, {})


async def match_by_order(engine: Engine) -> None:
    """Assign the payment whose id Kaspi was given as the order number, and bill payments by their account.

    Two bill payments that fit one line, or two lines that fit one, are stored as candidates.
    """
    for match, hint in await engine.rows(sql.WITH_ORDERS, {}):
        for word in _order_words(hint):
            await engine.run(sql.ORDER_WORD, {"match": match, "word": word})
    await engine.run(sql.BY_ORDER, {})
    bills: dict[str, list[str]] = {}
    lines: Counter[str] = Counter()
    for match, payment_id in await engine.rows(sql.bills(engine.later), {}):
        bills.setdefault(match, []).append(payment_id)
        lines[payment_id] += 1
    for match, names in bills.items():
        if len(names) == 1 and lines[names[0]] == 1:
            await engine.run(sql.RESOLVED, {"match": match, "id": names[0]})
        else:
            await engine.run(sql.CANDIDATES, {"match": match, "names": " ".join(sorted(names))})


def _order_words(hint: str) -> set[str]:
    """Return the words of a line's details, and the short codes that they may be."""
    words = set(hint.split())
    for word in list(words):
        with suppress(NotFound):
            words.add(payment_code.read(word))
    return words


def _possible_match(engine: Engine, row: Any) -> PossibleMatch:
    match, at, payment_id, can_be_paid, channel, created, sent, expires, scanned, scan_s, confirm_s = row
    born, time = engine.time(created), engine.time
    life = schedule_for(
        Channel(channel),
        time(sent) if sent else born,
        expires_at=time(expires) if expires else None,
        scanned_at=time(scanned) if scanned else None,
        scan_timeout_s=scan_s,
        confirm_timeout_s=confirm_s,
    )
    return PossibleMatch(match, time(at), payment_id, born, life, bool(can_be_paid))


#: Bytes of the table. Of a million names about 3 % collide with another one.
SIZE = 1 << 24
#: With more names than this, none are kept, and the database checks all lines.
MOST = 100_000


class Repeats:
    """Names that may occur more than once.

    The table has a byte for each hash of a name. If it is set already, the name *may* be a second line of the
    same payment, which the database then checks. That is ten times faster than grouping a million lines.
    """

    def __init__(self) -> None:
        self.mask = SIZE - 1
        self.seen = bytearray(SIZE)
        #: Every name that occurred twice, and some that did not.
        self._repeated: set[str] = set()
        self._are_too_many = False

    @property
    def repeated(self) -> set[str] | None:
        """Return the names that may be repeated; ``None`` if there are too many."""
        return None if self._are_too_many else self._repeated

    def again(self, name: str) -> None:
        """Add a name whose slot in the table was set already."""
        self._keep([name])

    def note_all(self, names: Sequence[str]) -> None:
        """Take names in, with as few steps for each as can be: there may be millions."""
        seen = self.seen
        places = list(map(self.mask.__and__, map(hash, names)))
        before = list(map(seen.__getitem__, places))
        if 1 in before:
            self._keep(compress(names, before))
        if len(set(places)) < len(places):
            twice = {place for place, count in Counter(places).items() if count > 1}
            self._keep(compress(names, map(twice.__contains__, places)))
        for place in places:
            seen[place] = 1

    def _keep(self, names: Iterable[str]) -> None:
        if not self._are_too_many:
            self._repeated.update(names)
            if len(self._repeated) > MOST:
                self._repeated, self._are_too_many = set(), True
