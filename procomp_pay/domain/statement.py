"""A line of a provider's statement, whatever file or API it came from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

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
