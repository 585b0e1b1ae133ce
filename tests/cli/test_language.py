"""A clerk who reads only Russian or only Kazakh finds no English in what the commands answer."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import typer

from procomp_pay.cli.framework import console
from procomp_pay.domain.money import Currency
from procomp_pay.domain.refunds import RefundState
from procomp_pay.storage.models.payouts import Payout
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.models.refunds import Refund
from procomp_pay.storage.models.states import DiscrepancyState
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
    r"procomp-pay [^;\n)]*|\b(?:closing|tournament):\w+|\b[0-9a-f]{64}\b|--[a-z-]+( [A-Z]+)?"
    r"|\b(?:pi|po|re|cs|ch|refund|p\d|t\d|c[a-z0-9]{20,})[\w-]*|\b[0-9A-Z]{4}-[0-9A-Z]{4}\b|https?://\S+"
    r"|'[^']*'|\[[0-9;]*[a-z]|\S+@\S+|\bserve\b|\bmaintain\b"
)


@pytest.fixture(params=["ru", "kk"])
def clerk(
    request: pytest.FixtureRequest, sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> CommandLine:
    """A clerk who reads one of the two languages."""
    monkeypatch.setenv("PROCOMP_LANGUAGE", request.param)
    return sqlite_clerk


def reads(output: Output, typed: frozenset[str] | set[str] = frozenset()) -> str:
    """Check that there is text, and none of it in English but names and what is typed."""
    told = output.out + output.err
    assert re.search("[а-яәіңғүұқөһ]{3}", told, re.IGNORECASE), told
    words = set(re.findall(r"[A-Za-z]{2,}(?:[_-][A-Za-z]+)*", _TYPED.sub("", told)))
    assert words <= LATIN | typed, (words - LATIN - typed, told)
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


#: What an accountant types: steps of a closing, ways to resolve a discrepancy; and kinds of events.
TYPED = {
    "pending", "payouts", "discrepancies", "refunds", "sums", "clerks", "exports", "sheet", "seal",
    "signatures", "ID", "accept", "fix", "refund", "write", "off", "DIR", "reconcile", "requested",
}  # fmt: skip


def test_the_books_of_an_accountant(clerk: CommandLine) -> None:
    opened = clerk.ask("initiate", "p1", "--method", "kaspi_qr")
    qr, card = opened["payment_id"], paid(clerk, "p2")["payment_id"]
    clerk.pay(opened, "pay")
    clerk.type("status", "--payment", qr, "--refresh")
    ended = clerk.ask("initiate", "p3", "--method", "kaspi_qr")["payment_id"]
    clerk.type("cancel", ended, "--yes")
    clerk.type("verify-kaspi", ended, "--transaction-id", "19000000001", code=3)
    clerk.type("refund", card, "--reason", "вес", "--amount", "20", "--yes")
    clerk.type("tournament", "fee", "t1", "25000", "KZT")
    # rows as an earlier version stored them
    now, day = datetime.now(UTC), datetime.now(UTC).date()
    reasons = {
        "used": "Kaspi did not make the refund, and the customer's scan is used up",
        "code": "Kaspi could not make the refund (Kaspi code -99000006)",
    }
    for name, reason in reasons.items():
        row = Refund(
            id=name, payment_id=qr, amount=Decimal(500), currency=Currency.KZT, state=RefundState.FAILED,
            reason="made at the provider", requested_by="aigerim", failure_reason=reason, created_at=now,
            updated_at=now,
        )  # fmt: skip
        clerk.write(row)
    details = {
        "AMOUNT_MISMATCH": {"what": "another amount", "paid": {"amount": Decimal(500), "currency": "KZT"}},
        "STATUS_MISMATCH": {"what": "not paid at the provider"},
        "REFUND_MISMATCH": {"what": "the provider does not have the refund", "source": "api"},
        "MISSING_AT_PROVIDER": {"what": "the provider does not have it"},
    }
    for kind, detail in details.items():
        found = Discrepancy(
            id=f"d-{kind.lower()}", fingerprint=f"kaspi:{kind}:19000000555", kind=kind, provider="kaspi",
            payment_id=qr, detail=detail, state=DiscrepancyState.OPEN, opened_at=now, last_seen_at=now,
        )  # fmt: skip
        clerk.write(found)
    for number, (status, failure) in enumerate([("paid", None), ("failed", "account_closed")]):
        row = Payout(
            id=f"id{number}", provider="stripe", ref=f"po_{number}", currency="KZT", amount=Decimal(500),
            status=status, failure=failure, expected_on=day, recorded_at=now,
        )  # fmt: skip
        clerk.write(row)

    def shown(*words: str, code: int = 0) -> str:
        return reads(clerk.type(*words, code=code), TYPED | {kind.lower() for kind in details})

    shown("history", "p1")
    shown("history", "p3")
    shown("reconcile", code=6)
    shown("reconcile", "--dry-run", code=6)
    shown("discrepancies", "list")
    for kind in details:
        shown("discrepancies", "show", f"d-{kind.lower()}")
    shown("discrepancies", "resolve", "d-status_mismatch", "--how", "accept", "--note", "верно")
    shown("discrepancies", "show", "d-status_mismatch")
    shown("discrepancies", "resolve", "d-status_mismatch", "--how", "accept", "--note", "верно", code=3)
    shown("payouts", "list")
    shown("payouts", "show", "po_1")
    shown("payouts", "match")
    shown("close", "--exports", "exports", code=6)
    shown("close", "--skip", "kaspi", "--reason", "выписка завтра", code=6)
    shown("report", "closing", "--tournament", "t1")
    closing = clerk.ask("close", code=6)["closing_id"]
    for chain in (qr, card, ended, f"closing:{closing}", "tournament:t1"):
        shown("audit", "show", chain)
    shown("audit", "verify")
    shown("audit", "seal")
    clerk.change(f"UPDATE pay_audit_entry SET actor = 'x' WHERE payment_id = '{qr}' AND seq = 1")
    shown("audit", "verify", code=6)


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
        (("list", "--limit", "0"), 2),
        (("events", "replay", "--all-dead", "--limit", "0"), 2),
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
