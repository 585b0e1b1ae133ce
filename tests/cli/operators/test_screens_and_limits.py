"""What a login is asked for: refreshing, devices at Kaspi, parts of a refund."""

from __future__ import annotations

import asyncio

import pytest

from procomp_pay.services.refunds import manual
from tests.cli.operators.conftest import Terminal


def _paid_by_kaspi(terminal: Terminal) -> str:
    payment = terminal.ask("initiate", "p1", "--method", "kaspi_qr")
    terminal.clerk.pay(payment, "pay")
    return str(payment["payment_id"])


@pytest.mark.parametrize("how", ["--refresh", "--watch"])
def test_a_status_is_refreshed_by_who_is_logged_in(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    terminal.login("aigerim")
    payment = _paid_by_kaspi(terminal)
    terminal.type("operator", "logout")
    monkeypatch.setenv("PROCOMP_OPERATOR", "dana")
    refused = terminal.ask("status", "--payment", payment, how, code=3)
    assert refused["detail"] == "dana is not logged in as an operator"
    assert terminal.ask("status", "--payment", payment)["status"] == "PENDING"


def test_a_token_counts_only_with_its_name(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    token = terminal.ask("operator", "add", "cron", "--role", "finance", "--token")["token"]
    terminal.login("aigerim")
    monkeypatch.setenv("PROCOMP_OPERATOR_TOKEN", token)  # as from `.env`
    assert terminal.ask("operator", "whoami")["operator"] == "aigerim"
    monkeypatch.setenv("PROCOMP_OPERATOR", "aigerim")
    for _ in range(11):
        terminal.ask("operator", "whoami", code=3)
    monkeypatch.delenv("PROCOMP_OPERATOR")
    terminal.login("aigerim")  # not locked
    monkeypatch.setenv("PROCOMP_OPERATOR", "cron")
    assert terminal.ask("operator", "whoami")["operator"] == "cron"


def test_a_report_from_the_replica_needs_the_login_of_the_primary(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.login("dana")
    url = terminal.clerk.url
    if url.startswith("postgres"):
        monkeypatch.setenv(
            "DATABASE_READ_URL", url + ("&" if "?" in url else "?") + "application_name=replica"
        )
    else:
        monkeypatch.setenv("DATABASE_READ_URL", url.replace("sqlite:///", "sqlite:////"))
    terminal.ask("report")
    terminal.login("aigerim")
    terminal.ask("report", code=3)  # the role desk


def test_devices_at_kaspi_are_an_admins(terminal: Terminal) -> None:
    terminal.login("aigerim")
    for words in (("register", "desk-2"), ("delete", "--yes")):
        assert "needs the role admin" in terminal.ask("kaspi", "devices", *words, code=3)["detail"]
    terminal.login("marat")
    assert terminal.ask("kaspi", "devices", "register", "desk-2")["device_token"]


def test_the_limit_of_the_desk_is_for_all_parts_of_a_refund(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESK_REFUND_LIMIT", "10000 KZT")
    terminal.login("aigerim")
    payment = _paid_by_kaspi(terminal)
    terminal.ask("status", "--payment", payment, "--refresh")
    part = ("refund", payment, "--amount", "6000", "--reason", "by hand", "--yes", "--made-in-app")
    terminal.ask(*part, "19000000771")
    refused = terminal.ask(*part, "19000000772", code=3)
    assert "refunds at most" in refused["detail"]
    assert len(terminal.ask("status", "--payment", payment)["refunds"]) == 1


def test_a_refund_by_hand_is_not_recorded_for_who_logged_out_while_kaspi_was_asked(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.login("aigerim")
    payment = _paid_by_kaspi(terminal)
    terminal.ask("status", "--payment", payment, "--refresh")

    async def slow(*_: object) -> None:
        await asyncio.to_thread(terminal.clerk.change, "DELETE FROM pay_operator_session")

    monkeypatch.setattr(manual, "_compare_with_kaspi", slow)
    made = ("refund", payment, "--reason", "by hand", "--yes", "--made-in-app", "19000000771")
    assert terminal.ask(*made, code=3)["detail"] == "aigerim was logged out"
    assert terminal.ask("status", "--payment", payment)["refunds"] == []
