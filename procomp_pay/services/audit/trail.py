"""Show the audit trail of one payment, entry by entry, with the fields that each changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from procomp_pay.domain.errors import NotFound
from procomp_pay.services.audit import verify as audit_verify
from procomp_pay.services.audit.verify import AuditReport
from procomp_pay.services.context import AppContext
from procomp_pay.services.views.history import Move, move_view
from procomp_pay.services.views.payment import PaymentView, one
from procomp_pay.services.views.timestamps import instant
from procomp_pay.storage.audit import read as audit_read
from procomp_pay.storage.audit.read import Link
from procomp_pay.storage.models.audit import AuditEntry


@dataclass(frozen=True, slots=True)
class Change:
    """A changed field; ``None`` stands for a value that is not set."""

    name: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Step:
    """One entry; ``entry`` and ``move`` are ``None`` if its content cannot be read."""

    link: Link
    entry: AuditEntry | None
    move: Move | None
    changes: tuple[Change, ...]

    def full(self) -> dict[str, Any]:
        """Return all fields, for ``--json``."""
        position = {"seq": self.link.seq, "hash": self.link.hash, "prev_hash": self.link.prev_hash}
        if self.entry is None:
            return position | {"readable": False}
        names = ("actor", "source", "source_id", "request_id", "action", "note", "before", "after")
        return (
            position
            | {"readable": True, "at": instant(self.entry.at)}
            | {name: getattr(self.entry, name) for name in names}
        )


@dataclass(frozen=True, slots=True)
class Trail:
    """All entries, oldest first, with the result of their verification.

    :param view: ``None`` if the payment was deleted.
    """

    payment_id: str
    view: PaymentView | None
    steps: list[Step]
    report: AuditReport


async def trail(ctx: AppContext, payment_id: str) -> Trail:
    """Return the audit trail of a payment.

    :raises NotFound: there is neither such a payment nor an entry of one.
    """
    report = await audit_verify.verify(ctx, payment_id)
    steps = [_step(link) async for link in audit_read.links(ctx.db, payment_id)]
    try:
        view: PaymentView | None = await one(ctx, payment_id)
    except NotFound:
        view = None
    return Trail(payment_id, view, steps, report)


def _step(link: Link) -> Step:
    entry = link.entry
    if entry is None or not all(isinstance(side, dict | None) for side in (entry.before, entry.after)):
        return Step(link, None, None, ())
    try:
        move = move_view(entry)
    except (KeyError, TypeError, ArithmeticError):  # the entry was tampered with
        move = None
    return Step(link, entry, move, _changes(entry.before, entry.after))


def _changes(before: dict[str, Any] | None, after: dict[str, Any] | None) -> tuple[Change, ...]:
    """Return the changed fields; without a snapshot from before, all values are new."""
    old, new = before or {}, after or {}
    return tuple(
        Change(name, old.get(name), new[name])
        for name in new
        if new[name] is not None and (name not in old or old[name] != new[name])
    ) + tuple(
        Change(name, old[name], None) for name in old if old[name] is not None and new.get(name) is None
    )
