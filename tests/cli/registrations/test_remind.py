"""``remind``: who is named, and what is refused."""

from __future__ import annotations

import pytest

from tests.support.terminal import CommandLine


def test_it_names_whose_fee_is_due_and_writes_once_a_day(
    sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    clerk = sqlite_clerk
    assert "SMTP_URL" in clerk.type("remind", "Кубок Алматы", code=7).err
    monkeypatch.setenv("SMTP_URL", "smtp://127.0.0.1:9")
    monkeypatch.setenv("MAIL_FROM", "pay@example.com")
    payment = clerk.ask("initiate", "p1", "--method", "kaspi_qr")
    clerk.pay(payment, "pay")
    clerk.ask("status", "p1", "--refresh")
    planned = clerk.ask("remind", "Кубок Алматы", "--dry-run")
    assert planned["dry_run"] is True
    assert "p1" not in planned["reminded"]
    assert "p2" in planned["reminded"]
    assert clerk.ask("outbox", "list")["items"][0]["topic"] != "letter.reminder"
    shown = clerk.type("remind", "Кубок Алматы", "--dry-run")
    assert "Timur" in shown.out
    assert "would be reminded" in shown.err
    assert clerk.ask("remind", "Кубок Алматы")["reminded"] == planned["reminded"]
    again = clerk.ask("remind", "Кубок Алматы")
    assert (again["reminded"], again["already_reminded_today"]) == ([], planned["reminded"])
    assert f"{len(planned['reminded'])} were reminded today" in clerk.type("remind", "Кубок Алматы").err
    clerk.type("remind", "nothing", code=4)
    edited = clerk.ask(
        "participant", "edit", "p2", "--no-reminders", "--club", "Барыс", "--birth-year", "2014"
    )
    assert (edited["reminders"], edited["club"], edited["birth_year"]) == (False, "Барыс", 2014)
    without = clerk.ask("remind", "Кубок Алматы")
    assert (without["opted_out"], "p2" in without["already_reminded_today"]) == (["p2"], False)
    shown = clerk.type("participant", "edit", "p2", "--club", "-")
    assert "Барыс" not in shown.out
    assert "asked for no letters" in shown.out
    assert clerk.ask("participant", "edit", "p2", "--reminders")["reminders"]
    clerk.ask("tournament", "archive", "t1")
    assert "is archived" in clerk.type("remind", "t1", code=3).err
