"""Define the records to compare: a payment in our books, a provider's record, and a mismatch of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.money import Money
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.refunds import DisputeState, RefundState
from procomp_pay.domain.states import AnyStatus


class ProviderState(StrEnum):
    """The state of a provider's object."""

    PAID = "paid"  # the money moved
    OPEN = "open"  # it still can move
    ENDED = "ended"  # it never will move


class RegistrationState(StrEnum):
    """The participant's registration in relation to the payment."""

    TAKEN = "taken"  # PAID, by this payment
    FREE = "free"  # REGISTERED, and not settled by any payment
    OTHER = "other"  # settled by another payment
    GONE = "gone"  # cancelled, deleted, or moved to another tournament


class RepairAction(StrEnum):
    """A repair that needs no manual review."""

    ASK = "ask"  # the payment ended at the provider: ask it, and apply its answer
    REFUNDS = "refunds"  # a refund that we have not recorded
    DISPUTE = "dispute"
    PLACE = "place"  # the participant was not activated


@dataclass(frozen=True, slots=True)
class LocalRefund:
    """A refund in our books.

    :param ref: the provider's id, if it is known.
    :param expected: it was sent in the window that was read completely, so the provider must list it.
    :param made_at: when the provider made it, as a statement said; ``None`` if only we or a clerk know of it.
    """

    refund_id: str
    ref: str | None
    amount: Decimal
    state: RefundState
    expected: bool = True
    made_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class LocalRecord:
    """A payment in our books.

    :param key: the sort key of both sides, the same for the same payment.
    :param ref: the provider's id: ``pi_…`` or Kaspi's QrPaymentId.
    :param number: Kaspi's number of the operation that settled it, if it differs from ``ref``; of a payment
        that is not paid that of money of another amount.
    :param expected: its money moved in the window that was read completely, so the provider must list it.
    :param overdue: it is still open, here or at the provider, after its end.
    :param other_money: the numbers of Kaspi operations whose money did not settle it, each with the kind and
        the reference of the discrepancy that tells of it.
    :param changed_since_read: it changed after the provider was read, so it is left for the next run.
    """

    key: str
    payment_id: str
    ref: str | None
    status: AnyStatus
    money: Money
    place: RegistrationState = RegistrationState.TAKEN
    refunds: tuple[LocalRefund, ...] = ()
    dispute: tuple[str, DisputeState] | None = None
    late: bool = False
    duplicate: bool = False
    expected: bool = True
    overdue: bool = False
    changed_since_read: bool = False
    number: str | None = None
    other_money: Mapping[str, tuple[DiscrepancyKind, str]] = field(default_factory=dict)

    @property
    def reference(self) -> str:
        """Return the payment's name in a fingerprint, the same as in settlement."""
        return self.ref or "payment"

    def reference_of(self, theirs: ProviderRecord) -> str:
        """Return the name of a provider's record in a fingerprint: the payment's own name for its own
        money, which Kaspi lists under the QR's id or under the operation's number."""
        own = {theirs.reference, theirs.ref} & {self.ref, self.number}
        return self.reference if own else theirs.reference


@dataclass(frozen=True, slots=True)
class ProviderRecord:
    """A provider's record of a payment, a refund or a dispute: an object, or a line of a statement.

    :param ref: its own id. :param payment_ref: the id of its payment, if that is different.
    :param amount: gross and positive; ``None`` if the provider does not report it.
    :param currency: as the provider writes it; it need not be one of ours.
    :param is_settled_amount: it is the amount on the provider's balance, and the customer's is not known: in
        another currency than ours it cannot be compared.
    :param hides_refunds: the payment's provider does not report whether any of it was refunded.
    :param total: not one refund, but the sum of all refunds.
    :param dispute: the state of a dispute, if it is reported.
    :param hint: our refund's id, if the provider has it.
    :param participant_id: of our payment, as the provider's metadata names it.
    :param candidates: payments that it fits equally well.
    :param number: the line in a file, 0 elsewhere.
    """

    key: str
    ref: str
    kind: LineKind
    stand: ProviderState
    at: datetime
    amount: Decimal | None = None
    currency: str | None = None
    payment_ref: str | None = None
    total: bool = False
    dispute: DisputeState | None = None
    hint: str | None = None
    candidates: tuple[str, ...] = ()
    number: int = 0
    is_settled_amount: bool = False
    hides_refunds: bool = False
    participant_id: str | None = None

    @property
    def reference(self) -> str:
        """Return the provider's payment's name in a fingerprint, the same as in settlement."""
        return self.payment_ref or self.ref


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A difference between the two sides.

    :param what: a short and stable description.
    :param reference: identifies the difference when it is found again, with its kind and payment.
    :param refund: our refund that it is about, if any.
    """

    kind: DiscrepancyKind
    what: str
    reference: str
    ours: LocalRecord | None
    theirs: ProviderRecord | None
    repair: RepairAction | None = None
    refund: LocalRefund | None = None

    @property
    def fingerprint(self) -> str:
        """Return the key of the difference, the same that settlement uses when it opens a discrepancy."""
        return f"{self.kind}:{self.ours.payment_id if self.ours else '-'}:{self.reference}"
