"""`refund`, and what is shown of refunds and disputes, against a real sandbox."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import pty
import subprocess
import sys
import time
from decimal import Decimal
from typing import Any

import httpx
import pytest

from procomp_pay.config import load_settings
from procomp_pay.providers.stripe.service import StripePaymentService
from procomp_pay.services.bootstrap import open_context
from procomp_pay.services.maintenance.run import Pass, work_inbox
from procomp_pay.services.webhooks import inbox
from tests.cli.conftest import Clerk

WHY = ("--reason", "injured")


def paid(ctx: Clerk, who: str = "p1", card: str | None = None) -> Any:
    """A payment of 50 USD that is paid: by Apple Pay on the hosted page, or by a test card."""
    if card is None:
        opened = ctx.ask("initiate", who, "--method", "apple_pay", "--amount", "50", "--currency", "USD")
        ctx.pay(opened, "apple_pay")
    else:
        opened = ctx.ask(
            "initiate", who, "--method", "apple_pay", "--amount", "50", "--currency", "USD", "--intent-only"
        )
        answer = httpx.post(
            f"{ctx.street.url}/v1/payment_intents/{opened['provider_ref']}/confirm",
            data={"payment_method": card, "return_url": "https://app.example.com/paid"},
            headers={"Authorization": f"Bearer {ctx.street.sandbox.info()['stripe_secret_key']}"},
        )
        assert answer.status_code == 200, answer.text
    view = ctx.ask("status", "--payment", opened["payment_id"], "--refresh")
    assert view["status"] == "COMPLETED"
    return view


def paid_by_kaspi(ctx: Clerk, who: str = "p1") -> Any:
    opened = ctx.ask("initiate", who, "--method", "kaspi_qr")
    ctx.pay(opened, "pay")
    for _ in range(40):
        view = ctx.ask("status", "--payment", opened["payment_id"], "--refresh")
        if view["status"] == "COMPLETED":
            return view
        time.sleep(0.1)
    raise AssertionError("it was not paid")


def stripe(ctx: Clerk, path: str) -> Any:
    key = ctx.street.sandbox.info()["stripe_secret_key"]
    return httpx.get(ctx.street.url + path, headers={"Authorization": f"Bearer {key}"}).json()


def gone(ctx: Clerk, view: Any) -> int:
    """Cents that went back at the sandbox."""
    ref = str(view["provider_ref"])
    if ref.startswith("cs_"):
        ref = stripe(ctx, f"/v1/checkout/sessions/{ref}")["payment_intent"]
    found = stripe(ctx, f"/v1/refunds?limit=100&payment_intent={ref}")["data"]
    return sum(each["amount"] for each in found if each["status"] == "succeeded")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that does not answer is given up after a second, not after twenty."""
    monkeypatch.setitem(StripePaymentService.__init__.__kwdefaults__, "total_s", 1.0)  # type: ignore[arg-type]


def test_in_part_then_the_rest(ctx: Clerk) -> None:
    view = paid(ctx)
    dry = ctx.type("refund", view["payment_id"], "--amount", "20", *WHY, "--dry-run").out
    assert "20.00\N{NO-BREAK SPACE}USD" in dry
    assert "stays       30.00" in dry
    assert gone(ctx, view) == 0
    part = ctx.type("refund", view["payment_id"], "--amount", "20", *WHY, "--yes")
    assert "20.00\N{NO-BREAK SPACE}USD went back to Аида Нурланова" in part.out
    assert "re_" in part.out
    assert "COMPLETED" in part.out
    assert gone(ctx, view) == 2000
    rest = ctx.ask("refund", view["payment_id"], *WHY, "--yes", "--as", "timur")
    assert (rest["state"], rest["amount"], rest["payment_status"]) == (
        "SUCCEEDED",
        Decimal("30.00"),
        "REFUNDED",
    )
    assert rest["mode"] == "sandbox"
    assert gone(ctx, view) == 5000
    again = ctx.ask("refund", view["payment_id"], *WHY, "--yes", code=3)
    assert "in full" in again["detail"]
    shown = ctx.type("status", "p1").out
    assert "paid back in full" in shown
    assert shown.count("refund  ") == 2
    assert "by timur: injured" in shown
    told = ctx.type("history", "p1").out
    assert "asked to pay back 20.00\N{NO-BREAK SPACE}USD (by aigerim): injured" in told
    assert "30.00\N{NO-BREAK SPACE}USD PAID BACK" in told
    document = ctx.ask("status", "p1")
    assert [(r["amount"], r["state"]) for r in document["refunds"]] == [
        (Decimal("20.00"), "SUCCEEDED"),
        (Decimal("30.00"), "SUCCEEDED"),
    ]
    assert document["dispute"] is None
    [listed] = ctx.ask("list")["items"]
    assert len(listed["refunds"]) == 2
    [entry] = ctx.ask("history", "p1")["items"]
    assert len(entry["refunds"]) == 2


