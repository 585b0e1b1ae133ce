"""Payments as plain text: lines that fit the terminal, and whole lines for a pipe.

Without rich: ``status`` is typed forty times an hour, and starts twice as fast this way.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from procomp_pay.cli.display import wording
from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.language import _
from procomp_pay.domain.states import PaymentStatus, method_name

if TYPE_CHECKING:
    from procomp_pay.services.views.history import Move
    from procomp_pay.services.views.payment import PaymentView

_MARKS: dict[str, str] = {
    PaymentStatus.COMPLETED: "✓",
    PaymentStatus.PENDING: "…",
    PaymentStatus.PROCESSING: "…",
    PaymentStatus.REFUNDED: "↩",
}


#: A list has its names on lines of their own where this many columns are not left for them.
_SHORTEST_NAME = 12


def _other_wallet(view: PaymentView) -> str:
    """Return what was used on Stripe's page, if it is not the method that the desk chose."""
    return f" ({console.clean(view.wallet)})" if view.wallet not in (None, view.method.lower()) else ""


def status_lines(view: PaymentView) -> list[str]:
    """Return the lines that show one payment."""
    rows = [
        (_("amount"), console.bold(formats.money(view.charged)) + _other_amounts(view)),
        (_("method"), method_name(view.method) + _other_wallet(view)),
        (_("tournament"), console.clean(wording.tournament(view))),
        (
            _("started"),
            _(
                "%(time)s by %(name)s",
                time=formats.clock_time(view.created_at),
                name=console.clean(view.started_by),
            ),
        ),
        *_ends(view),
        *_refunds_and_dispute(view),
        *([(_("code"), console.bold(view.code))] if view.code else []),
        (_("payment"), view.payment_id),
        (_("participant"), view.participant_id),
    ]
    name = console.bold(console.clean(view.participant_name))
    sentence = console.wrap(console.clean(wording.state(view)))
    head = [f"{_symbol(view)} {name}  {_status(view)}", *(f"  {line}" for line in sentence.splitlines())]
    return [*head, *console.label_rows(rows)]


def also_lines(others: Sequence[PaymentView]) -> list[str]:
    """Return a line for each of a participant's payments beside the one that is shown."""

    def text(view: PaymentView) -> str:
        amount = formats.money(view.charged) + _other_amounts(view)
        flags = " · ".join([method_name(view.method), *_flags(view)])
        return f"{view.code or view.payment_id} {_status(view)} {amount}, {flags}"

    return console.label_rows((_("also"), text(view)) for view in others)


def _ends(view: PaymentView) -> list[tuple[str, str]]:
    rows = []
    if view.completed_at is not None:
        rows.append((_("paid"), formats.clock_time(view.completed_at)))
    elif view.expires_at is not None:
        over = view.status is PaymentStatus.PENDING and view.expires_at <= datetime.now(UTC)
        note = " " + _("(expired: ask the provider with --refresh)") if over else ""
        rows.append((_("until"), formats.clock_time(view.expires_at) + note))
    if view.operation_number:
        rows.append((_("operation"), console.clean(view.operation_number)))
    return rows


def _refunds_and_dispute(view: PaymentView) -> list[tuple[str, str]]:
    rows = [
        (_("refund"), console.clean(wording.refund_line(refund, formats.clock_time(refund.created_at))))
        for refund in view.refunds
    ]
    if view.dispute is not None:
        due = formats.clock_time(view.dispute.due_at) if view.dispute.due_at else None
        rows.append((_("dispute"), console.clean(wording.dispute_line(view.dispute, due))))
    return rows


def _other_amounts(view: PaymentView) -> str:
    text = ", " + _("%(money)s refunded", money=view.refunded) if view.refunded.amount else ""
    return text + (" " + _("(for %(money)s)", money=view.requested) if view.requested != view.charged else "")


