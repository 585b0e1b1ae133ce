"""The list of discrepancies in a narrow terminal."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from procomp_pay.cli.framework import console
from procomp_pay.cli.reconciliation import reconcile_output
from procomp_pay.cli.reconciliation.discrepancies import next_steps, page, table, ways
from procomp_pay.domain.money import Currency, Money
from procomp_pay.services.reconciliation.discrepancies import DiscrepancyView

NOW = datetime(2026, 5, 1, 9, 0, tzinfo=UTC)


def test_amount_and_person_within_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "is_wide", lambda _width: False)
    monkeypatch.setattr(console, "columns", lambda: 80)
    view = DiscrepancyView(
        "d" * 25, "PARTICIPANT_MISMATCH", "open", "kaspi", "p" * 25, "ref", {"what": "w" * 120}, None, NOW,
        NOW, None, None, None, None, "Нұрлан Әбдірахманұлы Тілеубергенов " * 3,
        Money(Decimal("1234567.00"), Currency.KZT),
    )  # fmt: skip
    lines = table([view])
    assert all(console.width_of(line) <= 80 for line in lines)
    assert "1\u00a0234\u00a0567.00" in lines[0]
    assert "Нұрлан" in lines[0]


def test_the_table_is_taken_where_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    view = DiscrepancyView(
        "d" * 25, "PARTICIPANT_MISMATCH", "open", "kaspi", "p" * 25, "ref", {"what": "w" * 30}, None, NOW,
        NOW, None, None, None, None, "Нұрлан Тілеубергенов", Money(Decimal("24000.00"), Currency.KZT),
    )  # fmt: skip
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for columns in (80, 120, 150, 200):
        monkeypatch.setattr(console, "columns", lambda columns=columns: columns)
        lines = table([view])
        assert all(console.width_of(line) <= columns for line in lines[1:]), columns
    assert len(lines) == 2


def test_what_reconcile_found_breaks_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(console, "columns", lambda: 80)
    lines = reconcile_output._indented("платёж " * 40)
    assert len(lines) > 2
    assert all(console.width_of(line) <= 80 for line in lines)


@pytest.mark.parametrize("name", ["paid", "theirs", "ours"])
def test_the_amount_is_that_of_the_money(name: str) -> None:
    detail = {name: {"amount": Decimal("77.00"), "currency": "USD"}}
    charged = Money(Decimal(50), Currency.USD)
    view = DiscrepancyView(
        "d",
        "LATE_PAYMENT",
        "open",
        None,
        None,
        "ref",
        detail,
        None,
        NOW,
        NOW,
        None,
        None,
        None,
        None,
        None,
        charged,
    )
    assert view.money == (Decimal("77.00"), "USD")


@pytest.mark.parametrize("paid", ["12000.00", {"amount": "12000.00", "currency": "KZT"}])
def test_an_amount_that_was_stored_as_text_is_shown(paid: object) -> None:
    detail = {"paid": paid, "operation": "19000000777"}
    view = DiscrepancyView(
        "d", "REFUND_MISMATCH", "open", "kaspi", "p", "ref", detail, None, NOW, NOW, *[None] * 6
    )  # fmt: skip
    [line] = [line for line in page(view) if "19000000777" in line]
    assert "12000.00" in line.replace("\N{NO-BREAK SPACE}", "")


def test_an_override_shows_what_was_charged_and_where_it_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    detail = {"override": "seen in the app", "operation": "27960338649", "by": "aida", "against": "not paid"}
    view = DiscrepancyView(
        "d", "STATUS_MISMATCH", "open", "kaspi", "p", "ref", detail, None, NOW, NOW, None, None, None, None,
        "Aida", Money(Decimal("24000.00"), Currency.KZT),
    )  # fmt: skip
    shown = "\n".join(page(view))
    assert "24\u00a0000.00\u00a0KZT was charged" in shown
    assert "contradicts operation 27960338649: see the failed check" in shown
    assert "no record of it" not in shown
    assert "another participant's receipt, accept this, then move the payment" in shown
    monkeypatch.setenv("PROCOMP_LANGUAGE", "ru")
    assert "начислено 24\u00a0000,00\u00a0KZT" in "\n".join(page(view))


@pytest.mark.parametrize(
    ("language", "told"),
    [("en", "this closes by itself once it is won"), ("ru", "закроется сама"), ("kk", "өздігінен жабылады")],
)
def test_a_second_dispute_is_answered_at_stripe(
    monkeypatch: pytest.MonkeyPatch, language: str, told: str
) -> None:
    monkeypatch.setenv("PROCOMP_LANGUAGE", language)
    detail = {"what": "there is another dispute over this payment", "dispute_state": "open"}
    view = DiscrepancyView(
        "d", "STATUS_MISMATCH", "open", "stripe", "p", "du_2", detail, None, NOW, NOW, *[None] * 6
    )  # fmt: skip
    shown = " ".join(" ".join(page(view)).split())
    assert told in shown
    assert "payment move" not in shown


def test_an_operation_that_was_verified_for_another_payment_is_not_called_a_second_payment() -> None:
    detail = {"operation": "19000000077", "settled": "p2"}
    view = DiscrepancyView(
        "d", "DUPLICATE_PAYMENT", "open", "kaspi", "p", "19000000077", detail, None, NOW, NOW, *[None] * 6
    )  # fmt: skip
    shown = " ".join(" ".join(page(view)).split())
    assert "the money came once, and both payments count it" in shown
    assert "verified for p2" in shown
    assert "Refund the second payment" not in shown
    assert ways(view) == ["accept"]
    assert "procomp-pay status --payment p2 --refresh" in next_steps(view)


@pytest.mark.parametrize(("number", "told"), [(1, "1 payment asked for"), (2, "2 payments asked for")])
def test_one_of_them_is_told_in_the_singular(number: int, told: str) -> None:
    assert reconcile_output._counted(number, "payments asked for") == told
