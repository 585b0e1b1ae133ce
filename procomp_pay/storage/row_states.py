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
    """Where a notification or an alert stands."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"


class DiscrepancyState(StrEnum):
    """Whether a person still has to decide."""

    OPEN = "open"
    RESOLVED = "resolved"
