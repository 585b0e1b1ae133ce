"""Read Stripe's webhook events. Which ones matter: STRIPE.md; the others are kept as ignored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from procomp_pay.domain.facts import News
from procomp_pay.providers.base import Seen
from procomp_pay.providers.stripe_objects import (
    Object,
    event_time,
    seen_in_intent,
    seen_in_session,
)


@dataclass(frozen=True, slots=True)
class EventNews:
    """What one event says.

    :param payment_id: our payment, where the object's metadata names one.
    :param seen: what it says of the payment; its ids find the payment where the metadata does not.
    """

    payment_id: str | None
    seen: Seen
    at: datetime


def _failed(intent: Object) -> Seen:
    # The event is about the failure, also where the same intent has been tried again meanwhile.
    seen = seen_in_intent(intent)
    return (
        seen
        if seen.news in (News.FAILED, News.SUCCEEDED, News.CANCELLED)
        else Seen(News.FAILED, ids=seen.ids)
    )


#: Event types that are understood so far, with the reader of their object.
READERS: dict[str, Callable[[Object], Seen]] = {
    "payment_intent.succeeded": seen_in_intent,
    "payment_intent.payment_failed": _failed,
    "payment_intent.processing": seen_in_intent,
    "payment_intent.requires_action": seen_in_intent,
    "payment_intent.canceled": seen_in_intent,
    "checkout.session.completed": seen_in_session,
    "checkout.session.expired": seen_in_session,
}


def read_event(event: Object) -> EventNews | None:
    """What an event says of one of our payments; ``None`` where its type is none of ours.

    :raises KeyError, TypeError: the event lacks what its type promises.
    """
    reader = READERS.get(event["type"])
    if reader is None:
        return None
    thing = event["data"]["object"]
    payment_id = (thing.get("metadata") or {}).get("payment_id") or thing.get("client_reference_id")
    return EventNews(payment_id, reader(thing), event_time(event))
