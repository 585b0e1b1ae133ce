"""Read a participant's payments with their status changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from procomp_pay.domain.events import EventType, Source
from procomp_pay.services.context import AppContext
from procomp_pay.services.views.payment import PaymentView, many
from procomp_pay.services.views.refund import plain_decline
from procomp_pay.services.views.timestamps import instant
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.database import keyset_cursor
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.payments.listing import Filter
from procomp_pay.storage.registrations import lookup as registrations

#: Actions whose note is the reason of a status, unless one of these sources wrote it.
_TOLD_ACTIONS = tuple(f"{kind}:" for kind in (EventType.FAILED, EventType.CANCELLED, EventType.EXPIRED))
_STAFF_SOURCES = (Source.PERSON, Source.APP, Source.RECONCILE)


@dataclass(frozen=True, slots=True)
class Move:
    """An entry of a payment's audit trail.

    :param amount: the amount of a requested, completed or failed refund, in the currency of the payment.
    """

    at: datetime
    action: str
    actor: str
    source: str
    before: str | None
    after: str | None
    note: str | None
    amount: Decimal | None = None

    def for_owner(self) -> dict[str, Any]:
        """Return what the participant's user may read: not who acted, and of notes only the provider's reason
        for a status; the others are the staff's.
        """
        item = self.full()
        del item["actor"]
        ours = self.source in _STAFF_SOURCES or not self.action.startswith(_TOLD_ACTIONS)
        return item | {"note": None if ours else plain_decline(self.note)}

    def full(self) -> dict[str, Any]:
        return {
            "at": instant(self.at),
            "action": self.action,
            "actor": self.actor,
            "source": self.source,
            "before": self.before,
            "after": self.after,
            "note": self.note,
            "amount": self.amount,
        }


def move_view(entry: AuditEntry) -> Move:
    before, after = entry.before or {}, entry.after or {}
    return Move(
        at=entry.at,
        action=entry.action,
        actor=entry.actor,
        source=entry.source,
        before=before.get("status"),
        after=after.get("status"),
        note=entry.note,
        amount=_amount(entry.action, before, after),
    )


def _amount(action: str, before: dict[str, Any], after: dict[str, Any]) -> Decimal | None:
    if action == "refund_requested":
        return Decimal(str(after["amount"]))
    if not action.startswith("refund_"):
        return None
    change = Decimal(str(after.get("refunded", 0))) - Decimal(str(before.get("refunded", 0)))
    return abs(change) or None


async def read_history(ctx: AppContext, participant_id: str) -> list[tuple[PaymentView, list[Move]]]:
    """Return all payments of a participant, newest first, each with its status changes, oldest first.

    :raises NotFound: no such participant.
    """
    async with ctx.db.reading() as session:
        await registrations.participant(session, participant_id)
    views, _ = await many(ctx, Filter(participant_id=participant_id), limit=keyset_cursor.MOST)
    async with ctx.db.reading() as session:
        return [
            (view, [move_view(entry) for entry in await audit.entries(session, view.payment_id)])
            for view in views
        ]
