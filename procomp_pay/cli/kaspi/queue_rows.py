"""Who waits in the queue, and what a typed line means: a row, a name, a code or a receipt's number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procomp_pay.cli.framework.common import safe
from procomp_pay.cli.payments import wording
from procomp_pay.domain import operation_number, payment_code
from procomp_pay.domain.errors import PaymentError
from procomp_pay.domain.names import search_key
from procomp_pay.services.kaspi_verification.queue import receipt, waiting
from procomp_pay.services.registrations.participants import list_participants
from procomp_pay.services.views import payment as views

if TYPE_CHECKING:
    from procomp_pay.services.context import AppContext
    from procomp_pay.services.views.payment import PaymentView


class Queue:
    """Who waits, each with a number of their own."""

    def __init__(self, ctx: AppContext) -> None:
        self._desk = ctx
        self.clock = ctx.clock
        #: A receipt's number that was typed before its payment was picked.
        self.receipt: str | None = None
        self._numbers: dict[str, int] = {}
        self._rows: list[PaymentView] = []

    async def look(self) -> None:
        """Read again.

        :raises DatabaseUnavailable: what was read before stays.
        """
        self._rows = await waiting(self._desk)
        for view in self._rows:
            self._numbers.setdefault(view.payment_id, len(self._numbers) + 1)

    def __len__(self) -> int:
        return len(self._rows)

    def fitting(self, typed: str) -> list[tuple[int, PaymentView]]:
        """The lines that fit what has been typed: all of them for a number."""
        rows = [(self._numbers[view.payment_id], view) for view in self._rows]
        typed = typed.strip()
        if not typed or typed.isdigit():
            return rows
        named = [row for row in rows if _fits(row[1], search_key(typed).split())]
        return named or [row for row in rows if _has_code(row[1], typed)]

    def choice(self, typed: str) -> PaymentView | None:
        """What a whole line picks: the line of that number, or the only one that fits."""
        rows = self.fitting(typed)
        if typed.strip().isdigit():
            return next((view for number, view in rows if str(number) == typed.strip()), None)
        return rows[0][1] if len(rows) == 1 else None

    async def find(self, typed: str) -> PaymentView | str:
        """What a line picks that is no row and no one name; else what to say about it."""
        number = as_receipt(typed)
        if number is None:
            return await self._explain(typed)
        found = await receipt(self._desk, number)
        if found.payment_id is None:
            self.receipt = number
            return f"[yellow]Receipt {number} is new here. Whose is it? Type the row or the name[/]"
        view = await views.one(self._desk, found.payment_id)
        if found.settled_at is None:
            self.receipt = number
            return view
        when = wording.clock_time(found.settled_at)
        who = f"{safe(view.participant_name)} ({safe(view.category or '-')})"
        return f"[red]Receipt {number} is used: it settled {who} at {when}. Ask for another receipt[/]"

    async def _explain(self, typed: str) -> str:
        fit, shown = len(self.fitting(typed)), repr(safe(typed[:20]))
        if typed.isdigit():
            return f"[yellow]There is no row {safe(typed[:20])}[/]"
        if fit > 1:
            return f"[yellow]{fit} fit {shown}: type the number in front of the name[/]"
        page = await list_participants(self._desk, search=typed, limit=1)
        if page.total == 0:
            return f"[yellow]Nobody is registered whose name fits {shown}[/]"
        if page.total > 1:
            return (
                f"[yellow]None of the {page.total} registered who fit {shown} waits: type more of the name[/]"
            )
        [who] = page.items
        name = f"{safe(who.full_name)} ({safe(who.category or '-')})"
        if who.is_paid:
            return f"[green]✓ {name} is PAID already[/]"
        command = f"procomp-pay initiate {who.participant_id} --method kaspi_qr"
        return f"[yellow]{name} has no Kaspi payment that waits. A new QR: {safe(command)}[/]"


def _fits(view: PaymentView, parts: list[str]) -> bool:
    """Whether all parts are in the name or the category, in any order."""
    text = search_key(f"{view.participant_name} {view.category or ''}")
    return bool(parts) and all(part in text for part in parts)


def _has_code(view: PaymentView, typed: str) -> bool:
    """Whether the payment's code begins so."""
    part = payment_code.folded(typed)
    return len(part) >= 3 and payment_code.folded(view.code or "").startswith(part)


def as_receipt(typed: str) -> str | None:
    """The operation number, where one was typed: no row of a list has so many digits."""
    try:
        return operation_number.read(typed)
    except PaymentError:
        return None
