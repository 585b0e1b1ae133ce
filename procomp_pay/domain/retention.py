"""How long rows are kept that no money depends on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

#: The least number of days for each: Stripe lists and sends an event again for 30 days, and one that is
#: forgotten sooner could come as a new one.
LEAST_PAYLOAD_DAYS = 30
LEAST_EVENT_DAYS = 60
LEAST_MESSAGE_DAYS = 30
LEAST_KEY_DAYS = 30
#: The least age of an audit entry that is archived, in days.
LEAST_AUDIT_DAYS = 90


@dataclass(frozen=True, slots=True)
class Retention:
    """How long handled events keep their payload, and how long they, delivered messages and idempotency keys
    are kept at all."""

    payloads: timedelta = timedelta(days=90)
    events: timedelta = timedelta(days=400)
    messages: timedelta = timedelta(days=180)
    keys: timedelta = timedelta(days=90)
