"""Who is told what: which message goes where, which alerts are the same, when a delivery is tried again.

Pure. Settlement enqueues messages without knowing any of this;
:mod:`procomp_pay.services.notifications.deliver` asks here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from procomp_pay.domain.destinations import Destination
from procomp_pay.domain.transitions import Topic

#: Seconds in which the same alert is not told again.
QUIET_S = 3600
#: Attempts at one delivery: with the waits below about 21 hours, a night and the morning after it.
ATTEMPTS = 14
_FIRST_WAIT_S = 10
_LONGEST_WAIT_S = 3 * 3600
#: The longest that a ``Retry-After`` is obeyed, in seconds.
_LONGEST_ASKED_S = 6 * 3600
#: A participant hears of a failed try after so many seconds, and only if no other try has worked meanwhile.
FAILED_MAIL_AFTER_S = 180


class DeliveryOutcome(StrEnum):
    """What became of one attempt at a delivery."""

    DELIVERED = "delivered"
    AGAIN = "again"  # not now: worth another attempt
    REFUSED = "refused"  # it will never be taken as it is
    NO_ADDRESS = "no_address"  # there is nobody there
    SKIPPED = "skipped"  # not configured, or overtaken by what happened since


@dataclass(frozen=True, slots=True)
class DeliveryResponse:
    """The outcome of an attempt, with words for a person.

    :param retry_after_s: what the other side asked us to wait.
    """

    outcome: DeliveryOutcome
    words: str = ""
    retry_after_s: int | None = None


def destinations(topic: str, payload: Mapping[str, Any]) -> tuple[Destination, ...]:
    """Where a message goes if everything is configured; nowhere for a topic that is unknown."""
    if topic.startswith("payment."):
        return (Destination.PARTICIPANT_MAIL, Destination.PLATFORM_WEBHOOK)
    if topic.startswith("alert."):
        # a way that is broken is told of by the other ways
        broken = payload.get("not_by")
        return tuple(d for d in (Destination.ALERT_WEBHOOK, Destination.ALERT_MAIL) if d != broken)
    return ()


def delay_s(topic: str, destination: Destination) -> int:
    """Seconds that a delivery waits before its first attempt."""
    late = topic == Topic.PAYMENT_FAILED and destination is Destination.PARTICIPANT_MAIL
    return FAILED_MAIL_AFTER_S if late else 0


def dedup_key_for(topic: str, payload: Mapping[str, Any], payment_id: str | None) -> str | None:
    """What an alert is about: two of one topic about the same thing are the same alert. ``None`` for others.

    Things that can go wrong by the thousand at once (events, deliveries, lines of a statement) are one
    thing for each kind, so that a bad night is one alert an hour and not a thousand.
    """
    if not topic.startswith("alert."):
        return None
    if topic == Topic.ALERT_DEAD_LETTER:
        return str(payload.get("destination") or "event")
    if topic == Topic.ALERT_DISPUTE:
        # that the money was withdrawn comes with the opening; won or lost is other news
        over = payload.get("state") if payload.get("state") in ("won", "lost") else "open"
        return f"{payload.get('dispute')}:{over}"
    field = _KIND_IN.get(topic)
    if field is not None:
        return str(payload.get(field) or "")
    refund = f":{payload['refund_id']}" if payload.get("refund_id") else ""
    return f"{payment_id or ''}{refund}"


#: What makes an alert's kind, for those that are not about one payment.
_KIND_IN: dict[str, str] = {
    Topic.ALERT_DISCREPANCY: "kind",
    Topic.ALERT_CIRCUIT: "provider",
    Topic.ALERT_STALLED: "work",
    Topic.ALERT_UNAPPLIED: "event_id",
}


def may_alert(topic: str, payload: Mapping[str, Any]) -> bool:
    """Whether giving up a delivery of this message is worth an alert: not where it told of such a one."""
    return not (topic == Topic.ALERT_DEAD_LETTER and payload.get("destination"))


def wait_s(attempt: int, *, jitter: float, asked_s: int | None = None) -> float:
    """Seconds between attempt number ``attempt`` and the next one.

    :param jitter: 0 to 1, random, so that what failed together does not come again together.
    :param asked_s: the other side's ``Retry-After``.
    """
    backoff: float = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 3 ** min(attempt - 1, 12)) * (0.75 + 0.5 * jitter)
    return max(backoff, float(min(asked_s or 0, _LONGEST_ASKED_S)))
