"""The account's objects in memory, with ids, time, events and timers: what every endpoint works on.

Everything runs on one event loop and no endpoint awaits, so each request sees and leaves a whole state.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from procomp_pay.sandbox.stripe.errors import Json, missing_object

_ALPHABET = string.ascii_letters + string.digits
TABLES = (
    "payment_intents",
    "payment_methods",
    "charges",
    "refunds",
    "balance_transactions",
    "disputes",
    "payouts",
    "sessions",
    "events",
    "webhook_endpoints",
    "deliveries",
    "idempotency",
    "timers",
    "private",
    "settings",
)
EVENT_LIFE = 30 * 86400  # Stripe lists events for 30 days
KEY_LIFE = 24 * 3600  # and keeps idempotency keys for at least 24 hours
KEPT_DELIVERIES = 1000
API_VERSION = "2026-10-28.endive"


@dataclass(frozen=True)
class Cause:
    """The request that makes events happen; both None for timers."""

    request_id: str | None = None
    idempotency_key: str | None = None


@dataclass
class Call:
    """One API request, its parameters already read by the endpoint's schema."""

    params: Json
    path: dict[str, str] = field(default_factory=dict)


@dataclass
class Core:
    """The tables, each from id to object, oldest first.

    `private` holds what an object knows but does not show (a session's line items, an endpoint's secret).
    """

    clock: Callable[[], float]
    changed: Callable[[], None]
    time_scale: float = 1.0
    base_url: str = ""
    cause: Cause = Cause()
    tables: dict[str, dict[str, Json]] = field(default_factory=lambda: {name: {} for name in TABLES})
    on_event: list[Callable[[Json], None]] = field(default_factory=list)
    on_paid: list[Callable[[Json], None]] = field(default_factory=list)
    actions: dict[str, Callable[[str], None]] = field(default_factory=dict)
    timers_changed: Callable[[], None] = lambda: None

    def now(self) -> int:
        """Return the time in Unix seconds."""
        return int(self.clock())

    def new_id(self, prefix: str, length: int = 24) -> str:
        """Return a new id such as `pi_` with 24 letters and digits."""
        return f"{prefix}_{''.join(secrets.choice(_ALPHABET) for _ in range(length))}"

    def put(self, table: str, row: Json) -> Json:
        """Add or replace an object and note the change."""
        self.tables[table][row["id"]] = row
        self.changed()
        return row

    def get(self, table: str, wanted: str, param: str = "id", *, status: int = 404) -> Json:
        """Return the object itself, not a copy. Raises StripeError `resource_missing`."""
        row = self.tables[table].get(wanted)
        if row is None:
            raise missing_object(table.rstrip("s"), wanted, param, status=status)
        return row

    def private(self, owner: str) -> Json:
        """Return the private data of `owner`, made on first use."""
        self.changed()
        return self.tables["private"].setdefault(owner, {})

    def view(self, row: Json) -> Json:
        """Return a copy as the API shows it, with the fields that depend on other objects or on time."""
        shown = deepcopy(row)
        kind = row.get("object")
        if kind == "charge":
            mine = [item for item in self.tables["refunds"].values() if item["charge"] == row["id"]]
            shown["refunds"]["data"] = deepcopy(mine[::-1])
        elif kind == "balance_transaction":
            shown["status"] = "available" if row["available_on"] <= self.now() else "pending"
        elif kind == "event":
            shown["pending_webhooks"] = self.pending_webhooks(row["id"])
        return shown

    def pending_webhooks(self, event_id: str) -> int:
        """Return the number of endpoints that have not yet accepted the event."""
        ids = self.tables["private"].get(event_id, {}).get("deliveries", [])
        deliveries = (self.tables["deliveries"].get(item) for item in ids)
        return sum(1 for item in deliveries if item and item["state"] == "pending")

    def emit(self, type_: str, row: Json, previous: Json | None = None) -> None:
        """Record an event about `row` as it is now and hand it to the webhooks."""
        data: Json = {"object": self.view(row)}
        if previous is not None:
            data["previous_attributes"] = previous
        event = {
            "id": self.new_id("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.now(),
            "data": data,
            "livemode": False,
            "pending_webhooks": 0,
            "request": {"id": self.cause.request_id, "idempotency_key": self.cause.idempotency_key},
            "type": type_,
        }
        self.put("events", event)
        for listener in self.on_event:
            listener(event)

    def schedule(self, seconds: float, action: str, owner: str) -> None:
        """Run `action` on `owner` after `seconds` of the account's clock; survives a restart."""
        row = {"id": self.new_id("tmr"), "at": self.clock() + seconds, "action": action, "owner": owner}
        self.put("timers", row)
        self.timers_changed()

    def next_timer(self) -> float | None:
        """Return when the next timer is due, in Unix seconds."""
        return min((row["at"] for row in self.tables["timers"].values()), default=None)

    def run_due(self) -> None:
        """Run every timer that is due, earliest first."""
        now = self.clock()
        due = [row for row in self.tables["timers"].values() if row["at"] <= now]
        for row in sorted(due, key=lambda item: float(item["at"])):
            del self.tables["timers"][row["id"]]
            self.changed()
            self.actions[row["action"]](row["owner"])

    def dump(self) -> dict[str, Any]:
        """Return the whole state, ready for JSON, without what Stripe too would have deleted."""
        self._forget()
        return dict(self.tables)

    def load(self, data: dict[str, Any]) -> None:
        """Restore what `dump` returned."""
        for name in TABLES:
            self.tables[name] = dict(data.get(name, {}))

    def _forget(self) -> None:
        now = self.now()
        _drop_old(self.tables["idempotency"], now - KEY_LIFE)
        for key in _drop_old(self.tables["events"], now - EVENT_LIFE):
            self.tables["private"].pop(key, None)
        done = [key for key, row in self.tables["deliveries"].items() if row["state"] != "pending"]
        for key in done[:-KEPT_DELIVERIES]:
            del self.tables["deliveries"][key]


def _drop_old(table: dict[str, Json], limit: int) -> list[str]:
    old = [key for key, row in table.items() if row["created"] < limit]
    for key in old:
        del table[key]
    return old
