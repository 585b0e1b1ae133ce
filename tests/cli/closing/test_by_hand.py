"""Refunds by hand, as ``close`` lists them, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from procomp_pay.cli.framework import console
from procomp_pay.domain.money import Currency
from procomp_pay.domain.refunds import RefundState
from procomp_pay.storage.models.refunds import Refund
from tests.cli.closing.test_close import noon, pay, states  # noqa: F401 - a fixture
from tests.support.terminal import CommandLine


def paid(clerk: CommandLine, participant: str = "p1") -> str:
    payment_id = str(pay(clerk, participant, "kaspi_qr")["payment_id"])
    clerk.type("status", "--payment", payment_id, "--refresh")
    return payment_id


def tried(
    payment_id: str, name: str, amount: int, state: RefundState = RefundState.FAILED, days_ago: int = 0
) -> Refund:
    at = datetime.now(UTC) - timedelta(days=days_ago)
    return Refund(
        id=name, payment_id=payment_id, amount=Decimal(amount), currency=Currency.KZT, reason="injured",
        state=state, requested_by="aigerim", created_at=at, updated_at=at,
        failure_reason="refused by Kaspi" if state is RefundState.FAILED else None,
    )  # fmt: skip


def listed(clerk: CommandLine) -> list[tuple[str, Any]]:
    figures = clerk.ask("close", code=6)["figures"]
    return [(each["payment_id"], each["amount"]) for each in figures["refunds_by_hand"]]


def test_two_tries_are_one_refund_until_it_is_made(clerk: CommandLine) -> None:
    payment_id = paid(clerk)
    clerk.write(tried(payment_id, "first", 2000), tried(payment_id, "second", 1000))
    assert listed(clerk) == [(payment_id, 1000)]
    made = ("--made-in-app", "19000000777", "--amount", "1000", "--reason", "by hand", "--yes")
    clerk.type("refund", payment_id, *made)
    assert listed(clerk) == []


def test_nothing_is_listed_while_a_refund_is_on_its_way(clerk: CommandLine) -> None:
    payment_id = paid(clerk)
    clerk.write(
        tried(payment_id, "first", 1000, RefundState.PENDING, days_ago=1), tried(payment_id, "second", 1000)
    )
    assert listed(clerk) == []


def test_a_refund_that_failed_on_an_earlier_day_is_still_listed(clerk: CommandLine) -> None:
    payment_id = paid(clerk)
    clerk.write(tried(payment_id, "old", 24000, days_ago=3))
    assert listed(clerk) == [(payment_id, 24000)]
    other = paid(clerk, "p2")
    clerk.write(tried(other, "older", 500, days_ago=4))
    assert listed(clerk) == [(other, 500), (payment_id, 24000)]


def second_operation(clerk: CommandLine, payment_id: str) -> None:
    detail = '{"recorded": "19000000554", "paid": {"amount": 24000.00, "currency": "KZT"}}'
    clerk.change(
        "INSERT INTO pay_discrepancy (id, kind, state, payment_id, provider, fingerprint, detail, opened_at,"
        f" last_seen_at) SELECT 'd1', 'DUPLICATE_PAYMENT', 'open', '{payment_id}', 'kaspi',"
        f" 'kaspi:DUPLICATE_PAYMENT:19000000555', '{detail}', created_at, created_at FROM pay_payment_detail"
        f" WHERE payment_id = '{payment_id}'"
    )


def test_a_terminal_shows_the_commands_and_records_nothing(
    sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment_id = paid(sqlite_clerk)
    sqlite_clerk.write(tried(payment_id, "first", 1000))
    second_operation(sqlite_clerk, payment_id)
    with monkeypatch.context() as patch:
        patch.setattr(console, "is_interactive", lambda: True)
        patch.setattr(console, "prompt", lambda *_, **__: "")
        shown = sqlite_clerk.type("close", code=6).err
    first = f'procomp-pay refund {payment_id} --made-in-app NUMBER --amount 1000.00 --reason "…"'
    second = "procomp-pay discrepancies resolve d1 --how accept --note"
    assert first in shown
    assert f'{second} "refunded in the Kaspi Pay app as NUMBER"\n' in shown
    assert len(listed(sqlite_clerk)) == 2
    words = first.removeprefix("procomp-pay ").replace("NUMBER", "19000000777").replace('"…"', "injured")
    sqlite_clerk.type(*words.split(), "--yes")
    assert listed(sqlite_clerk) == [(payment_id, 24000)]
