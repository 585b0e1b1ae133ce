"""Show the events of the inbox to operators, and replay them."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from procomp_pay.domain.errors import Conflict, NotFound, PaymentError, Refused
from procomp_pay.domain.redact import HIDDEN
from procomp_pay.domain.text import N_
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.webhooks import kaspi_bill
from procomp_pay.services.webhooks.inbox import ATTEMPTS, handle_one
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.models import exact_json
from procomp_pay.storage.models.states import EventState
from procomp_pay.storage.models.webhooks import WebhookEvent
from procomp_pay.storage.payments.repository import lock_payment
from procomp_pay.storage.webhooks import inbox
from procomp_pay.storage.webhooks.inbox import EventFilter

log = logging.getLogger(__name__)

_WHY = {
    EventState.DONE: "handled",
    EventState.IGNORED: "kept, of a type that the desk does not act on",
    EventState.FOREIGN: "kept, about a payment that this desk did not take: another shop of the same Stripe "
    "account, or one made in Stripe's dashboard",
}
_FOREIGN_AT_KASPI = "kept, about a payment that this desk did not take"

#: Keys whose values are secret or personal, whatever they look like.
_KEYS = re.compile(
    r"secret|password|token|fingerprint|authorization|e_?mail|phone|address|(^|_)ip($|_)|(^|_)name$|^tax_id"
    r"|^(last4|exp_month|exp_year|iin|bin|cvc|number|dynamic_last4|network_transaction_id)$"
    r"|^(description|customer_details|billing_details|shipping|receipt_url|hosted_invoice_url)$",
    re.IGNORECASE,
)
#: Values that are secret or personal by their shape: keys, client secrets, tokens, addresses, phone numbers,
#: card numbers.
_SHAPES = re.compile(
    r"\b[sr]k_(?:live|test)_\w+|\bwhsec_\w+|\b\w+_secret_\w+|\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"
    r"|[\w.+-]+@[\w-]+\.[\w.-]+"
    r"|(?<![\w-])\+?\d(?:[ -]?\d){10,18}(?![\w-])"
    r"|(?<!\w)\+\d[\d ()-]{7,}\d"
)
#: Values that cannot identify anybody.
_EMPTY: tuple[Any, ...] = (None, "", True, False)


@dataclass(frozen=True, slots=True)
class EventView:
    """An event of the inbox; ``why`` explains its state."""

    id: str
    event_id: str
    provider: str
    type: str
    state: EventState
    attempts: int
    why: str
    last_error: str | None
    payment_id: str | None
    occurred_at: datetime
    received_at: datetime
    handled_at: datetime | None
    next_attempt_at: datetime | None

    def full(self) -> dict[str, Any]:
        """Return all fields, for ``--json``."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in fields.items()
        }


@dataclass(frozen=True, slots=True)
class Replayed:
    """A replayed event; ``state`` is ``None`` if another process is handling it, or for a dry run."""

    before: EventView
    state: EventState | None = None


def _view(row: WebhookEvent) -> EventView:
    pending = row.state is EventState.PENDING
    return EventView(
        id=row.id,
        event_id=row.event_id,
        provider=row.provider,
        type=row.type,
        state=row.state,
        attempts=row.attempts,
        why=_why(row),
        last_error=row.last_error,
        payment_id=row.payment_id,
        occurred_at=row.occurred_at,
        received_at=row.received_at,
        handled_at=row.handled_at,
        next_attempt_at=row.next_attempt_at if pending else None,
    )


def _why(row: WebhookEvent) -> str:
    if row.state is EventState.DEAD:
        return f"given up after {row.attempts} attempts: {row.last_error}"
    if row.state is EventState.PENDING:
        if not row.attempts:
            return "waiting to be handled"
        return f"attempt {row.attempts} of {ATTEMPTS} failed: {row.last_error}"
    if row.state is EventState.FOREIGN and row.last_error is not None:
        return row.last_error
    if row.state is EventState.FOREIGN and row.provider != "stripe":
        return _FOREIGN_AT_KASPI
    return _WHY[row.state]


async def many(
    ctx: AppContext, wanted: EventFilter, *, limit: int = 20, cursor: str | None = None
) -> tuple[list[EventView], str | None]:
    """Return a page of events, newest first, and the cursor of the next page."""
    async with ctx.db.reading() as session:
        rows, following = await inbox.page(session, wanted, limit=limit, cursor=cursor)
    return [_view(row) for row in rows], following


