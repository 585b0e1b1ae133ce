"""What speaks against a person's word that a Kaspi payment was made. Pure.

What is found here an admin may override with a reason; it then stays open as a discrepancy. What can never be
overridden (a number that settled another payment, a payment that is not Kaspi's) is refused elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from procomp_pay.domain.money import Money
from procomp_pay.domain.transitions import DiscrepancyKind

#: Clocks of phones, terminals and Kaspi differ, and receipts show whole minutes.
TOLERANCE = timedelta(minutes=10)


class KaspiWord(StrEnum):
    """What Kaspi says of a payment's QR when it is asked."""

    PAID = "paid"
    CONFIRMING = "confirming"  # scanned; the customer has not confirmed yet
    NOT_PAID = "not_paid"
    UNKNOWN_THERE = "unknown_there"  # Kaspi does not know such a purchase
    NO_ANSWER = "no_answer"
    CANNOT_BE_ASKED = "cannot_be_asked"  # nothing of it is at Kaspi


@dataclass(frozen=True, slots=True)
class Claim:
    """What a person says: this payment was made.

    :param money: what was paid; ``None`` for what was charged.
    :param paid_at: when, where the person says it.
    :param in_doubt: money of another amount came for it before, and nobody has decided about that.
    """

    money: Money | None
    paid_at: datetime | None
    in_doubt: bool = False


@dataclass(frozen=True, slots=True)
class Life:
    """When a payment can have been made, and what was charged."""

    charged: Money
    begins: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class Objection:
    """One thing that speaks against it, in a sentence for the clerk.

    :param apart: what tells it from others of its kind; ``None`` where reconcile finds the very same.
    """

    kind: DiscrepancyKind
    sentence: str
    do: str
    apart: str | None = None

    @property
    def about_amount(self) -> bool:
        """It says that another sum came than was asked for."""
        return self.kind in (DiscrepancyKind.AMOUNT_MISMATCH, DiscrepancyKind.CURRENCY_MISMATCH)


def objections(claim: Claim, life: Life, word: KaspiWord, now: datetime) -> list[Objection]:
    """Everything that speaks against it, the weightiest first."""
    found = [_kaspi(word), _amount(claim, life), _date(claim, life, now)]
    return [each for each in found if each is not None]


#: A receipt on a phone can be forged, the organiser's own list of payments cannot.
_LOOK = "look into the organiser's own Kaspi Pay app (History), not at the customer's phone"


def _kaspi(word: KaspiWord) -> Objection | None:
    says = {
        KaspiWord.CONFIRMING: (
            "Kaspi says that the customer has scanned the QR and has not confirmed yet",
            "let the customer confirm in the Kaspi app, then try again: it turns green by itself",
        ),
        KaspiWord.NOT_PAID: (
            "Kaspi says that this QR was not paid; a receipt alone proves nothing",
            f'{_LOOK}: not there, show a new QR; there, an admin adds: --override --reason "…"',
        ),
        KaspiWord.UNKNOWN_THERE: (
            "Kaspi does not know this QR",
            f'{_LOOK}: there, an admin adds: --override --reason "…"',
        ),
    }.get(word)
    if says is None:
        return None
    if word is KaspiWord.UNKNOWN_THERE:
        return Objection(DiscrepancyKind.MISSING_AT_PROVIDER, *says)
    # a customer who may still confirm is not one who has not paid: that comes as news of its own
    return Objection(
        DiscrepancyKind.STATUS_MISMATCH, *says, None if word is KaspiWord.NOT_PAID else word.value
    )


def _amount(claim: Claim, life: Life) -> Objection | None:
    paid = claim.money
    if paid is None or paid == life.charged:
        return _doubt() if claim.in_doubt else None
    same = paid.currency is life.charged.currency
    return Objection(
        DiscrepancyKind.AMOUNT_MISMATCH if same else DiscrepancyKind.CURRENCY_MISMATCH,
        f"{paid} was paid, and {life.charged} was asked for",
        'look at the receipt again; if it is so, an admin may accept it: --override --reason "…"',
    )


def _doubt() -> Objection:
    return Objection(
        DiscrepancyKind.AMOUNT_MISMATCH,
        "Money of another amount came for this payment",
        'compare in the Kaspi Pay app; an admin may accept it: --amount PAID --override --reason "…"',
    )


def _date(claim: Claim, life: Life, now: datetime) -> Objection | None:
    at = claim.paid_at
    if at is None or (life.begins - TOLERANCE <= at <= life.ends + TOLERANCE and at <= now + TOLERANCE):
        return None
    if at > now + TOLERANCE:
        when = "lies in the future"
    elif at < life.begins:
        when = "lies before the payment was started"
    else:
        when = "lies after the payment's time was over"
    return Objection(
        DiscrepancyKind.STATUS_MISMATCH,
        f"The time of the receipt {when}: it is of another payment",
        'look for the payment of that time: procomp-pay list; or an admin adds: --override --reason "…"',
        "date",
    )
