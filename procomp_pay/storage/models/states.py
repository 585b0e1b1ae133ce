"""The states that rows of the module tables go through."""

from __future__ import annotations

from enum import StrEnum


class EventState(StrEnum):
    """Where an event of the inbox stands."""

    PENDING = "pending"
    DONE = "done"
    IGNORED = "ignored"  # a type that we do not act on
    FOREIGN = "foreign"  # about a payment that is not ours
    DEAD = "dead"  # given up; ``events replay`` brings it back


class OutboxState(StrEnum):
    """Where a message stands; what became of it at each destination says its ``pay_delivery`` rows."""

    WAITING = "waiting"  # nobody has looked where it goes
    ROUTED = "routed"
    SKIPPED = "skipped"  # nothing is configured that it could go to
    HELD = "held"  # the same alert was told within the hour: the next one counts it


class DeliveryState(StrEnum):
    """Where the delivery of a message to one destination stands."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    SKIPPED = "skipped"  # not configured any more, or overtaken
    UNDELIVERABLE = "undeliverable"  # there is no such address
    DEAD = "dead"  # given up; ``outbox replay`` brings it back


class DiscrepancyState(StrEnum):
    """Whether a person still has to decide."""

    OPEN = "open"
    RESOLVED = "resolved"
