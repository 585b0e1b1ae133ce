"""``refund`` against the sandbox, and how refunds and disputes are shown."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from decimal import Decimal
from typing import Any

import httpx
import pytest

from procomp_pay.cli.framework import console
from procomp_pay.cli.refunds import bulk
from procomp_pay.config import load_settings
from procomp_pay.providers.resilience import retry
from procomp_pay.services.bootstrap import open_context
from procomp_pay.services.maintenance.run import Pass, work_inbox
from procomp_pay.services.webhooks.stripe import receive_stripe
from tests.support.patience import PATIENCE_S, until
from tests.support.pseudo_terminal import pseudo_terminal
from tests.support.terminal import CommandLine, paid

WHY = ("--reason", "injured")


def paid_by_kaspi(clerk: CommandLine, participant_id: str = "p1") -> Any:
    opened = clerk.ask("initiate", participant_id, "--method", "kaspi_qr")
    clerk.pay(opened, "pay")
    refresh = ("status", "--payment", opened["payment_id"], "--refresh")
    until(lambda: clerk.ask(*refresh)["status"] == "COMPLETED")
    return clerk.ask(*refresh)


def stripe(clerk: CommandLine, path: str) -> Any:
    key = clerk.providers.sandbox.info()["stripe_secret_key"]
    return httpx.get(
        clerk.providers.url + path, headers={"Authorization": f"Bearer {key}"}, timeout=PATIENCE_S
    ).json()


def refunded_cents(clerk: CommandLine, view: Any) -> int:
    """Return the cents refunded at the sandbox."""
    ref = str(view["provider_ref"])
    if ref.startswith("cs_"):
        ref = stripe(clerk, f"/v1/checkout/sessions/{ref}")["payment_intent"]
    refunds = stripe(clerk, f"/v1/refunds?limit=100&payment_intent={ref}")["data"]
    return sum(row["amount"] for row in refunds if row["status"] == "succeeded")


@pytest.fixture
def short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up a provider that does not answer after one second instead of twenty."""
    monkeypatch.setattr(retry, "TOTAL_S", 1.0)


def test_partial_refund_then_the_rest(clerk: CommandLine) -> None:
    view = paid(clerk)
    dry = clerk.type("refund", view["payment_id"], "--amount", "20", *WHY, "--dry-run").out
    assert "20.00\N{NO-BREAK SPACE}USD" in dry
    assert "remains     30.00" in dry
    assert refunded_cents(clerk, view) == 0
    part = clerk.type("refund", view["payment_id"], "--amount", "20", *WHY, "--yes")
    assert "20.00\N{NO-BREAK SPACE}USD refunded to Аида Нурланова" in part.out
    assert "re_" in part.out
    assert "COMPLETED" in part.out
    assert refunded_cents(clerk, view) == 2000
    rest = clerk.ask("refund", view["payment_id"], *WHY, "--yes", "--as", "timur")
    assert (rest["state"], rest["amount"], rest["payment_status"]) == (
        "SUCCEEDED",
        Decimal("30.00"),
        "REFUNDED",
    )
    assert rest["mode"] == "sandbox"
    assert refunded_cents(clerk, view) == 5000
    again = clerk.ask("refund", view["payment_id"], *WHY, "--yes", code=3)
    assert "in full" in again["detail"]
    shown = clerk.type("status", "p1").out
    assert "refunded in full" in shown
    assert "(apple_pay)" not in shown
    assert shown.count("refund  ") == 2
    assert "by timur: injured" in shown
    history = clerk.type("history", "p1").out
    assert "refund of 20.00\N{NO-BREAK SPACE}USD requested (by aigerim): injured" in history
    assert "30.00\N{NO-BREAK SPACE}USD REFUNDED" in history
    document = clerk.ask("status", "p1")
    assert [(r["amount"], r["state"]) for r in document["refunds"]] == [
        (Decimal("20.00"), "SUCCEEDED"),
        (Decimal("30.00"), "SUCCEEDED"),
    ]
    assert document["dispute"] is None
    [listed] = clerk.ask("list")["items"]
    assert len(listed["refunds"]) == 2
    [entry] = clerk.ask("history", "p1")["items"]
    assert len(entry["refunds"]) == 2


