"""Define the states of rows in our tables."""

from __future__ import annotations

from enum import StrEnum


class EventState(StrEnum):
    """The state of an event of the inbox."""

    PENDING = "pending"
    DONE = "done"
    IGNORED = "ignored"  # a type that we do not process
    FOREIGN = "foreign"  # the event belongs to a payment created elsewhere
    DEAD = "dead"  # given up; ``events replay`` retries it


class OutboxState(StrEnum):
    """The state of a message; its ``pay_delivery`` rows have the outcome at each destination."""

    WAITING = "waiting"  # not routed yet
    ROUTED = "routed"
    SKIPPED = "skipped"  # no destination is configured for it
    HELD = "held"  # the same alert was sent within the hour: the next one counts it


class DeliveryState(StrEnum):
    """The state of a message's delivery to one destination."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    SKIPPED = "skipped"  # not configured any more, or out of date
    UNDELIVERABLE = "undeliverable"  # the address does not exist
    DEAD = "dead"  # given up; ``outbox replay`` retries it


class DiscrepancyState(StrEnum):
    """The state of a discrepancy: awaiting a decision, or resolved."""

    OPEN = "open"
    RESOLVED = "resolved"
