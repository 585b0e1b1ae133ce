"""What is compared: a payment in our books, a thing that a provider says, and a difference between them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from procomp_pay.domain.money import Money
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.refunds import DisputeState, RefundState
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.domain.transitions import DiscrepancyKind


class ProviderState(StrEnum):
    """How a provider's object stands."""

    PAID = "paid"  # the money moved
    OPEN = "open"  # it still can
    ENDED = "ended"  # it never will


class RegistrationState(StrEnum):
    """How the participant stands towards a payment of his."""

    TAKEN = "taken"  # PAID, by this payment
    FREE = "free"  # REGISTERED, and no payment settles him
    OTHER = "other"  # another payment settles him
    GONE = "gone"  # cancelled, removed, or registered for another tournament now


class RepairAction(StrEnum):
    """What may be done without a person."""

    ASK = "ask"  # the provider has finished it: ask, and let the door act
    REFUNDS = "refunds"  # a refund that we were not told of
    DISPUTE = "dispute"
    PLACE = "place"  # the participant was not activated


@dataclass(frozen=True, slots=True)
class LocalRefund:
    """A refund in our books.

    :param ref: the provider's id, where it is known.
    :param expected: it went back within what was read of the provider: it must be there.
    """

    refund_id: str
    ref: str | None
    amount: Decimal
    state: RefundState
    expected: bool = True


@dataclass(frozen=True, slots=True)
class LocalRecord:
    """A payment in our books.

    :param key: what both sides are ordered by; the same for the same payment.
    :param ref: the provider's id of it: ``pi_…`` or Kaspi's QrPaymentId.
    :param number: Kaspi's number of the operation that settled it, where that is not ``ref``.
    :param expected: its money came within what was read of the provider: it must be there.
    :param overdue: it still waits, here or at the provider, though its life is over.
    :param moving: changed since the provider was read: left for the next run.
    """

    key: str
    payment_id: str
    ref: str | None
    status: PaymentStatus
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

    @property
    def reference(self) -> str:
        """Names the payment in a fingerprint, as the door does."""
        return self.ref or "payment"

    def reference_of(self, theirs: ProviderRecord) -> str:
        """Names a thing at the provider in a fingerprint: the payment's own money by the payment's own name,
        whether it was told under Kaspi's id of the QR or under the operation's number."""
        own = {theirs.reference, theirs.ref} & {self.ref, self.number}
        return self.reference if own else theirs.reference


@dataclass(frozen=True, slots=True)
class ProviderRecord:
    """One thing that a provider says: a payment, a refund, a dispute, as an object or as a statement's line.

    :param ref: its own id. :param payment_ref: that of its payment, where it is another one.
    :param amount: gross and positive; ``None`` where the provider does not tell. :param currency: as written
        there; it need not be one of ours.
    :param total: not one refund, but the sum of all that went back.
    :param dispute: what became of it, where that is told.
    :param hint: our refund's id, where the provider names it.
    :param candidates: payments that it fits equally well: nobody guesses.
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

    @property
    def reference(self) -> str:
        """Names the provider's payment in a fingerprint, as the door does."""
        return self.payment_ref or self.ref


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One difference.

    :param what: a short name of it, stable.
    :param mark: what makes it the same one when it is found again, beside kind and payment.
    :param refund: our refund that it is about, where there is one.
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
        """The same for the same difference, and the one under which the door writes it down."""
        return f"{self.kind}:{self.ours.payment_id if self.ours else '-'}:{self.reference}"