def test_without_a_terminal_a_refund_needs_yes(sqlite_clerk: CommandLine) -> None:
    view = paid(sqlite_clerk)
    output = sqlite_clerk.type("refund", view["payment_id"], *WHY, code=2)
    assert "--yes" in output.err
    assert sqlite_clerk.ask("refund", view["payment_id"], *WHY, code=2)["exit_code"] == 2
    assert refunded_cents(sqlite_clerk, view) == 0


@pytest.mark.parametrize(
    "words",
    [
        ("refund", *WHY, "--yes"),
        ("refund", "x", "--yes"),
        ("refund", "--tournament", "t1", *WHY, "--yes"),
        ("refund", "--all", *WHY, "--yes"),
        ("refund", "x", "--tournament", "t1", "--all", *WHY, "--yes"),
        ("refund", "--tournament", "t1", "--all", "--amount", "5", *WHY, "--yes"),
        ("refund", "--tournament", "t1", "--all", "--force", *WHY, "--yes"),
        ("refund", "x", "--currency", "USD", *WHY, "--yes"),
    ],
)
def test_contradictory_options_exit_with_2(sqlite_clerk: CommandLine, words: tuple[str, ...]) -> None:
    sqlite_clerk.type(*words, code=2)


def test_refusals_and_their_exit_codes(sqlite_clerk: CommandLine) -> None:
    view = paid(sqlite_clerk)
    wrong: list[tuple[int, tuple[str, ...]]] = [
        (4, ("nothing", *WHY)),
        (3, (view["payment_id"], "--reason", " ")),
        (3, (view["payment_id"], *WHY, "--amount", "50.01")),
        (3, (view["payment_id"], *WHY, "--amount", "0")),
        (3, (view["payment_id"], *WHY, "--amount", "5", "--currency", "EUR")),
    ]
    for code, words in wrong:
        sqlite_clerk.type("refund", *words, "--yes", code=code)
    assert refunded_cents(sqlite_clerk, view) == 0
    assert sqlite_clerk.ask("status", "p1")["refunds"] == []


def test_the_same_key_refunds_once(sqlite_clerk: CommandLine) -> None:
    view = paid(sqlite_clerk)
    command = ("refund", view["payment_id"], *WHY, "--yes", "--idempotency-key", "k1")
    first, second = sqlite_clerk.ask(*command), sqlite_clerk.ask(*command)
    assert first["refund_id"] == second["refund_id"]
    assert refunded_cents(sqlite_clerk, view) == 5000


def test_a_refund_with_unknown_outcome_is_tracked(clerk: CommandLine, short_timeout: None) -> None:
    view = paid(clerk)
    clerk.providers.fault(path="/v1/refunds", method="POST", kind="cut_after", times=1000)
    output = clerk.ask("refund", view["payment_id"], *WHY, "--yes", code=5)
    assert (output["state"], output["provider_refund_id"]) == ("PENDING", None)
    assert "do not request it again" in output["detail"]
    clerk.providers.calm()
    shown = clerk.type("status", "p1").out
    assert "a refund is pending" in shown
    assert "outcome not known yet" in shown
    again = clerk.type("refund", view["payment_id"], *WHY, "--yes", code=3)
    assert "refund of this payment is in progress" in again.err
    bulk = clerk.ask("refund", "--tournament", "t1", "--all", *WHY, "--yes")
    assert bulk["back"]["count"] == 1
    assert refunded_cents(clerk, view) == 5000


def test_a_pending_refund(sqlite_clerk: CommandLine) -> None:
    view = paid(sqlite_clerk, card="pm_card_pendingRefund")
    output = sqlite_clerk.type("refund", view["payment_id"], *WHY, "--yes")
    assert "is on its way" in output.out
    assert "Do not request it again" in output.err


def test_scheme_basic_explains_the_refund_in_the_app(sqlite_clerk: CommandLine) -> None:
    view = paid_by_kaspi(sqlite_clerk)
    output = sqlite_clerk.type("refund", view["payment_id"], *WHY, "--yes", code=3)
    assert "Kaspi Pay app" in output.err
    assert sqlite_clerk.ask("status", "p1")["refunds"] == []
    with pseudo_terminal(sqlite_clerk, "refund", view["payment_id"]) as screen:
        assert screen.ends() == 3  # no reason is asked for before
    assert "Kaspi Pay app" in screen.output
    whole = sqlite_clerk.ask("refund", "--tournament", "t1", "--all", *WHY, "--yes", code=6)
    [line] = whole["by_hand"]["payments"]
    assert (line["payment_id"], line["amount"]) == (view["payment_id"], Decimal("24000.00"))


