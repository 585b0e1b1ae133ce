"""A line of a provider's statement, whatever file or API it came from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple, Protocol

from procomp_pay.domain.money import Money


class LineKind(StrEnum):
    """What a line says happened."""

    PAYMENT = "payment"
    REFUND = "refund"
    REFUND_FAILED = "refund_failed"  # a refund came back
    DISPUTE = "dispute"  # money taken by a dispute
    DISPUTE_REVERSED = "dispute_reversed"
    OTHER = "other"  # payouts, fees of their own, adjustments: money, but of no payment of ours


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One line, read and checked.

    :param number: where it stands: 1-based line (CSV) or row (XLSX) of the file; 0 where it came by API.
    :param ref: the line's own id: Kaspi's operation number, Stripe's ``ch_…``, ``re_…`` or ``txn_…``.
    :param payment_ref: the provider's id of its payment (``pi_…``, QrPaymentId), where the line says it.
    :param at: when the money moved, with a zone.
    :param money: gross, always positive; ``kind`` says which way it went.
    :param fee: what the provider kept, in ``money``'s currency; ``None`` where the statement is silent.
    """

    number: int
    kind: LineKind
    ref: str
    at: datetime
    money: Money
    payment_ref: str | None = None
    fee: Decimal | None = None
    net: Decimal | None = None
    description: str = ""

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise ValueError("a statement line's time needs a zone")
        if self.money.amount < 0:
            raise ValueError("a statement line's amount is positive; its kind says which way the money went")


class NotPlain(Exception):
    """A file that cannot be read in blocks; what was read of it so far is to be forgotten."""


class Said(NamedTuple):
    """What many lines of a file say in the same words; the values as in :class:`StatementLine`."""

    kind: LineKind
    money: Money
    fee: Decimal | None
    net: Decimal | None


@dataclass(frozen=True, slots=True)
class LineBlock:
    """Many lines at once, as columns: read and checked as :class:`StatementLine` is, and never made one.

    They are payments and refunds alone. A million lines of which all but a few agree with the books need no
    million objects; the few are read back from where they were laid beside the books.

    :param numbers, refs: as in :class:`StatementLine`; ``refs`` are ASCII letters, digits and ``_``.
    :param matches: what finds the payment of each line: its provider's id, else the line's own.
    :param times: ISO 8601 with the offset.
    :param words: for each line its place in ``said``.
    :param first_at, last_at: the edges of ``times``.
    :param has_fees: a line of it, or of an earlier block, may tell a fee.
    """

    numbers: Sequence[int]
    refs: Sequence[str]
    matches: Sequence[str]
    times: Sequence[str]
    words: Sequence[int]
    said: Sequence[Said]
    first_at: datetime
    last_at: datetime
    has_fees: bool


class Blocks(Protocol):
    """A file that is read once: its plain lines in blocks, then the others, and then the doubt about them."""

    def blocks(self) -> Iterator[LineBlock]:
        """
        :raises NotPlain: read it line by line.
        """
        ...

    def others(self) -> Iterator[StatementLine]:
        """After all :meth:`blocks`.

        :raises NotPlain: as there.
        """
        ...

    def check(self) -> None:
        """After all :meth:`others`, and before anything is judged; it takes a while, in any thread.

        :raises NotPlain: as there.
        """
        ...
