"""Discrepancies in words: a table, and a page that says what is what and what to do."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from procomp_pay.cli.framework.common import clean, wrap
from procomp_pay.cli.payments import wording
from procomp_pay.cli.payments.tables import bold, dim

if TYPE_CHECKING:
    from procomp_pay.services.reconciliation.discrepancies import DiscrepancyView

_WIDE = 120
_PROVIDERS = {"stripe": "Stripe", "kaspi": "Kaspi", None: "the provider"}
#: What each kind means, and what a person looks at.
_MEANS = {
    "MISSING_LOCALLY": "Money came at the provider that is of no payment in our books.",
    "MISSING_AT_PROVIDER": "Our books have it as paid, and the provider does not know it.",
    "STATUS_MISMATCH": "Our books and the provider disagree about how it stands.",
    "AMOUNT_MISMATCH": "Another amount than the fee came.",
    "CURRENCY_MISMATCH": "It came in another currency.",
    "REFUND_MISMATCH": "What went back is not the same on both sides.",
    "DUPLICATE_PAYMENT": "The same fee was paid twice.",
    "LATE_PAYMENT": "The money came after the payment had ended here.",
    "STUCK": "It is still open long after its life, and the provider does not say how it ended.",
    "PARTICIPANT_MISMATCH": "Payment and participant do not fit each other.",
}
_DO = {
    "MISSING_LOCALLY": "Find out whose it is. Give it back at the provider, or accept it with a note.",
    "MISSING_AT_PROVIDER": "Check that it is the right account; then accept or write off.",
    "STATUS_MISMATCH": "Ask the provider once more with a fix; then decide.",
    "AMOUNT_MISMATCH": "Give it back, or accept what came.",
    "CURRENCY_MISMATCH": "Give it back, or accept what came.",
    "REFUND_MISMATCH": "Compare the refunds at the provider with those here; a fix takes over what it says.",
    "DUPLICATE_PAYMENT": "Give the second one back.",
    "LATE_PAYMENT": "Keep it, if the place is still free; else give it back.",
    "STUCK": "Look at it in the provider's own app; a fix asks it once more.",
    "PARTICIPANT_MISMATCH": "Look at the participant; give the money back, or accept it.",
}
_REFUNDABLE = frozenset({"AMOUNT_MISMATCH", "CURRENCY_MISMATCH", "DUPLICATE_PAYMENT", "LATE_PAYMENT",
                         "PARTICIPANT_MISMATCH"})  # fmt: skip
_FIXABLE = frozenset({"STATUS_MISMATCH", "REFUND_MISMATCH", "STUCK", "MISSING_AT_PROVIDER"})


def table(found: Sequence[DiscrepancyView]) -> list[str]:
    """One line each where there is room or no terminal, else two."""
    if not sys.stdout.isatty() or shutil.get_terminal_size().columns >= _WIDE:
        rows = [("KIND", "PROVIDER", "SINCE", "ID", "PAYMENT", "WHAT")]
        rows += [
            (
                each.kind,
                each.provider or "-",
                wording.clock_time(each.opened_at),
                each.discrepancy_id,
                each.payment_id or clean(each.ref),
                clean(_what(each)),
            )
            for each in found
        ]
        widths = [max(len(row[n]) for row in rows) for n in range(5)]
        lines = [
            "  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[5]]) for row in rows
        ]
        return [dim(lines[0]), *lines[1:]]
    lines = []
    for each in found:
        state = "" if each.is_open else f"  {each.resolution}"
        lines.append(f"{bold(each.kind)}  {clean(_what(each))}{state}")
        lines.append(dim(f"  {each.discrepancy_id}  {wording.clock_time(each.opened_at)}"))
    return lines


def _what(view: DiscrepancyView) -> str:
    return str(view.detail.get("what") or _MEANS.get(view.kind, "it does not agree"))


def page(view: DiscrepancyView) -> list[str]:
    """One discrepancy in sentences."""
    name = _PROVIDERS.get(view.provider, "the provider")
    state = "open" if view.is_open else f"resolved: {view.resolution}"
    lines = [f"{bold(view.kind)}  {state}", *_said(_MEANS.get(view.kind, ""))]
    rows = [
        ("our books", _ours(view)),
        (name.lower() if name != "the provider" else "provider", _theirs(view)),
        *_others(view),
        *_override(view),
        ("found", f"{wording.clock_time(view.opened_at)}, last seen {wording.clock_time(view.last_seen_at)}"),
        ("payment", view.payment_id or "none of ours"),
        ("id", view.discrepancy_id),
    ]
    if not view.is_open:
        when = wording.clock_time(view.resolved_at) if view.resolved_at else "?"
        rows.append(("resolved", f"{when} by {clean(view.resolved_by)}: {clean(view.note)}"))
    lines += [f"  {dim(f'{label:<10}')} {clean(value)}" for label, value in rows]
    return lines + (_said(_DO.get(view.kind, "")) if view.is_open else [])


def _said(text: str) -> list[str]:
    return [f"  {line}" for line in wrap(text, sys.stdout, indent="").splitlines()]


def _ours(view: DiscrepancyView) -> str:
    ours = view.detail.get("ours")
    if not ours:
        charged = view.detail.get("charged")
        return f"{_money(charged)} was charged" if charged else "nothing about it"
    text = f"{_money(ours)}, {ours.get('status')}"
    back = [f"{each['amount']} {each['state'].lower()}" for each in ours.get("refunds") or []]
    return text + (f"; refunds: {', '.join(back)}" if back else "")


def _theirs(view: DiscrepancyView) -> str:
    theirs = view.detail.get("theirs")
    if not theirs:
        paid = view.detail.get("paid") or view.detail.get("went_back")
        return f"{_money(paid)} as {view.detail.get('operation') or view.ref}" if paid else _nothing(view)
    line = f", line {theirs['line']} of {view.detail.get('source')}" if theirs.get("line") else ""
    money = _money(theirs) if theirs.get("amount") is not None else "no amount told"
    return f"{theirs.get('kind')} {theirs.get('stand')}, {money}, as {theirs.get('ref')}{line}"


def _nothing(view: DiscrepancyView) -> str:
    return "does not know it" if view.kind == "MISSING_AT_PROVIDER" else "nothing against it"


def _money(document: dict[str, Any] | None) -> str:
    if not document or document.get("amount") is None:
        return "?"
    amount = f"{document['amount']:,.2f}".replace(",", "\N{NO-BREAK SPACE}")
    return f"{amount}\N{NO-BREAK SPACE}{document.get('currency')}"


def _others(view: DiscrepancyView) -> list[tuple[str, str]]:
    names = (view.detail.get("theirs") or {}).get("candidates") or []
    return [
        ("fits", f"{each}: nobody guesses which") if not n else ("", each) for n, each in enumerate(names)
    ]


def _override(view: DiscrepancyView) -> list[tuple[str, str]]:
    """Who took it in spite of what, and why."""
    if not view.detail.get("override"):
        return []
    return [
        ("against it", str(view.detail.get("against"))),
        ("override", f"by {view.detail.get('by')}: {view.detail['override']}"),
    ]


def next_steps(view: DiscrepancyView) -> list[str]:
    """Commands to type."""
    if not view.is_open:
        return []
    steps = [f"procomp-pay status --payment {view.payment_id} --refresh"] if view.payment_id else []
    base = f"procomp-pay discrepancies resolve {view.discrepancy_id}"
    if view.kind in _FIXABLE:
        steps.append(f'{base} --how fix --note "…"')
    if view.kind in _REFUNDABLE and view.payment_id:
        steps.append(f'{base} --how refund --note "…"')
    return [*steps, f'{base} --how accept --note "…"']
