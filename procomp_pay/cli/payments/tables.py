"""Payments as lines of plain text: for a terminal of any width, and whole lines for a pipe.

Drawn without rich: `status` is typed forty times an hour, and starts twice as fast so.
"""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from procomp_pay.cli.framework.common import clean, has_colour, wrap
from procomp_pay.cli.payments import refund_wording, wording
from procomp_pay.domain.states import PaymentStatus

if TYPE_CHECKING:
    from procomp_pay.services.views.payment import Move, PaymentView

#: From this width on a payment is one line.
_WIDE = 130
_MARKS = {
    PaymentStatus.COMPLETED: "✓",
    PaymentStatus.PENDING: "…",
    PaymentStatus.PROCESSING: "…",
    PaymentStatus.REFUNDED: "↩",
}


def status_lines(view: PaymentView) -> list[str]:
    """One payment, for its participant at the desk."""
    place = clean(view.tournament_name) + (f" · {clean(view.category)}" if view.category else "")
    rows = [
        ("amount", bold(str(view.charged)) + _other_amounts(view)),
        ("method", wording.METHODS[view.method] + (f" ({clean(view.wallet)})" if view.wallet else "")),
        ("tournament", place),
        ("started", f"{wording.clock_time(view.created_at)} by {clean(view.started_by)}"),
        *_ends(view),
        *_back(view),
        *([("code", bold(view.code))] if view.code else []),
        ("payment", view.payment_id),
        ("participant", view.participant_id),
    ]
    name = bold(clean(view.participant_name))
    sentence = wrap(clean(wording.state(view)), sys.stdout)
    head = [f"{_mark(view)} {name}  {_status(view)}", *(f"  {line}" for line in sentence.splitlines())]
    return [*head, *(f"  {dim(f'{label:<11}')} {value}" for label, value in rows)]


def _ends(view: PaymentView) -> list[tuple[str, str]]:
    found = []
    if view.completed_at is not None:
        found.append(("paid", wording.clock_time(view.completed_at)))
    elif view.expires_at is not None:
        over = view.status is PaymentStatus.PENDING and view.expires_at <= datetime.now(UTC)
        note = " (over: ask the provider with --refresh)" if over else ""
        found.append(("until", wording.clock_time(view.expires_at) + note))
    if view.operation_number:
        found.append(("operation", clean(view.operation_number)))
    return found


def _back(view: PaymentView) -> list[tuple[str, str]]:
    found = [
        ("refund", clean(refund_wording.refund_line(each, wording.clock_time(each.created_at))))
        for each in view.refunds
    ]
    if view.dispute is not None:
        due = wording.clock_time(view.dispute.due_at) if view.dispute.due_at else None
        found.append(("dispute", clean(refund_wording.dispute_line(view.dispute, due))))
    return found


def _other_amounts(view: PaymentView) -> str:
    text = f", {view.refunded} paid back" if view.refunded.amount else ""
    return text + (f" (for {view.requested})" if view.requested != view.charged else "")


def history_lines(entries: Sequence[tuple[PaymentView, Sequence[Move]]]) -> list[str]:
    """All payments of a participant with what happened to each."""
    first = entries[0][0]
    lines = [f"{bold(clean(first.participant_name))} · {clean(first.tournament_name)}"]
    for view, moves in entries:
        head = f"{_mark(view)} {_status(view)}  {bold(str(view.charged))}  {wording.METHODS[view.method]}"
        lines += ["", f"{head}  {dim('refunded')} {_refunded(view)}"]
        lines.append(f"  {dim(view.payment_id)} {clean(wording.state(view))}")
        day = ""
        for entry in moves:
            on = wording.day_of(entry.at)
            if on != day:
                day = on
                lines.append(f"  {dim(on)}")
            said = f"    {wording.exact_time(entry.at)}  {clean(wording.move(entry, view))}"
            lines.append(wrap(said, sys.stdout, indent=" " * 14))
    return lines


def list_lines(views: Sequence[PaymentView]) -> list[str]:
    """Payments as a table: one line each where there is room or no terminal, else two."""
    if not sys.stdout.isatty() or shutil.get_terminal_size().columns >= _WIDE:
        return _table(views)
    width = shutil.get_terminal_size().columns
    lines = []
    for view in views:
        amount = str(view.charged) + (f" (-{view.refunded})" if view.refunded.amount else "")
        head = f"{_mark(view)} {_pad(_status(view), 10, len(view.status))} {amount:>16}  "
        room = width - 2 - 10 - 1 - max(16, len(amount)) - 2
        lines.append(head + bold(_cut(clean(view.participant_name), room)))
        flag = f"{refund_wording.flag(view)} · " if view.dispute else ""
        rest = f"{flag}{wording.METHODS[view.method]} · {wording.clock_time(view.created_at)} · "
        tournament = _cut(clean(view.tournament_name), width - 2 - len(view.payment_id) - 2 - len(rest))
        lines.append(dim(f"  {view.payment_id}  {rest}{tournament}"))
    return lines


def _table(views: Iterable[PaymentView]) -> list[str]:
    head = ("STATUS", "AMOUNT", "REFUNDED", "METHOD", "STARTED", "PAYMENT", "PARTICIPANT", "TOURNAMENT")
    rows = [
        (
            view.status.value + _flags(view),
            str(view.charged),
            _refunded(view),
            wording.METHODS[view.method],
            wording.clock_time(view.created_at),
            view.payment_id,
            clean(view.participant_name),
            clean(view.tournament_name),
        )
        for view in views
    ]
    return grid(head, rows, right=(1, 2))


def grid(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int]) -> list[str]:
    """A table of plain lines.

    :param right: the columns, from 0, that stand at the right: amounts and numbers.
    """
    widths = [max(_width(row[n]) for row in (head, *rows)) for n in range(len(head))]
    lines = []
    for number, row in enumerate((head, *rows)):
        cells = [
            " " * (width - _width(cell)) + cell if n in right else cell + " " * (width - _width(cell))
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        line = "  ".join(cells).rstrip()
        lines.append(dim(line) if number == 0 else line)
    return lines


def _refunded(view: PaymentView) -> str:
    return str(view.refunded) if view.refunded.amount else "-"


def _flags(view: PaymentView) -> str:
    dispute = f" {refund_wording.flag(view)}" if view.dispute else ""
    return (" LATE" if view.is_late else "") + (" TWICE" if view.is_duplicate else "") + dispute


def _mark(view: PaymentView) -> str:
    mark = "!" if refund_wording.is_odd(view) else _MARKS.get(view.status, "✗")
    return typer.style(mark, fg=_colour(view), bold=True) if has_colour() else mark


def _status(view: PaymentView) -> str:
    return typer.style(view.status.value, fg=_colour(view), bold=True) if has_colour() else view.status.value


def _colour(view: PaymentView) -> str:
    return "yellow" if refund_wording.is_odd(view) else wording.COLOURS[view.status]


def bold(text: str) -> str:
    """Bold on a terminal with colours."""
    return typer.style(text, bold=True) if has_colour() else text


def dim(text: str) -> str:
    """Dim on a terminal with colours."""
    return typer.style(text, dim=True) if has_colour() else text


def _pad(text: str, width: int, shown: int) -> str:
    return text + " " * max(0, width - shown)


def _width(text: str) -> int:
    """Columns that a terminal gives to a text."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def _cut(text: str, width: int) -> str:
    while text and _width(text) > max(1, width):
        text = text[:-2].rstrip() + "…" if not text.endswith("…") else text[:-2] + "…"
    return text
