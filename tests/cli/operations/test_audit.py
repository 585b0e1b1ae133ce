"""``audit`` at the terminal: sentences, exit codes, and the seal that is sent away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from procomp_pay.storage.database.service import PaymentDatabaseService
from tests.cli.conftest import Clerk


def sql(clerk: Clerk, statement: str) -> None:
    async def work() -> None:
        db = PaymentDatabaseService(clerk.url)
        async with db.writing() as session:
            await (await session.connection()).execute(text(statement))
        await db.dispose()

    asyncio.run(work())


@pytest.fixture
def paid(ctx: Clerk) -> Any:
    """A payment that was paid and partly paid back."""
    payment = ctx.ask("initiate", "p1", "-m", "apple_pay", "--currency", "USD", "--amount", "50")
    ctx.pay(payment, "apple_pay")
    ctx.ask("maintain")
    ctx.ask("status", "p1", "--refresh")
    refund = ("refund", payment["payment_id"], "--amount", "20", "--reason", "second category", "--yes")
    ctx.type(*refund, "--as", "dana")
    return payment


def test_show_says_who_did_what_when_and_why(ctx: Clerk, paid: Any) -> None:
    said = " ".join(ctx.type("audit", "show", paid["payment_id"]).out.split())
    assert "aigerim, at the terminal: started this payment" in said
    assert "Stripe, by webhook: PAID" in said, "the event was fetched, though it never reached the webhook"
    assert "dana, at the terminal: asked to pay back 20.00 USD – second category" in said
    assert "status: PENDING → COMPLETED" in said
    assert "participant: REGISTERED → PAID" in said
    assert "paid back: 0.00 → 20.00" in said
    assert "✓ whole" in said
    got = ctx.ask("audit", "show", paid["payment_id"])
    assert [entry["seq"] for entry in got["entries"]] == list(range(1, len(got["entries"]) + 1))
    assert got["entries"][0]["actor"] == "aigerim"
    assert got["sound"] is True
    ctx.type("audit", "show", "nothing", code=4)


def test_tampering_ends_with_6_and_the_first_broken_link(ctx: Clerk, paid: Any) -> None:
    assert "audit seal" in ctx.type("audit", "verify").err
    root = ctx.type("audit", "seal", "--print").out.strip()
    assert ctx.ask("audit", "verify", "--root", root)["newest_root"] == root
    sql(ctx, "UPDATE pay_audit_entry SET actor = 'x\x1b[31m' WHERE seq = 2")
    said = ctx.type("audit", "verify", code=6)
    assert f"✗ the first broken link: payment {paid['payment_id']}, entry 2: edited" in said.err
    assert "\x1b" not in said.err + ctx.type("audit", "show", paid["payment_id"], code=6).out
    got = ctx.ask("audit", "verify", paid["payment_id"], code=6)
    assert (got["sound"], got["findings"][0]["flaw"], got["findings"][0]["seq"]) == (False, "edited", 2)
    sql(ctx, "DELETE FROM pay_audit_entry")
    assert "a whole chain is gone" in ctx.type("audit", "verify", code=6).err
    assert "audit verify" in ctx.type("audit", "seal", code=6).err
    assert ctx.ask("audit", "verify", "--root", "0" * 64, code=6)["findings"][-1]["flaw"] == "seal"


def test_what_makes_no_sense(small_desk: Clerk) -> None:
    small_desk.type("audit", "verify", "--root", "xyz", code=3)
    small_desk.type("audit", "verify", "p", "--root", "0" * 64, code=2)


def test_maintain_seals_where_it_is_asked_to(small_desk: Clerk, monkeypatch: pytest.MonkeyPatch) -> None:
    small_desk.ask("initiate", "p1", "-m", "kaspi_qr")
    small_desk.type("maintain")
    assert small_desk.ask("audit", "verify")["seals"] == 0
    monkeypatch.setenv("AUDIT_SEAL_HOURS", "24")
    small_desk.type("maintain")
    assert small_desk.ask("audit", "verify")["seals"] == 1
    sql(small_desk, "UPDATE pay_audit_seal SET sealed_at = '2020-01-01 00:00:00.000000'")
    small_desk.ask("initiate", "p2", "-m", "kaspi_qr")
    assert "audit seal: The audit trail was changed" in small_desk.type("maintain", code=6).err
