"""The rows of the queue, and the meaning of a typed line: a row, a name, a code or a receipt's number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from procomp_pay.cli.framework import console, formats
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
    """The unverified payments, each with a row number that it keeps."""

    def __init__(self, ctx: AppContext) -> None:
        self._ctx = ctx
        self.clock = ctx.clock
        #: A receipt's number that was typed before its payment was chosen.
        self.receipt: str | None = None
        self._numbers: dict[str, int] = {}
        self._rows: list[PaymentView] = []

    async def refresh(self) -> None:
        """Read the payments again.

        :raises DatabaseUnavailable: the rows stay as they were.
        """
        self._rows = await waiting(self._ctx)
        for view in self._rows:
            self._numbers.setdefault(view.payment_id, len(self._numbers) + 1)

    def __len__(self) -> int:
        return len(self._rows)

    def matching(self, typed: str) -> list[tuple[int, PaymentView]]:
        """Return the rows that match what has been typed; all rows for a number."""
        rows = [(self._numbers[view.payment_id], view) for view in self._rows]
        typed = typed.strip()
        if not typed or typed.isdigit():
            return rows
        named = [row for row in rows if _matches(row[1], search_key(typed).split())]
        return named or [row for row in rows if _has_code(row[1], typed)]

    def choice(self, typed: str) -> PaymentView | None:
        """Return the payment that a line chooses: by row number, or as the only match."""
        rows = self.matching(typed)
        if typed.strip().isdigit():
            return next((view for number, view in rows if str(number) == typed.strip()), None)
        return rows[0][1] if len(rows) == 1 else None

    async def find(self, typed: str) -> PaymentView | str:
        """Return the payment that a receipt's number belongs to; otherwise a message about the line."""
        number = as_receipt(typed)
        if number is None:
            return await self._explain(typed)
        operation = await receipt(self._ctx, number)
        if operation.payment_id is None:
            self.receipt = number
            return f"[yellow]Receipt {number} is not known yet. Whose is it? Type the row or the name[/]"
        view = await views.one(self._ctx, operation.payment_id)
        if operation.settled_at is None:
            self.receipt = number
            return view
        when = formats.clock_time(operation.settled_at)
        participant = f"{console.safe(view.participant_name)} ({console.safe(view.category or '-')})"
        return (
            f"[red]Receipt {number} was used: it settled {participant} at {when}. Ask for another receipt[/]"
        )

    async def _explain(self, typed: str) -> str:
        matches, shown = len(self.matching(typed)), repr(console.safe(typed[:20]))
        if typed.isdigit():
            return f"[yellow]There is no row {console.safe(typed[:20])}[/]"
        if matches > 1:
            return f"[yellow]{matches} match {shown}: type the number before the name[/]"
        page = await list_participants(self._ctx, search=typed, limit=1)
        if page.total == 0:
            return f"[yellow]No registered participant matches {shown}[/]"
        if page.total > 1:
            return f"[yellow]{page.total} participants match {shown}, none has a payment to verify[/]"
        [participant] = page.items
        name = f"{console.safe(participant.full_name)} ({console.safe(participant.category or '-')})"
        if participant.is_paid:
            return f"[green]✓ {name} is PAID already[/]"
        command = f"procomp-pay initiate {participant.participant_id} --method kaspi_qr"
        return f"[yellow]{name} has no Kaspi payment to verify. For a new QR: {console.safe(command)}[/]"


def _matches(view: PaymentView, parts: list[str]) -> bool:
    """Return whether all parts are in the name or the category, in any order."""
    text = search_key(f"{view.participant_name} {view.category or ''}")
    return bool(parts) and all(part in text for part in parts)


def _has_code(view: PaymentView, typed: str) -> bool:
    """Return whether the payment's code starts with it."""
    part = payment_code.folded(typed)
    return len(part) >= 3 and payment_code.folded(view.code or "").startswith(part)


def as_receipt(typed: str) -> str | None:
    """Return the operation number if one was typed; a row number never has that many digits."""
    try:
        return operation_number.read(typed)
    except PaymentError:
        return None
