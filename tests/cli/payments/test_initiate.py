"""``initiate``: what it makes, what it refuses, what it says."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tests.cli.conftest import Clerk

KASPI = ("--method", "kaspi_qr")


def test_kaspi_shows_who_what_and_how_much(ctx: Clerk) -> None:
    said = ctx.type("initiate", "p1", *KASPI)
    for words in ("Аида Нурланова", "Кубок Алматы", "Kata", "24\u00a0000.00\u00a0KZT", "Kaspi QR", "QR text"):
        assert words in said.out
    assert "SANDBOX – no real money moves" in said.err
    payment = ctx.ask("status", "p1")
    assert payment["payment_id"] in said.out
    assert payment["status"] == "PENDING"


def test_json_is_the_apis_answer_with_exact_numbers_and_the_mode(ctx: Clerk) -> None:
    said = ctx.type("initiate", "p1", *KASPI, "--json")
    assert '"amount": 24000.00' in said.out
    assert said.err == ""
    got = said.json
    assert got["mode"] == "sandbox"
    assert got["reused"] is False
    assert got["qr_payload"].isdigit()
    assert {"payment_id", "payment_url", "qr_image_url", "expires_at", "amount", "currency"} <= set(got)


def test_an_open_payment_is_shown_again_not_made_twice(ctx: Clerk) -> None:
    first = ctx.ask("initiate", "p1", *KASPI)
    again = ctx.ask("initiate", "p1", *KASPI)
    assert (again["payment_id"], again["qr_payload"]) == (first["payment_id"], first["qr_payload"])
    assert again["reused"] is True
    assert "not a second" in ctx.type("initiate", "p1", *KASPI).err


def test_wallets_get_a_page_and_intent_only_a_client_secret(ctx: Clerk) -> None:
    page = ctx.ask("initiate", "p1", "--method", "apple_pay", "--amount", "50", "--currency", "usd")
    assert page["payment_url"] == page["qr_payload"]
    assert (page["amount"], page["currency"], page["channel"]) == (Decimal(50), "USD", "stripe_checkout")
    bare = ctx.ask("initiate", "p2", "--method", "google_pay", "--currency", "USD", "--intent-only")
    assert bare["client_secret"].startswith("pi_")
    assert bare["qr_payload"] is None
    shown = ctx.type("initiate", "p2", "--method", "google_pay", "--currency", "USD", "--intent-only")
    assert bare["client_secret"] in shown.out


def test_link_opens_the_kaspi_app(small_desk: Clerk) -> None:
    got = small_desk.ask("initiate", "p1", *KASPI, "--link")
    assert got["channel"] == "kaspi_link"
    assert got["payment_url"].startswith("http")


def test_amount_takes_the_tournaments_own_currency_and_kaspi_tenge(small_desk: Clerk) -> None:
    assert small_desk.ask("initiate", "p5", "-m", "apple_pay", "--amount", "50.00")["currency"] == "USD"
    assert small_desk.ask("initiate", "p1", *KASPI, "--amount", "24000")["currency"] == "KZT"


def test_the_operator_is_kept(small_desk: Clerk) -> None:
    assert small_desk.ask("initiate", "p1", *KASPI)["started_by"] == "aigerim"
    assert small_desk.ask("initiate", "p2", *KASPI, "--as", "Серик")["started_by"] == "Серик"
    small_desk.type("initiate", "p3", *KASPI, "--as", "a\x1bb", code=3)


def test_an_idempotency_key_holds_for_one_request(small_desk: Clerk) -> None:
    first = small_desk.ask("initiate", "p1", *KASPI, "--idempotency-key", "k1")
    assert (
        small_desk.ask("initiate", "p1", *KASPI, "--idempotency-key", "k1")["payment_id"]
        == first["payment_id"]
    )
    said = small_desk.type("initiate", "p2", *KASPI, "--idempotency-key", "k1", code=3)
    assert "used for another request" in said.err


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
def test_a_wrong_amount_is_refused(small_desk: Clerk, amount: str, words: str) -> None:
    said = small_desk.type("initiate", "p1", *KASPI, "--amount", amount, code=3)
    assert words in said.err
    assert small_desk.ask("initiate", "p1", *KASPI, "--amount", amount, code=3)["exit_code"] == 3
    assert small_desk.ask("list")["items"] == []


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
def test_what_is_refused(small_desk: Clerk, given: tuple[str, ...], code: int, words: str) -> None:
    said = small_desk.type("initiate", *given, code=code)
    assert words in said.err
    assert "→" in said.err
    assert said.out == ""
    document = small_desk.ask("initiate", *given, code=code)
    assert document["exit_code"] == code
    assert words in document["detail"]


def test_who_has_paid_does_not_pay_twice(ctx: Clerk) -> None:
    payment = ctx.ask("initiate", "p1", *KASPI)
    ctx.pay(payment, "pay")
    assert ctx.ask("status", "p1", "--refresh")["status"] == "COMPLETED"
    said = ctx.type("initiate", "p1", *KASPI, code=3)
    assert "has paid already" in said.err
    assert "procomp-pay status p1" in said.err


def test_a_provider_that_is_down_leaves_the_payment_pending(
    ctx: Clerk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("procomp_pay.providers.resilience.retry._backoff", lambda _state: 30.0)
    ctx.street.fault(kind="status", status=503, path="/v1/checkout", times=None)
    said = ctx.type("initiate", "p1", "-m", "apple_pay", "--currency", "USD", code=5)
    assert "stays PENDING; nothing is lost" in said.err
    assert "again in a minute" in said.err
    assert ctx.ask("status", "p1")["status"] == "PENDING"
    ctx.street.calm()
    monkeypatch.undo()


def test_pictures(small_desk: Clerk, tmp_path: Path) -> None:
    small_desk.type("initiate", "p1", *KASPI, "--qr-file", str(tmp_path / "a.png"))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    small_desk.type("initiate", "p1", *KASPI, "--qr-file", str(tmp_path / "a.SVG"))
    assert b"<svg" in (tmp_path / "a.SVG").read_bytes()


def test_without_any_provider_it_says_how_to_begin(small_desk: Clerk) -> None:
    (small_desk.home / "sandbox.json").unlink()
    said = small_desk.type("initiate", "p1", *KASPI, code=7)
    assert "Kaspi is not configured" in said.err
    assert "procomp-pay sandbox" in said.err


def test_a_name_from_outside_cannot_paint_the_terminal(small_desk: Clerk) -> None:
    for said in (small_desk.type("initiate", "p4", *KASPI), small_desk.type("status", "p4")):
        assert "\x1b" not in said.out
        assert "[bold]x[/]" in said.out
