"""Decide about refunds and disputes: allowed state changes, amounts, the effect on the payment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from procomp_pay.domain.errors import Conflict, ErrorCode, Refused
from procomp_pay.domain.money import Money
from procomp_pay.domain.redact import storable
from procomp_pay.domain.states import AnyStatus, PaymentStatus
from procomp_pay.domain.text import N_

#: Begins Kaspi's numbers of refunds among other providers' ids.
_KASPI = "kaspi:"


class RefundState(StrEnum):
    """The state of a refund. A PENDING refund reserves its amount: it may have been made already."""

    PENDING = "PENDING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


#: Every allowed state change. A refund that succeeded can still fail days later.
REFUND_MOVES: dict[RefundState, frozenset[RefundState]] = {
    RefundState.PENDING: frozenset({RefundState.SUCCEEDED, RefundState.FAILED, RefundState.CANCELLED}),
    RefundState.SUCCEEDED: frozenset({RefundState.FAILED}),
    RefundState.FAILED: frozenset(),
    RefundState.CANCELLED: frozenset(),
}

#: States of refunds whose money was returned, or may have been.
HOLDING = frozenset({RefundState.PENDING, RefundState.SUCCEEDED})


class DisputeState(StrEnum):
    """The state of a dispute. The money of a lost one is gone."""

    OPEN = "open"
    WITHDRAWN = "withdrawn"  # open, and the provider has withdrawn the money meanwhile
    WON = "won"
    LOST = "lost"

    @property
    def is_open(self) -> bool:
        return self in (DisputeState.OPEN, DisputeState.WITHDRAWN)

    @property
    def weight(self) -> int:
        """What it weighs beside another dispute of the payment, of which one is kept: a lost or an open one
        holds refunds back."""
        return {DisputeState.LOST: 2, DisputeState.WON: 0}.get(self, 1)

    @property
    def holds_refunds_back(self) -> bool:
        """Return whether the customer gets, or may get, the money through the dispute."""
        return self is not DisputeState.WON


@dataclass(frozen=True, slots=True)
class RefundEvent:
    """The state of one refund, reported by a provider or an operator.

    :param refund_id: our id, if the refund was requested here.
    :param provider_refund_id: the provider's id (``re_…``, ReturnOperationId).
    :param made_at: when the money went back, if the provider says so.
    """

    state: RefundState
    money: Money
    refund_id: str | None = None
    provider_refund_id: str | None = None
    reason: str | None = None
    failure_reason: str | None = None
    made_at: datetime | None = None

    def __post_init__(self) -> None:
        for name in ("reason", "failure_reason"):
            object.__setattr__(self, name, storable(getattr(self, name)))


@dataclass(frozen=True, slots=True)
class DisputeEvent:
    """The state of a dispute, reported by a provider.

    :param due_at: Unix seconds until which evidence is accepted.
    """

    dispute_id: str
    state: DisputeState
    money: Money
    reason: str | None = None
    due_at: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", storable(self.reason))


def may_become(before: RefundState, after: RefundState) -> bool:
    """Return whether the state change is allowed; keeping the state is not a change."""
    return after in REFUND_MOVES[before]


def reserved_amount(refunds: Iterable[tuple[RefundState, Decimal]]) -> Decimal:
    """Return the total of refunds that were made or may have been; later refunds must leave it out."""
    return sum((amount for state, amount in refunds if state in HOLDING), Decimal("0.00"))


def total_refunded(refunds: Iterable[tuple[RefundState, Decimal]]) -> Decimal:
    """Return the total of the refunds that succeeded."""
    return sum((amount for state, amount in refunds if state is RefundState.SUCCEEDED), Decimal("0.00"))


def kaspi_refund_id(number: str) -> str:
    """Return the form in which Kaspi's number of a refund is stored among other providers' ids."""
    return f"{_KASPI}{number}"


def number_by_purchase(purchase: str, at: datetime) -> str:
    """Return the number of a refund that a statement lists under its purchase's number: several may be."""
    return f"{purchase}@{int(at.timestamp())}"


def id_of_refunded_total(purchase: str, total: Money) -> str:
    """Return the id for the amount by which Kaspi's refunded total exceeded our books: one or more refunds
    that a cashier made.

    :param total: Kaspi's refunded total at that time.
    """
    return kaspi_refund_id(f"{purchase}:{total.minor_units}")


def is_id_of_refunded_total(provider_refund_id: str | None) -> bool:
    """Return whether the id was made by :func:`id_of_refunded_total`."""
    return (
        provider_refund_id is not None
        and provider_refund_id.startswith(_KASPI)
        and provider_refund_id.count(":") == 2
    )


def is_providers_own_id(provider_refund_id: str | None) -> bool:
    """Return whether the id is the provider's own number of a refund, not :func:`id_of_refunded_total`."""
    return provider_refund_id is not None and not is_id_of_refunded_total(provider_refund_id)


def amount_to_refund(charged: Money, reserved: Decimal, asked: Money | None) -> Money:
    """Return the amount of a new refund.

    :param reserved: the :func:`reserved_amount` of the earlier refunds.
    :param asked: ``None`` for the whole rest.
    :raises Conflict: nothing is left. :raises Refused: more than the rest, or another currency.
    """
    rest = Money(charged.amount - reserved, charged.currency)
    if rest.amount <= 0:
        raise Conflict(
            N_("The payment is already refunded in full, or its last refund is in progress"),
            code=ErrorCode.ALREADY_REFUNDED,
        )
    if asked is None:
        return rest
    if asked.currency is not charged.currency:
        raise Refused(
            N_(
                "The payment was made in %(currency)s, so it is refunded in %(currency)s",
                currency=charged.currency,
            ),
            code=ErrorCode.CURRENCY_MISMATCH,
        )
    if asked.amount > rest.amount:
        raise Refused(
            N_("%(asked)s is more than what is left of the payment, %(rest)s", asked=asked, rest=rest),
            next_step=N_("refund at most %(rest)s", rest=rest),
            code=ErrorCode.REFUND_TOO_LARGE,
        )
    return asked


def status_after(status: AnyStatus, charged: Money, gone: Decimal) -> PaymentStatus | None:
    """Return the new status of a payment after refunds of ``gone`` in total; ``None`` if unchanged."""
    if status is PaymentStatus.COMPLETED and gone >= charged.amount:
        return PaymentStatus.REFUNDED
    if status is PaymentStatus.REFUNDED and gone < charged.amount:
        return PaymentStatus.COMPLETED
    return None
