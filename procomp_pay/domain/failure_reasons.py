"""Classify the reason of a failed payment, so that reports and metrics can count reasons."""

from __future__ import annotations

from enum import StrEnum


class FailureKind(StrEnum):
    """The kind of a failure."""

    INSUFFICIENT_FUNDS = "insufficient_funds"
    AUTHENTICATION = "authentication"
    EXPIRED_CARD = "expired_card"
    FRAUD = "fraud_suspected"
    DECLINED = "declined"
    NOT_CONFIRMED = "not_confirmed"
    REFUSED = "provider_refused"
    OTHER = "other"


#: The first kind that matches is used.
_WORDS: tuple[tuple[FailureKind, tuple[str, ...]], ...] = (
    (FailureKind.INSUFFICIENT_FUNDS, ("insufficient",)),
    (FailureKind.AUTHENTICATION, ("authenticat", "3d secure", "3-d secure")),
    (FailureKind.EXPIRED_CARD, ("expired_card", "expired card", "card has expired")),
    (FailureKind.FRAUD, ("fraud", "stolen", "lost_card", "lost card")),
    (FailureKind.DECLINED, ("declin", "do_not_honor", "incorrect", "card")),
    (FailureKind.NOT_CONFIRMED, ("not confirmed", "by the customer")),
    (FailureKind.REFUSED, ("refused", "kaspi", "stripe")),
)


def kind_of(reason: str | None) -> FailureKind:
    """Return the kind of a failure reason, written by a provider or by us."""
    lower = (reason or "").lower()
    for kind, words in _WORDS:
        if any(word in lower for word in words):
            return kind
    return FailureKind.OTHER