def disputed(clerk: CommandLine, participant_id: str = "p1") -> Any:
    """Create a disputed payment, with Stripe's webhooks delivered."""
    view = paid(clerk, participant_id, card="pm_card_createDispute")

    async def deliver() -> None:
        settings = load_settings()
        secret = str(clerk.providers.sandbox.info()["webhook_secret"])
        async with open_context(settings) as ours:
            for event in reversed(stripe(clerk, "/v1/events?limit=50")["data"]):
                if event["data"]["object"].get("payment_intent") == view["provider_ref"]:
                    body, stamp = json.dumps(event).encode(), int(time.time())
                    digest = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256)
                    signed = f"t={stamp},v1={digest.hexdigest()}"
                    await receive_stripe(ours, body, signed, [secret])
            await work_inbox(ours, Pass())

    asyncio.run(deliver())
    return view


def test_a_dispute_is_shown_and_not_refunded(sqlite_clerk: CommandLine) -> None:
    view = disputed(sqlite_clerk)
    other = paid(sqlite_clerk, "p2")
    shown = sqlite_clerk.type("status", "p1").out
    assert "DISPUTE open" in shown
    assert "dispute     50.00" in shown
    assert "evidence until" in shown
    assert "fraudulent (du_" in shown
    document = sqlite_clerk.ask("status", "p1")["dispute"]
    assert (document["amount"], document["reason"]) == (Decimal("50.00"), "fraudulent")
    assert document["evidence_until"].endswith("Z")
    assert "DISPUTED by the customer" in sqlite_clerk.type("history", "p1").out
    assert "COMPLETED DISPUTED" in sqlite_clerk.type("list").out
    [only] = sqlite_clerk.ask("list", "--disputed")["items"]
    assert only["payment_id"] == view["payment_id"]
    refused = sqlite_clerk.type("refund", view["payment_id"], *WHY, "--yes", code=3)
    assert "--force" in refused.err
    whole = sqlite_clerk.type("refund", "--tournament", "t1", "--all", *WHY, "--yes", code=6)
    assert "skipped: disputed" in whole.out
    assert view["payment_id"] in whole.out
    assert (refunded_cents(sqlite_clerk, view), refunded_cents(sqlite_clerk, other)) == (0, 5000)


def test_refund_of_a_whole_tournament(clerk: CommandLine) -> None:
    views = [paid(clerk, participant_id) for participant_id in ("p1", "p2", "p3")]
    clerk.type("refund", views[0]["payment_id"], "--amount", "20", *WHY, "--yes")
    elsewhere = paid(clerk, "p5")
    clerk.ask("initiate", "p4", "--method", "kaspi_qr")
    dry = clerk.ask("refund", "--tournament", "Кубок Алматы", "--all", *WHY, "--dry-run")
    [total] = dry["to_do"]["totals"]
    assert (total["method"], total["currency"], total["count"]) == ("apple_pay", "USD", 3)
    assert total["amount"] == Decimal("130.00")
    assert dry["still_open"] == 1
    assert [row["amount"] for row in dry["to_do"]["payments"]] == [50, 50, 30]
    shown = clerk.type("refund", "--tournament", "t1", "--all", *WHY, "--dry-run").out
    for view in views:
        assert f"{view['participant_name']} (Kata)  " in shown
        assert view["payment_id"] in shown
    assert [refunded_cents(clerk, view) for view in views] == [2000, 0, 0]
    done = clerk.type("refund", "--tournament", "t1", "--all", *WHY, "--yes")
    assert "130.00" in done.out
    assert [refunded_cents(clerk, view) for view in views] == [5000, 5000, 5000]
    assert refunded_cents(clerk, elsewhere) == 0
    again = clerk.ask("refund", "--tournament", "t1", "--all", *WHY, "--yes")
    assert (again["to_do"]["count"], again["refunded_before"]) == (0, 3)
    clerk.type("refund", "--tournament", "nowhere", "--all", *WHY, "--yes", code=4)


