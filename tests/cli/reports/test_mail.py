"""``report --mail``: a letter with the page, once for each period and address."""

from __future__ import annotations

import json

import pytest

from tests.support.terminal import CommandLine


@pytest.fixture
def finance(clerk: CommandLine, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.setenv("SMTP_URL", "smtp://127.0.0.1:9")
    monkeypatch.setenv("MAIL_FROM", "pay@example.com")
    return clerk


def letters(finance: CommandLine) -> list[str]:
    items = finance.ask("outbox", "list")["items"]
    return [item["message_id"] for item in items if item["topic"] == "letter.report"]


def test_a_period_is_sent_once_to_an_address(finance: CommandLine) -> None:
    words = ("report", "--since", "yesterday", "--until", "yesterday", "--mail")
    assert "goes to a@example.com" in finance.type(*words, "a@example.com").err
    assert "has this report already" in finance.type(*words, "A@example.com").err
    finance.type(*words, "b@example.com")
    finance.type("report", "--mail", "a@example.com")
    assert len(letters(finance)) == 3
    document = json.loads(finance.type(*words, "a@example.com", "--json").out)
    assert document["report"] == "period"


def test_what_cannot_be_sent_is_refused(finance: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no e-mail address" in finance.type("report", "--mail", "nobody", code=3).err
    monkeypatch.delenv("SMTP_URL")
    assert "SMTP_URL" in finance.type("report", "--mail", "a@example.com", code=7).err
    assert letters(finance) == []
