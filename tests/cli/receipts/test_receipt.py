"""``receipt``: shown, saved, printed and mailed; the number of the fiscal receipt."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from procomp_pay.domain.topics import Topic
from tests.support.terminal import CommandLine


def paid(clerk: CommandLine, participant: str = "p1") -> Any:
    payment = clerk.ask("initiate", participant, "--method", "kaspi_qr")
    clerk.pay(payment, "pay")
    clerk.ask("status", participant, "--refresh")
    return clerk.ask("status", participant)


def plain(text: str) -> str:
    return " ".join(text.replace("\N{NO-BREAK SPACE}", " ").split())


@pytest.mark.parametrize(
    ("language", "heading", "amount", "disclaimer"),
    [
        ("ru", "Квитанция об оплате", "24 000,00 ₸", "не фискальный чек"),
        ("kk", "Төлем түбіртегі", "24 000,00 ₸", "фискалдық чек емес"),
        ("en", "Payment receipt", "24,000.00 KZT", "not a fiscal receipt"),
    ],
)
def test_it_says_the_same_on_the_screen_and_as_pdf(
    sqlite_clerk: CommandLine, tmp_path: Path, language: str, heading: str, amount: str, disclaimer: str
) -> None:
    payment = paid(sqlite_clerk)
    shown = plain(sqlite_clerk.type("receipt", payment["code"], "--language", language).out)
    file = tmp_path / "r.pdf"
    sqlite_clerk.type("receipt", payment["code"], "--language", language, "--pdf", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    [page] = PdfReader(file).pages
    printed = plain(page.extract_text())
    assert "[SANDBOX]" in printed
    for words in (
        heading, amount, disclaimer, "Аида Нурланова", "Кубок Алматы", "Kata", "Kaspi QR",
        payment["operation_number"], payment["code"], payment["payment_id"],
    ):  # fmt: skip
        assert words in shown
        assert words in printed
    again = sqlite_clerk.type("receipt", payment["code"], "--pdf", str(file), code=3)
    assert "--force" in again.err


def test_refunds_are_on_it(sqlite_clerk: CommandLine) -> None:
    payment = sqlite_clerk.ask("initiate", "p1", "-m", "apple_pay", "--currency", "USD")
    sqlite_clerk.pay(payment, "apple_pay")
    sqlite_clerk.ask("status", "p1", "--refresh")
    sqlite_clerk.ask("refund", payment["payment_id"], "--amount", "20", "--reason", "injured", "--yes")
    shown = plain(sqlite_clerk.type("receipt", payment["payment_id"], "--language", "en").out)
    assert "Amount 50.00 USD" in shown
    assert "Paid back in all 20.00 USD" in shown
    assert shown.count("Paid back on ") == 1
    assert "injured" not in shown, "the staff's note"


def test_a_name_is_as_good_as_a_code(sqlite_clerk: CommandLine) -> None:
    payment = paid(sqlite_clerk)
    assert sqlite_clerk.ask("receipt", "Нурланова")["payment_id"] == payment["payment_id"]


def test_only_a_paid_payment_has_one(clerk: CommandLine) -> None:
    payment = clerk.ask("initiate", "p1", "--method", "kaspi_qr")
    refused = clerk.type("receipt", payment["payment_id"], code=3)
    assert f"procomp-pay status --payment {payment['payment_id']} --refresh" in refused.err
    clerk.type("receipt", payment["payment_id"], "--fiscal-number", "1", code=3)
    clerk.type("receipt", "nothing", code=4)


def test_the_number_of_the_fiscal_receipt_is_kept_in_the_audit_trail(clerk: CommandLine) -> None:
    payment = paid(clerk)
    code = payment["code"]
    assert clerk.ask("receipt", code)["fiscal_number"] is None
    assert clerk.ask("receipt", code, "--fiscal-number", " 4111 1111-11111111 ")["fiscal_number"] == (
        "4111 1111-11111111"
    )
    clerk.type("receipt", code, "--fiscal-number", "4111 1111-11111111")
    assert clerk.ask("receipt", code, "--fiscal-number", "ФП 2")["fiscal_number"] == "ФП 2"
    assert "Фискальный чек ФП 2" in plain(clerk.type("receipt", code, "--language", "ru").out)
    [item] = clerk.ask("history", "p1")["items"]
    recorded = [move for move in item["moves"] if move["action"] == "fiscal_receipt"]
    assert [move["actor"] for move in recorded] == ["aigerim", "aigerim"], "the same number is no change"
    assert clerk.ask("status", "p1")["status"] == "COMPLETED"
    clerk.type("audit", "verify")
    for wrong in ("", "1\n2;", "x" * 65, "<b>"):
        clerk.type("receipt", code, "--fiscal-number", wrong, code=3)


def test_it_is_mailed_through_the_outbox_once(
    sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = paid(sqlite_clerk)
    refused = sqlite_clerk.type("receipt", payment["code"], "--mail", code=7)
    assert "SMTP_URL" in refused.err
    monkeypatch.setenv("SMTP_URL", "smtp://127.0.0.1:9")
    monkeypatch.setenv("MAIL_FROM", "pay@example.com")
    for _ in range(2):
        sqlite_clerk.type("receipt", payment["code"], "--mail", "--fiscal-number", "77")
    items = sqlite_clerk.ask("outbox", "list")["items"]
    letters = [item for item in items if item["topic"] == Topic.LETTER_RECEIPT]
    assert 1 <= len(letters) <= 2, "once in a minute"
    assert letters[0]["payment_id"] == payment["payment_id"]


def test_it_is_printed(sqlite_clerk: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    payment = paid(sqlite_clerk)
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    refused = sqlite_clerk.type("receipt", payment["code"], "--print", code=3)
    assert "--pdf FILE" in refused.err
    printer = programs / "lp"
    printer.write_text(f"#!/bin/sh\nexec /bin/cat > {tmp_path}/printed\n")
    printer.chmod(0o755)
    sqlite_clerk.type("receipt", payment["code"], "--print")
    assert (tmp_path / "printed").read_bytes().startswith(b"%PDF-")
    printer.write_text("#!/bin/sh\necho no paper >&2\nexit 1\n")
    assert "no paper" in sqlite_clerk.type("receipt", payment["code"], "--print", code=3).err