def test_nobody_to_ask_does_nothing(small_desk: Clerk) -> None:
    view = paid(small_desk)
    said = small_desk.type("refund", view["payment_id"], *WHY, code=2)
    assert "--yes" in said.err
    assert small_desk.ask("refund", view["payment_id"], *WHY, code=2)["exit_code"] == 2
    assert gone(small_desk, view) == 0


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
def test_what_makes_no_sense(small_desk: Clerk, words: tuple[str, ...]) -> None:
    small_desk.type(*words, code=2)


def test_what_is_refused(small_desk: Clerk) -> None:
    view = paid(small_desk)
    wrong: list[tuple[int, tuple[str, ...]]] = [
        (4, ("nothing", *WHY)),
        (3, (view["payment_id"], "--reason", " ")),
        (3, (view["payment_id"], *WHY, "--amount", "50.01")),
        (3, (view["payment_id"], *WHY, "--amount", "0")),
        (3, (view["payment_id"], *WHY, "--amount", "5", "--currency", "EUR")),
    ]
    for code, words in wrong:
        small_desk.type("refund", *words, "--yes", code=code)
    assert gone(small_desk, view) == 0
    assert small_desk.ask("status", "p1")["refunds"] == []


def test_the_same_key_pays_back_once(small_desk: Clerk) -> None:
    view = paid(small_desk)
    command = ("refund", view["payment_id"], *WHY, "--yes", "--idempotency-key", "k1")
    first, second = small_desk.ask(*command), small_desk.ask(*command)
    assert first["refund_id"] == second["refund_id"]
    assert gone(small_desk, view) == 5000


def test_an_unknown_outcome_is_kept_and_said_so(ctx: Clerk, impatient: None) -> None:
    view = paid(ctx)
    ctx.street.fault(path="/v1/refunds", method="POST", kind="cut_after", times=1000)
    said = ctx.ask("refund", view["payment_id"], *WHY, "--yes", code=5)
    assert (said["state"], said["provider_refund_id"]) == ("PENDING", None)
    assert "do not ask for it again" in said["detail"]
    ctx.street.calm()
    shown = ctx.type("status", "p1").out
    assert "a refund is on its way" in shown
    assert "not known yet, followed up" in shown
    again = ctx.type("refund", view["payment_id"], *WHY, "--yes", code=3)
    assert "on its way" in again.err
    bulk = ctx.ask("refund", "--tournament", "t1", "--all", *WHY, "--yes")
    assert bulk["back"]["count"] == 1
    assert gone(ctx, view) == 5000


def test_the_bank_takes_its_time(small_desk: Clerk) -> None:
    view = paid(small_desk, card="pm_card_pendingRefund")
    said = small_desk.type("refund", view["payment_id"], *WHY, "--yes")
    assert "on its way back to" in said.out
    assert "Do not ask for it again" in said.err


def test_kaspis_basic_scheme_says_how(small_desk: Clerk) -> None:
    view = paid_by_kaspi(small_desk)
    said = small_desk.type("refund", view["payment_id"], *WHY, "--yes", code=3)
    assert "Kaspi Pay app" in said.err
    assert small_desk.ask("status", "p1")["refunds"] == []
    whole = small_desk.ask("refund", "--tournament", "t1", "--all", *WHY, "--yes", code=6)
    [line] = whole["by_hand"]["payments"]
    assert (line["payment_id"], line["amount"]) == (view["payment_id"], Decimal("24000.00"))


