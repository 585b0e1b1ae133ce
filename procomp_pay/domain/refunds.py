"""Money that goes back: what a refund may become, and what it does to its payment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from procomp_pay.domain.errors import Conflict, Refused
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import PaymentStatus


class RefundState(StrEnum):
    """What is known of a refund. PENDING holds its money back: it may have gone already."""

    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


#: Every allowed move. A refund that went through can still come back days later.
REFUND_MOVES: dict[RefundState, frozenset[RefundState]] = {
    RefundState.PENDING: frozenset({RefundState.SUCCEEDED, RefundState.FAILED, RefundState.CANCELLED}),
    RefundState.SUCCEEDED: frozenset({RefundState.FAILED}),
    RefundState.FAILED: frozenset(),
    RefundState.CANCELLED: frozenset(),
}

#: States whose money is gone, or may be.
HOLDING = frozenset({RefundState.PENDING, RefundState.SUCCEEDED})


class DisputeState(StrEnum):
    """Where a dispute stands. A lost one is money gone."""

    OPEN = "open"
    WITHDRAWN = "withdrawn"  # open, and the provider has taken the money meanwhile
    WON = "won"
    LOST = "lost"

    @property
    def is_open(self) -> bool:
        return self in (DisputeState.OPEN, DisputeState.WITHDRAWN)


@dataclass(frozen=True, slots=True)
class RefundEvent:
    """What a provider or a person says of one refund.

    :param refund_id: ours, where the refund was asked for here.
    :param provider_refund_id: the provider's (``re_…``, ReturnOperationId).
    """

    state: RefundState
    money: Money
    refund_id: str | None = None
    provider_refund_id: str | None = None
    reason: str | None = None
    failure_reason: str | None = None


@dataclass(frozen=True, slots=True)
class DisputeEvent:
    """What a provider says of a dispute.

    :param due_at: Unix seconds until which evidence is taken.
    """

    dispute_id: str
    state: DisputeState
    money: Money
    reason: str | None = None
    due_at: int | None = None


def may_become(before: RefundState, after: RefundState) -> bool:
    """Whether the table allows the move; staying is not a move."""
    return after in REFUND_MOVES[before]


def reserved_amount(refunds: Iterable[tuple[RefundState, Decimal]]) -> Decimal:
    """What has gone back or may have: no later refund may count on it."""
    return sum((amount for state, amount in refunds if state in HOLDING), Decimal("0.00"))


def total_refunded(refunds: Iterable[tuple[RefundState, Decimal]]) -> Decimal:
    """What has gone back for certain."""
    return sum((amount for state, amount in refunds if state is RefundState.SUCCEEDED), Decimal("0.00"))


def name_of_sum(purchase: str, total: Money) -> str:
    """Names what Kaspi's sum showed beyond our books: one refund of a cashier's, or several of them.

    :param total: all that had gone back by then.
    """
    return f"kaspi:{purchase}:{total.minor_units}"


def is_of_a_sum(name: str | None) -> bool:
    """Whether :func:`name_of_sum` made it."""
    return name is not None and name.startswith("kaspi:") and name.count(":") == 2


def has_a_name(name: str | None) -> bool:
    """Whether the provider's own number of a refund is known; :func:`name_of_sum` makes none."""
    return name is not None and not is_of_a_sum(name)


def amount_to_refund(charged: Money, reserved: Decimal, asked: Money | None) -> Money:
    """How much goes back.

    :param held: what :func:`reserved_amount` says of the earlier refunds.
    :param asked: ``None`` for the whole rest.
    :raises Conflict: nothing is left. :raises Refused: more than the rest, or another currency.
    """
    rest = Money(charged.amount - reserved, charged.currency)
    if rest.amount <= 0:
        raise Conflict("Everything has been paid back, or is on its way back")
    if asked is None:
        return rest
    if asked.currency is not charged.currency:
        raise Refused(f"It was paid in {charged.currency}: nothing else can go back than {charged.currency}")
    if asked.amount > rest.amount:
        raise Refused(
            f"{asked} is more than what is left of the payment, {rest}", next_step=f"at most {rest}"
        )
    return asked


def status_after(status: PaymentStatus, charged: Money, gone: Decimal) -> PaymentStatus | None:
    """Where the payment moves when ``gone`` has gone back for certain; ``None`` where it stays."""
    if status is PaymentStatus.COMPLETED and gone >= charged.amount:
        return PaymentStatus.REFUNDED
    if status is PaymentStatus.REFUNDED and gone < charged.amount:
        return PaymentStatus.COMPLETED
    return None
