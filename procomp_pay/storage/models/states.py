"""The states that rows of the module tables go through."""

from __future__ import annotations

from enum import StrEnum


class EventState(StrEnum):
    """The state of an event of the inbox."""

    PENDING = "pending"
    DONE = "done"
    IGNORED = "ignored"  # a type that we do not act on
    FOREIGN = "foreign"  # the event belongs to a payment created elsewhere
    DEAD = "dead"  # given up; ``events replay`` brings it back


class OutboxState(StrEnum):
    """The state of a message; its ``pay_delivery`` rows have the outcome at each destination."""

    WAITING = "waiting"  # not routed yet
    ROUTED = "routed"
    SKIPPED = "skipped"  # nothing is configured that it could go to
    HELD = "held"  # the same alert was sent within the hour: the next one counts it


class DeliveryState(StrEnum):
    """The state of a message's delivery to one destination."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    SKIPPED = "skipped"  # not configured any more, or overtaken
    UNDELIVERABLE = "undeliverable"  # there is no such address
    DEAD = "dead"  # given up; ``outbox replay`` brings it back


class DiscrepancyState(StrEnum):
    """Whether a discrepancy still awaits a decision."""

    OPEN = "open"
    RESOLVED = "resolved"
