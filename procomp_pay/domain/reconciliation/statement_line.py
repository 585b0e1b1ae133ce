"""Define a line of a provider's statement, read from a file or an API."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple, Protocol

from procomp_pay.domain.money import Money


class LineKind(StrEnum):
    """The kind of movement that a line reports."""

    PAYMENT = "payment"
    REFUND = "refund"
    REFUND_FAILED = "refund_failed"  # a refund was returned to us
    DISPUTE = "dispute"  # money taken by a dispute
    DISPUTE_REVERSED = "dispute_reversed"
    OTHER = "other"  # payouts, separate fees, adjustments: money that belongs to no payment of ours


@dataclass(frozen=True, slots=True)
class ForeignMoney:
    """Positive money in a currency that no entry fee can have, to be reported as a difference."""

    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One line, read and checked.

    :param number: 1-based line (CSV) or row (XLSX) of the file; 0 if it came by API.
    :param ref: the line's own id: Kaspi's operation number, Stripe's ``ch_…``, ``re_…`` or ``txn_…``.
    :param payment_ref: the provider's id of its payment (``pi_…``, QrPaymentId), if the line has it.
    :param at: when the money moved, with a zone.
    :param money: what the customer was charged, gross and always positive; its direction follows from
        ``kind``.
    :param fee: the provider's fee; ``None`` if the statement does not report it.
    :param settlement_currency: the currency of ``fee`` and ``net``, if the balance is not in ``money``'s. The
        same currency as ``money``'s if only the amount on the balance is known, not the customer's.
    :param order: the words of Kaspi's purchase details that may be an order number or a bill account, with
        spaces between them.
    """

    number: int
    kind: LineKind
    ref: str
    at: datetime
    money: Money | ForeignMoney
    payment_ref: str | None = None
    fee: Decimal | None = None
    net: Decimal | None = None
    description: str = ""
    settlement_currency: str | None = None
    order: str | None = None

    def __post_init__(self) -> None:
        if self.at.tzinfo is None:
            raise ValueError("a statement line's time needs a zone")
        if self.money.amount < 0:
            raise ValueError("a statement line's amount is positive; its direction follows from its kind")


class NotPlain(Exception):
    """Raised for a file that cannot be read in blocks: discard what was read, and read it line by line."""


class SharedValues(NamedTuple):
    """Values that many lines of a file share, as in :class:`StatementLine`."""

    kind: LineKind
    money: Money
    fee: Decimal | None
    net: Decimal | None


@dataclass(frozen=True, slots=True)
class LineBlock:
    """Many lines as columns, checked as :class:`StatementLine` is, without an object for each.

    A block has only payments and refunds. Nearly all of a million lines agree with the books and need no
    object; the others are read back from the staging tables.

    :param numbers, refs: as in :class:`StatementLine`; ``refs`` are ASCII letters, digits and ``_``.
    :param matches: the reference that finds each line's payment: the payment's id, or else the line's own.
    :param times: ISO 8601 with the offset.
    :param words: for each line, the index of its values in ``shared``.
    :param has_fees: a line of it, or of an earlier block, may have a fee.
    """

    numbers: Sequence[int]
    refs: Sequence[str]
    matches: Sequence[str]
    times: Sequence[str]
    words: Sequence[int]
    shared: Sequence[SharedValues]
    has_fees: bool


class Blocks(Protocol):
    """A file that is read once: first its plain lines in blocks, then the other lines, then a final check."""

    def blocks(self) -> Iterator[LineBlock]:
        """Yield the plain lines.

        :raises NotPlain: the file must be read line by line.
        """
        ...

    def others(self) -> Iterator[StatementLine]:
        """Yield the other lines, after all :meth:`blocks`.

        :raises NotPlain: the file must be read line by line.
        """
        ...

    def check(self) -> None:
        """Check the whole file, after all :meth:`others` and before anything is compared. It takes a while,
        and may run in any thread.

        :raises NotPlain: the file must be read line by line.
        """
        ...
