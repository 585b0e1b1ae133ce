"""``status``, ``history``, ``list`` and ``cancel``."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from procomp_pay.cli.payments import wording
from procomp_pay.domain.errors import Refused
from tests.cli.conftest import Clerk

KASPI = ("--method", "kaspi_qr")


def test_status_of_the_latest_or_of_one(ctx: Clerk) -> None:
    first = ctx.ask("initiate", "p1", "-m", "apple_pay", "--currency", "USD")
    second = ctx.ask("initiate", "p1", *KASPI)
    assert ctx.ask("status", "p1")["payment_id"] == second["payment_id"]
    assert ctx.ask("status", "p1", "--payment", first["payment_id"])["status"] == "CANCELLED"
    assert ctx.ask("status", "--payment", first["payment_id"])["participant_id"] == "p1"
    said = ctx.type("status", "p1")
    assert "PENDING" in said.out
    assert "waiting for the customer to scan" in said.out
    assert "SANDBOX" not in said.err  # it asks no provider


def test_status_holds_no_secret(small_desk: Clerk) -> None:
    secret = small_desk.ask("initiate", "p1", "-m", "apple_pay", "--currency", "USD", "--intent-only")
    for command in (("status", "p1"), ("history", "p1"), ("list",)):
        for more in ((), ("--json",)):
            assert secret["client_secret"] not in small_desk.type(*command, *more).out


def test_refresh_asks_the_provider(ctx: Clerk) -> None:
    payment = ctx.ask("initiate", "p1", *KASPI)
    ctx.pay(payment, "scan")
    got = ctx.ask("status", "p1", "--refresh")
    assert (got["status"], got["mode"]) == ("PROCESSING", "sandbox")
    assert "scanned, waiting for confirmation" in ctx.type("status", "p1").out
    ctx.pay(payment, "confirm")
    said = ctx.type("status", "p1", "--refresh")
    assert "COMPLETED" in said.out
    assert "operation" in said.out
    assert "SANDBOX" in said.err


def test_refresh_without_a_connection_shows_what_is_known(
    small_desk: Clerk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("procomp_pay.providers.resilience.retry._backoff", lambda _state: 30.0)
    small_desk.ask("initiate", "p1", *KASPI)
    small_desk.street.fault(kind="cut_before", path="/r1", times=None)
    said = small_desk.type("status", "p1", "--refresh", code=5)
    assert "PENDING" in said.out
    assert "how it stood before" in said.err
    document = small_desk.ask("status", "p1", "--refresh", code=5)
    assert set(document) == {"detail", "exit_code", "next_step"}


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        (("status", "nobody"), 4, "no participant 'nobody'"),
        (("status", "p3"), 4, "Данияр has no payment yet"),
        (("status", "--payment", "nope"), 4, "no payment 'nope'"),
        (("status",), 2, "name a PARTICIPANT"),
        (("history", "nobody"), 4, "no participant 'nobody'"),
        (("list", "--limit", "0"), 3, "limit is 1 to 200"),
        (("list", "--limit", "201"), 3, "limit is 1 to 200"),
        (("list", "--cursor", "%%"), 3, "cursor"),
        (("list", "--since", "yesterday"), 3, "--since 'yesterday' is not a day"),
        (("list", "--since", "2026-05-02", "--until", "2026-05-01"), 3, "is before"),
        (("list", "--until", "9999-12-31"), 3, "not a day"),
        (("list", "--status", "done"), 2, "'done'"),
        (("cancel", "nope", "--yes"), 4, "no payment 'nope'"),
        (("cancel", "nope"), 2, "say --yes"),
        (("status", "p1", "--metod"), 2, "No such option"),
        (("stat", "p1"), 2, "Did you mean 'status'"),
    ],
)
def test_what_is_refused(small_desk: Clerk, given: tuple[str, ...], code: int, says: str) -> None:
    said = small_desk.type(*given, code=code)
    assert says in said.err
    assert said.out == ""
    assert small_desk.ask(*given, code=code)["exit_code"] == code


def test_a_payment_of_somebody_else_is_not_found(small_desk: Clerk) -> None:
    payment = small_desk.ask("initiate", "p1", *KASPI)
    said = small_desk.type("status", "p2", "--payment", payment["payment_id"], code=4)
    assert "is not of participant 'p2'" in said.err


def test_history_tells_it_in_sentences(ctx: Clerk) -> None:
    payment = ctx.ask("initiate", "p1", *KASPI)
    ctx.pay(payment, "scan")
    ctx.type("status", "p1", "--refresh")
    ctx.pay(payment, "confirm")
    ctx.type("status", "p1", "--refresh")
    said = ctx.type("history", "p1").out
    for sentence in (
        "started (by aigerim)",
        "opened at Kaspi",
        "scanned by the customer (Kaspi, when asked)",
        "PAID (Kaspi, when asked)",
        "refunded",
    ):
        assert sentence in said
    moves = ctx.ask("history", "p1")["items"][0]["moves"]
    assert [move["after"] for move in moves][-1] == "COMPLETED"


def test_history_of_nobody_yet(small_desk: Clerk) -> None:
    said = small_desk.type("history", "p2")
    assert "initiate p2" in said.err
    assert small_desk.ask("history", "p2") == {"items": []}


def test_list_goes_page_by_page(ctx: Clerk) -> None:
    for who in ("p1", "p2", "p3"):
        ctx.ask("initiate", who, *KASPI)
    said = ctx.type("list", "--limit", "2", "--method", "kaspi_qr")
    assert "procomp-pay list --method kaspi_qr --limit 2 --cursor " in said.err
    first = ctx.ask("list", "--limit", "2")
    second = ctx.ask("list", "--limit", "2", "--cursor", first["next_cursor"])
    assert [p["participant_id"] for p in first["items"] + second["items"]] == ["p3", "p2", "p1"]
    assert second["next_cursor"] is None


def test_list_filters(ctx: Clerk) -> None:
    ctx.ask("initiate", "p1", *KASPI)
    ctx.ask("initiate", "p5", "-m", "google_pay")
    today = datetime.now(UTC).astimezone(wording.ALMATY).date().isoformat()
    for given, expected in (
        (("--tournament", "t2"), ["p5"]),
        (("--method", "kaspi_qr"), ["p1"]),
        (("--status", "completed"), []),
        (("--status", "PENDING"), ["p5", "p1"]),
        (("--since", today, "--until", today), ["p5", "p1"]),
        (("--until", "2020-01-01"), []),
    ):
        assert [p["participant_id"] for p in ctx.ask("list", *given)["items"]] == expected, given
    assert "No payments fit" in ctx.type("list", "--until", "2020-01-01").err


def test_a_pipe_gets_whole_lines(small_desk: Clerk) -> None:
    payment = small_desk.ask("initiate", "p1", *KASPI)
    head, line = small_desk.type("list").out.splitlines()
    assert head.startswith("STATUS")
    assert payment["payment_id"] in line
    assert "Кубок Алматы" in line


def test_cancel_stripe(ctx: Clerk) -> None:
    payment = ctx.ask("initiate", "p1", "-m", "apple_pay", "--currency", "USD")
    got = ctx.ask("cancel", payment["payment_id"], "--yes")
    assert (got["status"], got["provider_open"], got["mode"]) == ("CANCELLED", False, "sandbox")
    said = ctx.type("cancel", payment["payment_id"], "--yes", code=3)
    assert "is CANCELLED already" in said.err


def test_cancel_kaspi_says_that_the_qr_lives_on(ctx: Clerk) -> None:
    payment = ctx.ask("initiate", "p1", *KASPI)
    said = ctx.type("cancel", payment["payment_id"], "--yes")
    until = wording.clock_time(datetime.fromisoformat(payment["expires_at"]))
    assert f"lives until {until} and is watched" in said.err
    assert "CANCELLED" in said.out
    ctx.pay(payment, "pay")
    late = ctx.ask("status", "p1", "--refresh")
    assert (late["status"], late["late"]) == ("COMPLETED", True)
    assert "LATE" in ctx.type("status", "p1").out


def test_cancel_of_what_was_paid_meanwhile(ctx: Clerk) -> None:
    payment = ctx.ask("initiate", "p1", *KASPI)
    ctx.pay(payment, "pay")
    said = ctx.type("cancel", payment["payment_id"], "--yes", code=3)
    assert "paid meanwhile" in said.err
    again = ctx.type("cancel", payment["payment_id"], "--yes", code=3)
    assert "procomp-pay refund" in again.err


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        ("2026-05-02T09:05:00+00:00", "14:05"),
        ("2026-05-01T18:59:59+00:00", "Fri 1 May 23:59"),
        ("2026-05-01T19:00:00+00:00", "00:00"),
        ("2025-12-31T18:00:00+00:00", "Wed 31 Dec 2025 23:00"),
    ],
)
def test_times_are_the_halls(at: str, shown: str) -> None:
    now = datetime(2026, 5, 2, 10, 0, tzinfo=UTC)
    assert wording.clock_time(datetime.fromisoformat(at), now) == shown


def test_days_are_almatys() -> None:
    day = wording.day("2026-05-01", "--since")
    assert day is not None
    assert wording.day_begins(day) == datetime(2026, 4, 30, 19, tzinfo=UTC)
    assert wording.day_begins(day, plus_days=1) == datetime(2026, 5, 1, 19, tzinfo=UTC)
    with pytest.raises(Refused):
        wording.day("1 May", "--since")