def disputed(ctx: Clerk, who: str = "p1") -> Any:
    """A payment that its customer disputes, as Stripe's webhooks tell."""
    view = paid(ctx, who, card="pm_card_createDispute")

    async def deliver() -> None:
        settings = load_settings()
        secret = str(ctx.street.sandbox.info()["webhook_secret"])
        async with open_context(settings) as ours:
            for event in reversed(stripe(ctx, "/v1/events?limit=50")["data"]):
                if event["data"]["object"].get("payment_intent") == view["provider_ref"]:
                    body, stamp = json.dumps(event).encode(), int(time.time())
                    digest = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256)
                    signed = f"t={stamp},v1={digest.hexdigest()}"
                    await inbox.receive_stripe(ours, body, signed, [secret])
            await work_inbox(ours, Pass())

    asyncio.run(deliver())
    return view


def test_a_dispute_is_shown_and_left_alone(small_desk: Clerk) -> None:
    view = disputed(small_desk)
    other = paid(small_desk, "p2")
    shown = small_desk.type("status", "p1").out
    assert "DISPUTE open" in shown
    assert "dispute     50.00" in shown
    assert "evidence until" in shown
    assert "fraudulent (du_" in shown
    document = small_desk.ask("status", "p1")["dispute"]
    assert (document["amount"], document["reason"]) == (Decimal("50.00"), "fraudulent")
    assert document["evidence_until"].endswith("Z")
    assert "DISPUTED by the customer" in small_desk.type("history", "p1").out
    assert "COMPLETED DISPUTED" in small_desk.type("list").out
    [only] = small_desk.ask("list", "--disputed")["items"]
    assert only["payment_id"] == view["payment_id"]
    refused = small_desk.type("refund", view["payment_id"], *WHY, "--yes", code=3)
    assert "--force" in refused.err
    whole = small_desk.type("refund", "--tournament", "t1", "--all", *WHY, "--yes", code=6)
    assert "left alone: disputed" in whole.out
    assert view["payment_id"] in whole.out
    assert (gone(small_desk, view), gone(small_desk, other)) == (0, 5000)


def test_a_whole_tournament(ctx: Clerk) -> None:
    views = [paid(ctx, who) for who in ("p1", "p2", "p3")]
    ctx.type("refund", views[0]["payment_id"], "--amount", "20", *WHY, "--yes")
    elsewhere = paid(ctx, "p5")
    ctx.ask("initiate", "p4", "--method", "kaspi_qr")
    dry = ctx.ask("refund", "--tournament", "Кубок Алматы", "--all", *WHY, "--dry-run")
    [total] = dry["to_do"]["totals"]
    assert (total["method"], total["currency"], total["count"]) == ("apple_pay", "USD", 3)
    assert total["amount"] == Decimal("130.00")
    assert dry["still_open"] == 1
    assert [gone(ctx, view) for view in views] == [2000, 0, 0]
    done = ctx.type("refund", "--tournament", "t1", "--all", *WHY, "--yes")
    assert "130.00" in done.out
    assert [gone(ctx, view) for view in views] == [5000, 5000, 5000]
    assert gone(ctx, elsewhere) == 0
    again = ctx.ask("refund", "--tournament", "t1", "--all", *WHY, "--yes")
    assert (again["to_do"]["count"], again["refunded_before"]) == (0, 3)
    ctx.type("refund", "--tournament", "nowhere", "--all", *WHY, "--yes", code=4)


def test_a_provider_that_is_down_ends_it_and_loses_nothing(small_desk: Clerk, impatient: None) -> None:
    views = [paid(small_desk, who) for who in ("p1", "p2")]
    small_desk.street.fault(path="/v1/refunds", method="POST", kind="cut_before", times=1000)
    said = small_desk.ask("refund", "--tournament", "t1", "--all", *WHY, "--yes", code=5)
    assert said["unknown"]["count"] == 2
    small_desk.street.calm()
    small_desk.type("refund", "--tournament", "t1", "--all", *WHY, "--yes")
    assert [gone(small_desk, view) for view in views] == [5000, 5000]


@pytest.mark.parametrize(("answer", "code", "cents"), [("n", 3, 0), ("y", 0, 5000)])
def test_it_asks_on_a_terminal(small_desk: Clerk, answer: str, code: int, cents: int) -> None:
    view = paid(small_desk)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "procomp_pay", "refund", view["payment_id"], *WHY],
        env=small_desk.environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    text = b""
    while b"[y/N]" not in text:
        text += os.read(ours, 4096)
    assert "Аида Нурланова" in text.decode()
    assert "the participant has not paid any more then" in text.decode()
    os.write(ours, f"{answer}\n".encode())
    assert process.wait(30) == code
    os.close(ours)
    assert gone(small_desk, view) == cents