def test_what_a_bulk_refund_gives_back_is_shown_before_the_question(
    sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = [paid(sqlite_clerk, participant_id) for participant_id in ("p1", "p2")]
    monkeypatch.setattr(bulk, "_MOST_SHOWN", 1)
    monkeypatch.setattr(console, "is_interactive", lambda: True)
    questions: list[str] = []
    monkeypatch.setattr(console, "prompt", lambda question, **_: questions.append(question) or "n")
    shown = sqlite_clerk.type("refund", "--tournament", "t1", "--all", *WHY, code=3).err
    assert questions == ["Refund 100.00\N{NO-BREAK SPACE}USD of 2 payments? [y/N]"]
    assert f"Timur (Kata)  50.00\N{NO-BREAK SPACE}USD  {views[1]['payment_id']}\n      … and 1 more" in shown
    assert 'all of them: procomp-pay refund --tournament t1 --all --reason "…" --dry-run' in shown
    assert [refunded_cents(sqlite_clerk, view) for view in views] == [0, 0]


def test_a_bulk_refund_writes_all_amounts_alike(
    sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    paid(sqlite_clerk)
    monkeypatch.setenv("PROCOMP_LANGUAGE", "ru")
    monkeypatch.setattr(console, "is_interactive", lambda: True)
    questions: list[str] = []
    monkeypatch.setattr(console, "prompt", lambda question, **_: questions.append(question) or "n")
    shown = sqlite_clerk.type("refund", "--tournament", "t1", "--all", *WHY, code=3).err
    assert shown.count("50,00\N{NO-BREAK SPACE}USD") == 1  # the payment's row
    assert "50,00 USD" in shown  # the total
    assert questions == ["Вернуть 50,00\N{NO-BREAK SPACE}USD, платежей: 1? [д/Н]"]


def test_a_bulk_refund_stops_when_the_provider_is_down(
    sqlite_clerk: CommandLine, short_timeout: None
) -> None:
    views = [paid(sqlite_clerk, participant_id) for participant_id in ("p1", "p2")]
    sqlite_clerk.providers.fault(path="/v1/refunds", method="POST", kind="cut_before", times=1000)
    output = sqlite_clerk.ask("refund", "--tournament", "t1", "--all", *WHY, "--yes", code=5)
    assert output["unknown"]["count"] == 2
    sqlite_clerk.providers.calm()
    sqlite_clerk.type("refund", "--tournament", "t1", "--all", *WHY, "--yes")
    assert [refunded_cents(sqlite_clerk, view) for view in views] == [5000, 5000]


@pytest.mark.parametrize(("answer", "code", "cents"), [("n", 3, 0), ("y", 0, 5000)])
def test_a_terminal_asks_for_confirmation(
    sqlite_clerk: CommandLine, answer: str, code: int, cents: int
) -> None:
    view = paid(sqlite_clerk)
    before = "y\n" if answer == "n" else "n\n"
    with pseudo_terminal(sqlite_clerk, "refund", view["payment_id"], *WHY, typed_ahead=before) as screen:
        screen.wait_for("[y/N]: ")
        assert "Аида Нурланова" in screen.output
        assert "the participant will count as unpaid" in screen.output
        screen.type(f"{answer}\n")
        assert screen.ends() == code
    assert refunded_cents(sqlite_clerk, view) == cents


def test_a_terminal_asks_for_the_reason(sqlite_clerk: CommandLine) -> None:
    view = paid(sqlite_clerk)
    with pseudo_terminal(sqlite_clerk, "refund", view["payment_id"]) as screen:
        screen.wait_for("Reason, for the audit trail: ")
        screen.type("torn ligament\n")
        screen.wait_for("[y/N]: ")
        assert "reason      torn ligament" in screen.output
        screen.type("y\n")
        assert screen.ends() == 0
    [refund] = sqlite_clerk.ask("status", "p1")["refunds"]
    assert refund["reason"] == "torn ligament"


def test_ctrl_c_at_the_question_ends_the_command_at_once(sqlite_clerk: CommandLine) -> None:
    view = paid(sqlite_clerk)
    with pseudo_terminal(sqlite_clerk, "refund", view["payment_id"], *WHY) as screen:
        screen.wait_for("[y/N]: ")
        assert screen.interrupt() == 130
    assert refunded_cents(sqlite_clerk, view) == 0


def test_the_refund_policy_is_proposed_and_another_sum_is_told_beside_it(clerk: CommandLine) -> None:
    by_hand = paid_by_kaspi(clerk, "p2")
    clerk.type("tournament", "refund-policy", by_hand["tournament_id"], "2100-01-01:50")
    told = clerk.type("refund", by_hand["payment_id"], *WHY, "--yes", code=3)
    assert "Refund policy: 50% until 2100-01-01" in told.err
    view = paid(clerk)
    clerk.type("tournament", "refund-policy", view["tournament_id"], "2100-01-01:50")
    proposed = clerk.type("refund", view["payment_id"], *WHY, "--dry-run")
    assert "50% until 2100-01-01" in proposed.out
    document = clerk.ask("refund", view["payment_id"], *WHY, "--dry-run")
    half = Decimal(str(view["amount"])) / 2
    assert (document["goes_back"], document["policy"]["goes_back"]) == (half, half)
    other = clerk.type("refund", view["payment_id"], *WHY, "--amount", "10", "--dry-run")
    assert "50% until 2100-01-01: it would be" in other.out
    assert clerk.ask("refund", view["payment_id"], *WHY, "--yes")["amount"] == half
    clerk.type("tournament", "refund-policy", view["tournament_id"], "2020-01-01:50")
    refused = clerk.type("refund", view["payment_id"], *WHY, "--yes", code=3)
    assert "nothing goes back" in refused.err


def test_a_refund_in_the_app_is_recorded_with_the_sum_where_the_policy_gives_another(
    clerk: CommandLine,
) -> None:
    view = paid_by_kaspi(clerk, "p2")
    clerk.type("tournament", "refund-policy", view["tournament_id"], "2100-01-01:50")
    made = ("refund", view["payment_id"], "--made-in-app", "19000000777", *WHY, "--yes")
    refused = clerk.type(*made, code=3)
    assert "By the refund policy" in refused.err
    half = Decimal(str(view["amount"])) / 2
    assert f"--amount {half:.2f}" in refused.err
    assert clerk.ask("status", "p2")["refunds"] == []
    clerk.type(*made, "--amount", str(half))
    [recorded] = clerk.ask("status", "p2")["refunds"]
    assert recorded["amount"] == half
    clerk.type("tournament", "refund-policy", view["tournament_id"], "2100-01-01:100")
    rest = (*made[:3], "19000000778", *made[4:])
    clerk.type(*rest)  # the whole rest is what the policy gives back
    assert [each["amount"] for each in clerk.ask("status", "p2")["refunds"]] == [half, half]


def test_a_policy_by_days_before_an_unknown_start_proposes_nothing(postgres_clerk: CommandLine) -> None:
    clerk = postgres_clerk  # a platform's schema may have the start of a tournament unknown
    view = paid(clerk)
    clerk.type("tournament", "refund-policy", view["tournament_id"], "3d:100")
    clerk.change('ALTER TABLE "Tournament" ALTER COLUMN "startsAt" DROP NOT NULL')
    clerk.change(f'UPDATE "Tournament" SET "startsAt" = NULL WHERE id = \'{view["tournament_id"]}\'')
    refused = clerk.type("refund", view["payment_id"], *WHY, "--yes", code=3)
    assert "not known" in refused.err
    assert f"procomp-pay refund {view['payment_id']} --amount" in refused.err
    assert refunded_cents(clerk, view) == 0
    clerk.type("refund", view["payment_id"], *WHY, "--amount", "10", "--yes")
    assert refunded_cents(clerk, view) == 1000


def test_a_refund_in_the_app_is_not_told_to_be_made_again_where_the_policy_cannot_say(
    postgres_clerk: CommandLine,
) -> None:
    clerk = postgres_clerk
    view = paid_by_kaspi(clerk, "p2")
    clerk.type("tournament", "refund-policy", view["tournament_id"], "3d:100")
    clerk.change('ALTER TABLE "Tournament" ALTER COLUMN "startsAt" DROP NOT NULL')
    clerk.change(f'UPDATE "Tournament" SET "startsAt" = NULL WHERE id = \'{view["tournament_id"]}\'')
    made = ("refund", view["payment_id"], "--made-in-app", "19000000777", *WHY, "--yes")
    refused = " ".join(clerk.type(*made, code=3).err.split())
    assert "not known" in refused
    again = f"procomp-pay refund {view['payment_id']} --made-in-app 19000000777 --amount {view['amount']}"
    assert again in refused, refused
    clerk.type(*made, "--amount", str(view["amount"]))
    assert clerk.ask("status", "p2")["status"] == "REFUNDED"
