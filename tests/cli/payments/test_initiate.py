"""``initiate``: results, refusals and texts."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tests.support.pseudo_terminal import pseudo_terminal
from tests.support.terminal import CommandLine

KASPI = ("--method", "kaspi_qr")


def test_initiate_kaspi_shows_participant_and_amount(clerk: CommandLine) -> None:
    output = clerk.type("initiate", "p1", *KASPI)
    for words in ("Аида Нурланова", "Кубок Алматы", "Kata", "24\u00a0000.00\u00a0KZT", "Kaspi QR", "QR text"):
        assert words in output.out
    assert "SANDBOX – no real money moves" in output.err
    payment = clerk.ask("status", "p1")
    assert payment["payment_id"] in output.out
    assert payment["status"] == "PENDING"


def test_json_is_the_api_response_with_exact_amounts_and_the_mode(clerk: CommandLine) -> None:
    output = clerk.type("initiate", "p1", *KASPI, "--json")
    assert '"amount": 24000.00' in output.out
    assert output.err == ""
    got = output.json
    assert got["mode"] == "sandbox"
    assert got["reused"] is False
    assert got["qr_payload"].isdigit()
    assert {"payment_id", "payment_url", "qr_image_url", "expires_at", "amount", "currency"} <= set(got)


def test_an_open_payment_is_reused(clerk: CommandLine) -> None:
    first = clerk.ask("initiate", "p1", *KASPI)
    again = clerk.ask("initiate", "p1", *KASPI)
    assert (again["payment_id"], again["qr_payload"]) == (first["payment_id"], first["qr_payload"])
    assert again["reused"] is True
    assert "no second one was created" in clerk.type("initiate", "p1", *KASPI).err


def test_wallets_get_a_page_and_intent_only_a_client_secret(clerk: CommandLine) -> None:
    page = clerk.ask("initiate", "p1", "--method", "apple_pay", "--amount", "50", "--currency", "usd")
    assert page["payment_url"] == page["qr_payload"]
    assert (page["amount"], page["currency"], page["channel"]) == (Decimal(50), "USD", "stripe_checkout")
    bare = clerk.ask("initiate", "p2", "--method", "google_pay", "--currency", "USD", "--intent-only")
    assert bare["client_secret"].startswith("pi_")
    assert bare["qr_payload"] is None
    shown = clerk.type("initiate", "p2", "--method", "google_pay", "--currency", "USD", "--intent-only")
    assert bare["client_secret"] in shown.out


def test_link_opens_the_kaspi_app(sqlite_clerk: CommandLine) -> None:
    got = sqlite_clerk.ask("initiate", "p1", *KASPI, "--link")
    assert got["channel"] == "kaspi_link"
    assert got["payment_url"].startswith("http")


def test_amount_takes_the_tournaments_own_currency_and_kaspi_tenge(sqlite_clerk: CommandLine) -> None:
    assert sqlite_clerk.ask("initiate", "p5", "-m", "apple_pay", "--amount", "50.00")["currency"] == "USD"
    assert sqlite_clerk.ask("initiate", "p1", *KASPI, "--amount", "24000")["currency"] == "KZT"


def test_the_operator_is_recorded(sqlite_clerk: CommandLine) -> None:
    assert sqlite_clerk.ask("initiate", "p1", *KASPI)["started_by"] == "aigerim"
    assert sqlite_clerk.ask("initiate", "p2", *KASPI, "--as", "Серик")["started_by"] == "Серик"
    sqlite_clerk.type("initiate", "p3", *KASPI, "--as", "a\x1bb", code=3)


def test_an_idempotency_key_holds_for_one_request(sqlite_clerk: CommandLine) -> None:
    first = sqlite_clerk.ask("initiate", "p1", *KASPI, "--idempotency-key", "k1")
    assert (
        sqlite_clerk.ask("initiate", "p1", *KASPI, "--idempotency-key", "k1")["payment_id"]
        == first["payment_id"]
    )
    output = sqlite_clerk.type("initiate", "p2", *KASPI, "--idempotency-key", "k1", code=3)
    assert "used for another request" in output.err


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        ("23999", "must match tournament entry fee"),
        ("24000.01", "must match tournament entry fee"),
        ("NaN", "not an amount of money"),
        ("Infinity", "not an amount of money"),
        ("-24000", "more than zero"),
        ("0", "more than zero"),
        ("1e9", "more than the largest amount"),
        ("24000.001", "more than two decimals"),
        ("abc", "not an amount of money"),
    ],
)
def test_a_wrong_amount_is_refused(sqlite_clerk: CommandLine, amount: str, words: str) -> None:
    output = sqlite_clerk.type("initiate", "p1", *KASPI, "--amount", amount, code=3)
    assert words in output.err
    assert sqlite_clerk.ask("initiate", "p1", *KASPI, "--amount", amount, code=3)["exit_code"] == 3
    assert sqlite_clerk.ask("list")["items"] == []


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (("nobody", *KASPI), 4, "There is no participant 'nobody'"),
        (("p1", "--method", "cash"), 2, "'cash'"),
        (("p1", "-m", "apple_pay", "--currency", "EUR"), 3, "no entry fee in EUR, only in KZT, USD"),
        (("p1", "-m", "apple_pay", "--amount", "5", "--currency", "EUR"), 3, "no entry fee in EUR"),
        (("p1", "-m", "apple_pay", "--currency", "XXX"), 3, "not a currency we take"),
        (("p5", *KASPI), 3, "Kaspi accepts tenge only"),
        (("p1", *KASPI, "--intent-only"), 2, "--intent-only is for"),
        (("p1", "-m", "apple_pay", "--link"), 2, "--link is for kaspi_qr"),
        (("p1", *KASPI, "--qr-file", "qr.gif"), 3, "neither .png nor .svg"),
        (("p1", *KASPI, "--qr-file", "no/where/qr.png"), 3, "no such directory"),
        (("p1", "-m", "apple_pay", "--return-url", "javascript:x"), 3, "not a web address"),
        (("p1", *KASPI, "--idempotency-key", ""), 3, "1 to 255"),
        (("p1",), 2, "--method"),
    ],
)
def test_refusals_and_their_exit_codes(
    sqlite_clerk: CommandLine, given: tuple[str, ...], code: int, words: str
) -> None:
    output = sqlite_clerk.type("initiate", *given, code=code)
    assert words in output.err
    assert "→" in output.err
    assert output.out == ""
    document = sqlite_clerk.ask("initiate", *given, code=code)
    assert document["exit_code"] == code
    assert words in document["detail"]


def test_a_paid_participant_is_refused(clerk: CommandLine) -> None:
    payment = clerk.ask("initiate", "p1", *KASPI)
    clerk.pay(payment, "pay")
    assert clerk.ask("status", "p1", "--refresh")["status"] == "COMPLETED"
    output = clerk.type("initiate", "p1", *KASPI, code=3)
    assert "has paid already" in output.err
    assert "procomp-pay status p1" in output.err


def test_a_provider_that_is_down_leaves_the_payment_pending(
    clerk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("procomp_pay.providers.resilience.retry._backoff", lambda _state: 30.0)
    clerk.providers.fault(kind="status", status=503, path="/v1/checkout", times=None)
    output = clerk.type("initiate", "p1", "-m", "apple_pay", "--currency", "USD", code=5)
    assert "stays PENDING; nothing is lost" in output.err
    assert "again in a minute" in output.err
    assert clerk.ask("status", "p1")["status"] == "PENDING"
    clerk.providers.calm()
    monkeypatch.undo()


def test_qr_files(sqlite_clerk: CommandLine, tmp_path: Path) -> None:
    sqlite_clerk.type("initiate", "p1", *KASPI, "--qr-file", str(tmp_path / "a.png"))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    sqlite_clerk.type("initiate", "p1", *KASPI, "--qr-file", str(tmp_path / "a.SVG"))
    assert b"<svg" in (tmp_path / "a.SVG").read_bytes()


def test_without_a_provider_the_next_step_is_named(sqlite_clerk: CommandLine) -> None:
    (sqlite_clerk.home / "sandbox.json").unlink()
    output = sqlite_clerk.type("initiate", "p1", *KASPI, code=7)
    assert "Kaspi is not configured" in output.err
    assert "procomp-pay sandbox" in output.err


def test_control_characters_in_names_are_harmless(sqlite_clerk: CommandLine) -> None:
    for output in (sqlite_clerk.type("initiate", "p4", *KASPI), sqlite_clerk.type("status", "p4")):
        assert "\x1b" not in output.out
        assert "[bold]x[/]" in output.out


def test_a_qr_beside_an_invoice_warns(sqlite_clerk: CommandLine) -> None:
    invoice = sqlite_clerk.ask("initiate", "p1", "--method", "kaspi_qr")["payment_id"]
    sqlite_clerk.change(
        "UPDATE pay_payment_detail SET channel = 'kaspi_remote', create_state = 'sent', provider_ref = NULL"
    )
    output = sqlite_clerk.type("initiate", "p1", "--method", "kaspi_qr")
    assert f"Invoice {invoice} may still be on the customer's phone" in output.err


def test_another_method_beside_an_open_kaspi_qr_warns(sqlite_clerk: CommandLine) -> None:
    sqlite_clerk.ask("initiate", "p1", "--method", "kaspi_qr")
    warning = "The Kaspi QR that was shown before can still be paid until"
    assert warning in sqlite_clerk.type("initiate", "p1", "--method", "apple_pay").err
    assert warning not in sqlite_clerk.type("initiate", "p2", "--method", "apple_pay").err


def test_what_has_ended_is_not_asked_about(sqlite_clerk: CommandLine) -> None:
    payment = sqlite_clerk.ask("initiate", "p1", "--method", "apple_pay")["payment_id"]
    with pseudo_terminal(sqlite_clerk, "cancel", payment) as terminal:
        terminal.wait_for("Cancel the payment")
        terminal.type("y\n")
        assert terminal.ends() == 0
    with pseudo_terminal(sqlite_clerk, "cancel", payment) as terminal:
        terminal.wait_for("is already CANCELLED")
        assert terminal.ends() == 3


def test_a_lost_qr_is_told_with_what_to_do(sqlite_clerk: CommandLine) -> None:
    sqlite_clerk.providers.fault(kind="cut_after", path="/r1/v01/qr/create", times=1)
    output = sqlite_clerk.type("initiate", "p1", "--method", "kaspi_qr", code=5)
    assert "Nobody has seen it" in output.err
    assert "→ start the payment again" in output.err
    assert "Kaspi's answer was lost" in sqlite_clerk.type("status", "p1").out
    assert sqlite_clerk.ask("initiate", "p1", "--method", "kaspi_qr")["qr_payload"]
