"""Check a manual verification of a Kaspi payment and return the objections to it. Pure.

An admin may override these objections with a reason; they then stay open as discrepancies. What can never be
overridden (a number that settled another payment, a payment that is not Kaspi's) is rejected elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from procomp_pay.domain.discrepancies import ABOUT_AMOUNT, DiscrepancyKind
from procomp_pay.domain.money import Money
from procomp_pay.domain.text import N_

#: The clocks of phones, terminals and Kaspi differ, and receipts show whole minutes.
TOLERANCE = timedelta(minutes=10)


class KaspiAnswer(StrEnum):
    """Kaspi's answer about the QR of a payment."""

    PAID = "paid"
    CONFIRMING = "confirming"  # scanned; the customer has not confirmed yet
    NOT_PAID = "not_paid"
    UNKNOWN_THERE = "unknown_there"  # Kaspi does not know such a purchase
    NO_ANSWER = "no_answer"
    CANNOT_BE_ASKED = "cannot_be_asked"  # there is no object at Kaspi, or no answer that decides anything


@dataclass(frozen=True, slots=True)
class ReceiptClaim:
    """The operator's statement that a payment was made.

    :param money: the paid amount; ``None`` for the charged amount.
    :param paid_at: the time of the payment, if known.
    :param in_doubt: a different amount was received for the payment before, and awaits a decision.
    :param decided_by: who decided about the money of this operation, when it belonged to no payment.
    """

    money: Money | None
    paid_at: datetime | None
    in_doubt: bool = False
    decided_by: str | None = None


@dataclass(frozen=True, slots=True)
class PaymentWindow:
    """The time in which a payment can have been made, and the charged amount."""

    charged: Money
    begins: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class Objection:
    """One objection to a manual verification.

    :param sentence: the objection, for the operator. :param do: what to do next.
    :param apart: prefix of the discrepancy's key; ``None`` if reconciliation finds the same discrepancy.
    """

    kind: DiscrepancyKind
    sentence: str
    do: str
    apart: str | None = None

    @property
    def about_amount(self) -> bool:
        """True if the received amount or currency differs from the charge."""
        return self.kind in ABOUT_AMOUNT


def find_objections(
    claim: ReceiptClaim, window: PaymentWindow, answer: KaspiAnswer, now: datetime
) -> list[Objection]:
    """Return all objections, the most important first."""
    checks = [_kaspi(answer), _amount(claim, window), _decided(claim), _date(claim, window, now)]
    return [objection for objection in checks if objection is not None]


#: A receipt on a phone can be forged, the organiser's own list of payments cannot.
_CHECK_HISTORY = N_("check the organiser's own Kaspi Pay app (History), not the customer's phone")


def _kaspi(answer: KaspiAnswer) -> Objection | None:
    text = {
        KaspiAnswer.CONFIRMING: (
            N_("Kaspi reports that the customer has scanned the QR but not confirmed yet"),
            N_("ask the customer to confirm in the Kaspi app; the payment then completes by itself"),
        ),
        KaspiAnswer.NOT_PAID: (
            N_("Kaspi reports that this QR was not paid; a receipt alone proves nothing"),
            N_(
                "%(check)s; if it is not there, show a new QR; "
                'if it is, an admin adds: --override --reason "…"',
                check=_CHECK_HISTORY,
            ),
        ),
        KaspiAnswer.UNKNOWN_THERE: (
            N_("Kaspi does not know this QR"),
            N_('%(check)s; if it is there, an admin adds: --override --reason "…"', check=_CHECK_HISTORY),
        ),
    }.get(answer)
    if text is None:
        return None
    if answer is KaspiAnswer.UNKNOWN_THERE:
        return Objection(DiscrepancyKind.MISSING_AT_PROVIDER, *text)
    # a payment that may still be confirmed is not the same discrepancy as one that was not paid
    return Objection(
        DiscrepancyKind.STATUS_MISMATCH, *text, None if answer is KaspiAnswer.NOT_PAID else answer.value
    )


def _amount(claim: ReceiptClaim, window: PaymentWindow) -> Objection | None:
    paid = claim.money
    if paid is None or paid == window.charged:
        return _in_doubt() if claim.in_doubt else None
    same = paid.currency is window.charged.currency
    return Objection(
        DiscrepancyKind.AMOUNT_MISMATCH if same else DiscrepancyKind.CURRENCY_MISMATCH,
        N_("%(paid)s was paid, but %(charged)s was charged", paid=paid, charged=window.charged),
        N_('check the receipt again; if it is right, an admin may accept it: --override --reason "…"'),
    )


def _in_doubt() -> Objection:
    return Objection(
        DiscrepancyKind.AMOUNT_MISMATCH,
        N_("A different amount was received for this payment"),
        N_('check it in the Kaspi Pay app; an admin may accept it: --amount PAID --override --reason "…"'),
    )


def was_decided(by: str) -> str:
    """Return the reason for which money that was nobody's settles no payment by itself."""
    return N_(
        "The money of this operation belonged to no payment, and %(name)s decided about it: "
        "it may have been given back",
        name=by,
    )


def _decided(claim: ReceiptClaim) -> Objection | None:
    if claim.decided_by is None:
        return None
    return Objection(
        DiscrepancyKind.STATUS_MISMATCH,
        was_decided(claim.decided_by),
        N_(
            "check in the Kaspi Pay app that it was not given back; if it was not, an admin adds: "
            '--override --reason "…"'
        ),
        "decided",
    )


def _date(claim: ReceiptClaim, window: PaymentWindow, now: datetime) -> Objection | None:
    at = claim.paid_at
    if at is None or (window.begins - TOLERANCE <= at <= window.ends + TOLERANCE and at <= now + TOLERANCE):
        return None
    if at > now + TOLERANCE:
        sentence = N_("The time of the receipt is in the future: the receipt belongs to another payment")
    elif at < window.begins:
        sentence = N_(
            "The time of the receipt is before the payment was started: "
            "the receipt belongs to another payment"
        )
    else:
        sentence = N_(
            "The time of the receipt is after the payment expired: the receipt belongs to another payment"
        )
    return Objection(
        DiscrepancyKind.STATUS_MISMATCH,
        sentence,
        N_('find the payment of that time: procomp-pay list; or an admin adds: --override --reason "…"'),
        "date",
    )