def history_lines(entries: Sequence[tuple[PaymentView, Sequence[Move]]]) -> list[str]:
    """Return the lines that show all payments of a participant, with what happened to each."""
    first = entries[0][0]
    name = console.bold(console.clean(first.participant_name))
    lines = [f"{name} · {console.clean(first.tournament_name)}"]
    for view, moves in entries:
        amount = console.bold(formats.money(view.charged))
        head = f"{_symbol(view)} {_status(view)}  {amount}  {method_name(view.method)}"
        lines += ["", f"{head}  {console.dim(_('refunded'))} {_refunded(view)}"]
        lines.append(f"  {console.dim(view.payment_id)} {console.clean(wording.state(view))}")
        day = ""
        for entry in moves:
            if (entry_day := formats.day_of(entry.at)) != day:
                day = entry_day
                lines.append(f"  {console.dim(day)}")
            line = f"    {formats.exact_time(entry.at)}  {console.clean(wording.describe_entry(entry, view))}"
            lines.append(console.wrap(line, indent=" " * 14))
    return lines


def list_lines(views: Sequence[PaymentView], *, wide: bool = False) -> list[str]:
    """Return a list of payments, a line for each: with its code and name, as the terminal's width allows.

    :param wide: all columns, with ids, whatever the width; so it always is in a pipe, which has none.
    """
    if wide or not sys.stdout.isatty():
        return _table(views)
    rows = [
        (
            f"{_symbol(view)} {_status(view)}",
            formats.money(view.charged)
            + (f" (-{formats.money(view.refunded)})" if view.refunded.amount else ""),
            formats.clock_time(view.created_at),
            view.code or "-",
            " · ".join([*_flags(view), console.clean(view.participant_name)]),
        )
        for view in views
    ]
    widths = [max(console.width_of(row[n]) for row in rows) for n in (1, 2, 3)]
    width = max(10, *(len(wording.status(view.status)) for view in views)) if views else 10
    room = console.columns() - width - 2 - sum(widths) - 8
    lines = []
    for view, (status, amount, started, code, name) in zip(views, rows, strict=True):
        gap = " " * (width - len(wording.status(view.status)))
        head = f"{status}{gap}  {amount:>{widths[0]}}  {started:>{widths[1]}}"
        code_cell = console.bold(code) + " " * (widths[2] - len(code))
        if room >= _SHORTEST_NAME:
            lines.append(f"{head}  {code_cell}  {console.shortened(name, room)}")
        else:
            short = console.wrap(f"{status}  {amount}  {started}", "    ")
            head = head if sum(widths[:2]) + width + 6 <= console.columns() else short
            lines += [head, f"  {code_cell}  {console.shortened(name, console.columns() - widths[2] - 4)}"]
    return lines


def _table(views: Iterable[PaymentView]) -> list[str]:
    head = (
        _("STATUS"), _("AMOUNT"), _("REFUNDED"), _("METHOD"), _("STARTED"), _("CODE"), _("PAYMENT"),
        _("PARTICIPANT"), _("TOURNAMENT"),
    )  # fmt: skip
    rows = [
        (
            " ".join([wording.status(view.status), *_flags(view)]),
            formats.money(view.charged),
            _refunded(view),
            method_name(view.method),
            formats.clock_time(view.created_at),
            view.code or "-",
            view.payment_id,
            console.clean(view.participant_name),
            console.clean(view.tournament_name),
        )
        for view in views
    ]
    return console.grid(head, rows, right=(1, 2))


def _refunded(view: PaymentView) -> str:
    return formats.money(view.refunded) if view.refunded.amount else "-"


def _flags(view: PaymentView) -> list[str]:
    """Return in a word each why a payment needs attention."""
    late = [_("LATE")] if view.is_late else []
    twice = [_("TWICE")] if view.is_duplicate else []
    return [*late, *twice, *([wording.flag(view)] if view.dispute else [])]


def _symbol(view: PaymentView) -> str:
    mark = "!" if wording.needs_attention(view) else _MARKS.get(view.status, "✗")
    return console.coloured(mark, _colour(view), bold=True)


def _status(view: PaymentView) -> str:
    return console.coloured(wording.status(view.status), _colour(view), bold=True)


def _colour(view: PaymentView) -> str:
    return "yellow" if wording.needs_attention(view) else wording.colour(view.status)