async def one(ctx: AppContext, name: str) -> tuple[EventView, Any]:
    """Return an event and its document, redacted; ``None`` if that was dropped after its time.

    :param name: the event's id in the inbox or at the provider.
    :raises NotFound: no such event. :raises ConfigurationError: none of the keys decrypts it.
    """
    async with ctx.db.reading() as session:
        row = await inbox.find(session, name)
    if row is None:
        raise _unknown(name)
    if row.payload_enc == inbox.DROPPED:
        return _view(row), None
    return _view(row), redacted(exact_json.loads(ctx.keyring.unseal(row.payload_enc)))


async def replay_one(ctx: AppContext, name: str, actor: Actor, *, dry_run: bool) -> Replayed:
    """Process an event again, whatever its state; settlement applies nothing twice.

    :raises NotFound: no such event. :raises Refused: its payload was dropped.
    :raises Conflict: somebody decided about its money, and it settles no payment.
    """
    async with ctx.db.reading() as session:
        row = await inbox.find(session, name)
    if row is None:
        raise _unknown(name)
    _check_payload(row)
    if dry_run:
        return Replayed(_view(row))
    replayed = await _replay(ctx, _view(row), actor)
    if replayed.state is EventState.FOREIGN:
        view, _ = await one(ctx, row.id)
        if view.last_error is not None:
            number = row.event_id if row.provider == kaspi_bill.PROVIDER else "N"
            raise Conflict(
                view.last_error,
                next_step=N_(
                    "check in the Kaspi Pay app that it was not given back; if it was not, an admin settles "
                    "a payment with it: procomp-pay verify-kaspi PAYMENT --transaction-id %(number)s "
                    '--override --reason "…"',
                    number=number,
                ),
            )
    return replayed


async def replay_many(
    ctx: AppContext, wanted: EventFilter, actor: Actor, *, limit: int, dry_run: bool
) -> list[Replayed]:
    """Process the newest ``limit`` matching events again, oldest of them first; those without a payload are
    left out."""
    wanted = replace(wanted, has_payload=True)
    views: list[EventView] = []
    cursor = None
    while len(views) < limit:
        page, cursor = await many(ctx, wanted, limit=min(200, limit - len(views)), cursor=cursor)
        views += page
        if cursor is None:
            break
    if dry_run:
        return [Replayed(view) for view in reversed(views)]
    return [await _replay(ctx, view, actor) for view in reversed(views)]


def _check_payload(row: WebhookEvent) -> None:
    """
    :raises Refused: the event's payload was dropped after its time.
    """
    if row.payload_enc == inbox.DROPPED:
        raise Refused(
            f"Event {row.event_id} was {row.state}, and its content was dropped after RETAIN_PAYLOADS_DAYS: "
            "it cannot be processed again",
            next_step=f"procomp-pay reconcile --since {row.occurred_at:%Y-%m-%d}",
        )


async def _replay(ctx: AppContext, view: EventView, actor: Actor) -> Replayed:
    async with ctx.db.writing() as session:
        if view.payment_id is not None:
            try:
                await lock_payment(session, view.payment_id)
            except PaymentError:
                log.info("the payment of event %s was deleted", view.event_id)
            else:
                record = actor.record(
                    "event_replayed", source_id=view.event_id, note=f"{view.type}, was {view.state}"
                )
                await audit.append(session, view.payment_id, record, ctx.clock())
        row = await inbox.find(session, view.id, lock=True)
        if row is None:
            raise _unknown(view.id)
        _check_payload(row)
        row.state = EventState.PENDING
        row.attempts = 0
        row.next_attempt_at = ctx.clock()
    log.warning("event %s (%s, was %s) is replayed by %s", view.event_id, view.type, view.state, actor.name)
    handled = await handle_one(ctx, view.id)
    return Replayed(view, handled.state if handled else None)


def _unknown(name: str) -> NotFound:
    return NotFound(f"There is no event {name[:64]!r} in the inbox", next_step="procomp-pay events list")


def redacted(document: Any) -> Any:
    """Return a copy of the document with everything secret or personal hidden, by key and by shape."""
    if isinstance(document, dict):
        return {key: _value(str(key), value) for key, value in document.items()}
    if isinstance(document, list):
        return [redacted(item) for item in document]
    return _SHAPES.sub(HIDDEN, document) if isinstance(document, str) else document


def _value(key: str, value: Any) -> Any:
    if isinstance(value, list | dict) and not value:
        return value
    if _KEYS.search(key) and not any(value is empty for empty in _EMPTY):
        return HIDDEN
    return redacted(value)
