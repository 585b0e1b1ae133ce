"""``reconcile`` and ``discrepancies`` as typed, against a real sandbox."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from procomp_pay.providers.stripe.service import StripePaymentService
from tests.cli.conftest import Clerk
from tests.cli.refunds.test_refund import paid
from tests.support.statement_files import HEADS, text
from tests.support.statement_files import kaspi as row


def nobodys(ctx: Clerk) -> str:
    """Money at Stripe that is of no payment of ours."""
    answer = httpx.post(
        f"{ctx.street.url}/v1/payment_intents",
        data={
            "amount": "5000", "currency": "usd", "payment_method": "pm_card_visa", "confirm": "true",
            "return_url": "https://app.example.com/paid",
        },
        headers={"Authorization": f"Bearer {ctx.street.sandbox.info()['stripe_secret_key']}"},
    )  # fmt: skip
    return str(answer.json()["id"])


def test_an_evening(ctx: Clerk) -> None:
    """Something is mended, something is left; a person ends it; then everything is closed."""
    opened = ctx.ask("initiate", "p1", "--method", "apple_pay", "--amount", "50", "--currency", "USD")
    ctx.pay(opened, "apple_pay")
    intent = nobodys(ctx)
    dry = ctx.ask("reconcile", "--provider", "stripe", "--dry-run", code=6)
    assert {each["became"] for each in dry["runs"][0]["findings"]} == {"would repair", "would open"}
    said = ctx.type("reconcile", "--provider", "stripe", code=6)
    assert said.out.count("\n") == 1
    assert "1 mended" in said.out
    assert said.out.endswith(" open\n")
    assert ctx.ask("status", "p1")["status"] == "COMPLETED"
    mine = [each for each in ctx.ask("discrepancies", "list")["items"] if each["ref"] == intent]
    [found] = mine
    assert (found["kind"], found["provider"], found["payment_id"]) == ("MISSING_LOCALLY", "stripe", None)
    shown = ctx.type("discrepancies", "show", found["id"])
    assert "no payment in our books" in shown.out
    assert f"resolve {found['id']} --how accept" in shown.err
    done = ctx.ask(
        "discrepancies", "resolve", found["id"], "--how", "accept", "--note", "the shop's", "--as", "aida"
    )
    assert (done["state"], done["resolved_by"], done["note"]) == ("resolved", "aida", "the shop's")
    again = ctx.ask("discrepancies", "resolve", found["id"], "--how", "accept", "--note", "x", code=3)
    assert "resolved by aida" in again["detail"]
    assert "the shop's" in ctx.type("discrepancies", "show", found["id"]).out
    others = ctx.ask("discrepancies", "list")["items"]  # what other tests left at the same sandbox
    report = ctx.ask("reconcile", "--provider", "stripe", code=6 if others else 0)["runs"][0]
    assert [e["became"] for e in report["findings"] if e["theirs"]["ref"] == intent] == ["accepted"]
    assert "found by reconcile" in ctx.type("history", "p1").out


def test_usage(small_desk: Clerk) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=2)).date().isoformat()
    for words in (
        ("--since", "2026-05-03", "--until", "2026-05-01"),
        ("--since", tomorrow),
        ("--until", tomorrow),
        ("--since", "yesterday"),
        ("--provider", "paypal"),
        ("--mapping", "x.json"),
    ):
        assert small_desk.ask("reconcile", *words, code=2)["exit_code"] == 2
    small_desk.ask("discrepancies", "list", "--kind", "nothing", code=2)
    small_desk.ask("discrepancies", "list", "--state", "nothing", code=2)
    small_desk.ask("discrepancies", "show", "nothing", code=4)
    small_desk.ask("discrepancies", "resolve", "x", "--how", "pray", "--note", "x", code=2)
    small_desk.ask("discrepancies", "resolve", "x", "--how", "refund", "--note", "x", code=2)


def test_another_merchants_statement(
    small_desk: Clerk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "october.csv"
    rows = [["", "ИИН/БИН", "123456789012"], HEADS, row(1), row(2)]
    file.write_text(text(rows), encoding="utf-8-sig", newline="")
    monkeypatch.setenv("KASPI_ORGANIZATION_BIN", "210987654321")
    said = small_desk.ask("reconcile", "--statement", str(file), code=3)
    assert "of BIN 123456789012, and ours is 210987654321" in said["detail"]
    monkeypatch.setenv("KASPI_ORGANIZATION_BIN", "123456789012")
    assert "Not one of the 2 lines" in small_desk.ask("reconcile", "--statement", str(file), code=3)["detail"]
    done = small_desk.type("reconcile", "--statement", str(file), "--yes", "--dry-run", code=6)
    assert "NOT ONE LINE IS OF A PAYMENT OF OURS" in done.out


def test_a_day_in_almaty(small_desk: Clerk) -> None:
    run = small_desk.ask("reconcile", "--provider", "kaspi", "--since", "2026-05-01", "--until", "2026-05-02")
    assert run["runs"][0]["since"] == "2026-04-30T19:00:00+00:00"
    assert run["runs"][0]["until"] == "2026-05-02T19:00:00+00:00"


@pytest.mark.usefixtures("bare_environment")
def test_a_provider_that_is_away(ctx: Clerk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(StripePaymentService.__init__.__kwdefaults__, "total_s", 1.0)  # type: ignore[arg-type]
    paid(ctx)
    ctx.street.fault(path="/v1/refunds", kind="status", status=503, times=100)
    said = ctx.type("reconcile", "--provider", "stripe", code=5)
    assert "INCOMPLETE" in said.out
    assert "was not read to the end" in said.err
    assert "nothing is called missing" in said.err
    assert not [e for e in ctx.ask("discrepancies", "list")["items"] if e["kind"] == "MISSING_AT_PROVIDER"]


def test_two_at_once(ctx: Clerk) -> None:
    import asyncio

    from procomp_pay.storage.database.locks import reconcile_lock
    from procomp_pay.storage.database.service import PaymentDatabaseService

    async def meanwhile() -> Any:
        db = PaymentDatabaseService(ctx.url)
        async with reconcile_lock(db) as ours:
            assert ours
            said = await asyncio.to_thread(ctx.ask, "reconcile", "--provider", "kaspi", code=5)
        await db.dispose()
        return said

    assert "Another reconcile is running" in asyncio.run(meanwhile())["detail"]
