"""A clerk who reads only Russian or only Kazakh finds no English in what the commands answer."""

from __future__ import annotations

import re

import pytest
import typer

from procomp_pay.cli.framework import console
from tests.support.terminal import CommandLine, Output, paid

#: Names of products and of the test's people, and what is typed: commands, options, codes of currencies.
LATIN = {
    "Kaspi", "kaspi", "QR", "Pay", "Apple", "Google", "Stripe", "stripe", "Open", "Timur", "Kata", "Kid",
    "Four", "old", "Five", "aigerim", "Asia", "Almaty", "id", "Id", "mail", "PDF", "CSV", "XLSX", "HTTP",
    "Esc", "Enter", "KZT", "USD", "EUR", "RUB", "stat", "today", "yesterday", "monday", "kaspi_qr",
    "apple_pay", "google_pay", "PARTICIPANT", "PAYMENT", "CODE",
}  # fmt: skip
#: What stays as it is: ids, codes, commands, options and their values.
_TYPED = re.compile(
    r"procomp-pay [^;\n)]*|--[a-z-]+( [A-Z]+)?|\b(?:pi|re|cs|ch|refund|p\d|t\d|c[a-z0-9]{20,})[\w-]*"
    r"|\b[0-9A-Z]{4}-[0-9A-Z]{4}\b|https?://\S+|'[^']*'|\[[0-9;]*[a-z]|\S+@\S+|\bserve\b|\bmaintain\b"
)


@pytest.fixture(params=["ru", "kk"])
def clerk(
    request: pytest.FixtureRequest, sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> CommandLine:
    """A clerk who reads one of the two languages."""
    monkeypatch.setenv("PROCOMP_LANGUAGE", request.param)
    return sqlite_clerk


def reads(output: Output) -> str:
    """Check that there is text, and none of it in English."""
    told = output.out + output.err
    assert re.search("[а-яәіңғүұқөһ]{3}", told, re.IGNORECASE), told
    words = set(re.findall(r"[A-Za-z]{2,}(?:[_-][A-Za-z]+)*", _TYPED.sub("", told)))
    assert words <= LATIN, (words - LATIN, told)
    return told


def test_a_payment_from_start_to_refund(clerk: CommandLine) -> None:
    reads(clerk.type("history", "p1"))
    opened = clerk.ask("initiate", "p1", "--method", "kaspi_qr")
    payment = opened["payment_id"]
    reads(clerk.type("initiate", "p1", "--method", "kaspi_qr"))
    reads(clerk.type("status", "Аида"))
    reads(clerk.type("list"))
    reads(clerk.type("verify-kaspi"))
    reads(clerk.type("verify-kaspi", payment, "--transaction-id", "19000000001", code=3))
    reads(clerk.type("verify-kaspi", payment, "--transaction-id", "19", code=3))
    reads(clerk.type("refund", payment, "--reason", "вес", "--yes", code=3))
    clerk.pay(opened, "pay")
    reads(clerk.type("status", "--payment", payment, "--refresh"))
    reads(clerk.type("initiate", "p1", "--method", "kaspi_qr", code=3))
    reads(clerk.type("cancel", payment, "--yes", code=3))
    card = paid(clerk, "p2")["payment_id"]
    reads(clerk.type("refund", card, "--reason", "вес", "--amount", "51", "--yes", code=3))
    reads(clerk.type("refund", card, "--reason", "вес", "--dry-run"))
    reads(clerk.type("refund", card, "--reason", "вес", "--yes"))
    reads(clerk.type("refund", card, "--reason", "вес", "--yes", code=3))
    reads(clerk.type("refund", "--tournament", "t1", "--all", "--reason", "вес", "--dry-run"))
    reads(clerk.type("history", "p2"))
    reads(clerk.type("status", "p2"))
    reads(clerk.type("cancel", card, "--yes", code=3))
    reads(clerk.type("report"))
    reads(clerk.type("report", "closing", "--tournament", "t1"))


def test_registrations(clerk: CommandLine) -> None:
    reads(clerk.type("tournament", "list"))
    reads(clerk.type("tournament", "fee", "t1"))
    reads(clerk.type("tournament", "fee", "t1", "25000", "KZT"))
    reads(clerk.type("participant", "add", "t1", "Ерлан Сапаров"))
    reads(clerk.type("participant", "list", "--unpaid"))
    reads(clerk.type("participant", "list", "--search", "щщщщ"))


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("status", "щщщщ"), 4),
        (("status", "K7QX-2M9R"), 4),
        (("status",), 2),
        (("stat",), 2),
        (("list", "--since", "завтра"), 3),
        (("list", "--limit", "x"), 2),
        (("list", "--tournament", "t9"), 4),
        (("initiate", "p1", "--method", "kaspi_qr", "--amount", "1"), 3),
        (("initiate", "p5", "--method", "kaspi_qr"), 3),
        (("initiate", "p1", "--method", "kaspi_qr", "--amount", "много"), 3),
        (("initiate", "p1", "--method", "cash"), 2),
        (("refund", "p1", "--reason", "вес"), 2),
        (("receipt", "p1"), 4),
        (("report", "--since", "2026-05-02", "--until", "2026-05-01"), 3),
    ],
)
def test_refusals(clerk: CommandLine, words: tuple[str, ...], code: int) -> None:
    reads(clerk.type(*words, code=code))


def test_json_stays_english(clerk: CommandLine) -> None:
    refused = clerk.type("initiate", "p5", "--method", "kaspi_qr", "--json", code=3).json
    assert refused["detail"] == "Kaspi accepts tenge only, and the tournament has no entry fee in KZT"
    assert clerk.ask("initiate", "p1", "--method", "kaspi_qr")["status"] == "PENDING"
    assert not re.search("[А-я]", clerk.type("report", "--json").out.replace("Кубок Алматы", ""))
    heads = clerk.type("report", "--csv", "-").out.splitlines()[0]
    assert heads.startswith("section,")


@pytest.mark.parametrize(
    ("language", "typed", "agreed"),
    [
        ("ru", "д", True),
        ("ru", "ДА", True),
        ("ru", "н", False),  # the key of y: н is no
        ("ru", "y", True),
        ("kk", "и", True),
        ("kk", "иә", True),
        ("kk", "ж", False),
        ("kk", "", False),
        ("en", "y", True),
        ("en", "да", True),
        ("en", "n", False),
        ("en", "maybe\nn", False),
    ],
)
def test_yes_and_no(language: str, typed: str, agreed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROCOMP_LANGUAGE", language)
    answers = iter(typed.split("\n"))
    asked = []
    monkeypatch.setattr(console, "prompt", lambda question, **_: asked.append(question) or next(answers))
    if agreed:
        console.confirm("?")
    else:
        with pytest.raises(typer.Exit) as ended:
            console.confirm("?")
        assert ended.value.exit_code == 3
    assert asked[0] == {"ru": "? [д/Н]", "kk": "? [и/Ж]", "en": "? [y/N]"}[language]
