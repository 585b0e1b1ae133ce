"""Decide where a message goes, which alerts are the same, and when a delivery is tried again.

Settlement enqueues messages without knowing these rules; :mod:`procomp_pay.services.notifications` applies
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from procomp_pay.domain.destinations import Destination
from procomp_pay.domain.topics import Topic

#: Seconds for which the same alert is not sent again.
QUIET_S = 3600
#: Attempts at one delivery: with the waits below about 21 hours, a night and the next morning.
ATTEMPTS = 14
_FIRST_WAIT_S = 10
_LONGEST_WAIT_S = 3 * 3600
#: The longest ``Retry-After`` that is respected, in seconds.
_LONGEST_ASKED_S = 6 * 3600
#: Seconds until a participant is told of a failed payment, unless another one has succeeded meanwhile.
FAILED_MAIL_AFTER_S = 180


class DeliveryOutcome(StrEnum):
    """The outcome of one attempt at a delivery."""

    DELIVERED = "delivered"
    AGAIN = "again"  # a temporary failure: another attempt may succeed
    REFUSED = "refused"  # it will never be accepted as it is
    NO_ADDRESS = "no_address"  # the address is missing or does not exist
    SKIPPED = "skipped"  # not configured, or outdated by a later event


@dataclass(frozen=True, slots=True)
class DeliveryResponse:
    """The outcome of an attempt, with an explanation for operators.

    :param retry_after_s: the receiver's ``Retry-After``, in seconds.
    """

    outcome: DeliveryOutcome
    text: str = ""
    retry_after_s: int | None = None


def destinations(topic: str, payload: Mapping[str, Any]) -> tuple[Destination, ...]:
    """Return the destinations of a message if all are configured; none for an unknown topic."""
    if topic.startswith("payment."):
        return (Destination.PARTICIPANT_MAIL, Destination.PLATFORM_WEBHOOK)
    if topic.startswith("letter."):
        return (Destination.PARTICIPANT_MAIL,)
    if topic.startswith("alert."):
        # an alert about a broken channel goes through the other channels
        broken = payload.get("not_by")
        return tuple(d for d in (Destination.ALERT_WEBHOOK, Destination.ALERT_MAIL) if d != broken)
    return ()


def delay_s(topic: str, destination: Destination) -> int:
    """Return the seconds that a delivery waits before its first attempt."""
    late = topic == Topic.PAYMENT_FAILED and destination is Destination.PARTICIPANT_MAIL
    return FAILED_MAIL_AFTER_S if late else 0


def dedup_key_for(topic: str, payload: Mapping[str, Any], payment_id: str | None) -> str | None:
    """Return the subject of an alert (``None`` for other messages): same topic and subject, same alert.

    Failures that can come by the thousand (events, deliveries, statement lines) share one subject per kind,
    so that a bad night causes one alert an hour and not a thousand.
    """
    if not topic.startswith("alert."):
        return None
    if topic == Topic.ALERT_DEAD_LETTER:
        return str(payload.get("destination") or "event")
    if topic == Topic.ALERT_DISPUTE:
        # the withdrawal comes together with the opening; won or lost is a separate alert
        over = payload.get("state") if payload.get("state") in ("won", "lost") else "open"
        return f"{payload.get('dispute')}:{over}"
    field = _KIND_IN.get(topic)
    if field is not None:
        return str(payload.get(field) or "")
    refund = f":{payload['refund_id']}" if payload.get("refund_id") else ""
    return f"{payment_id or ''}{refund}"


#: The payload field that is the subject of alerts that are not about one payment.
_KIND_IN: dict[str, str] = {
    Topic.ALERT_DISCREPANCY: "kind",
    Topic.ALERT_CIRCUIT: "provider",
    Topic.ALERT_STALLED: "work",
    Topic.ALERT_UNAPPLIED: "event_id",
    Topic.ALERT_LABEL: "label",
}


def may_alert(topic: str, payload: Mapping[str, Any]) -> bool:
    """Return whether a dead delivery of this message causes an alert: not if it is such an alert itself."""
    return not (topic == Topic.ALERT_DEAD_LETTER and payload.get("destination"))


def wait_s(attempt: int, *, jitter: float, asked_s: int | None = None) -> float:
    """Return the seconds between attempt number ``attempt`` and the next one.

    :param jitter: random, 0 to 1, so that deliveries that failed together are not repeated together.
    :param asked_s: the receiver's ``Retry-After``, in seconds.
    """
    backoff: float = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 3 ** min(attempt - 1, 12)) * (0.75 + 0.5 * jitter)
    return max(backoff, float(min(asked_s or 0, _LONGEST_ASKED_S)))
