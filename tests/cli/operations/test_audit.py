"""``audit``: its texts, exit codes and seals."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from procomp_pay.storage.database.service import PaymentDatabaseService
from tests.support.terminal import CommandLine


def sql(clerk: CommandLine, statement: str) -> None:
    async def work() -> None:
        db = PaymentDatabaseService(clerk.url)
        async with db.writing() as session:
            await (await session.connection()).execute(text(statement))
        await db.dispose()

    asyncio.run(work())


@pytest.fixture
def paid(clerk: CommandLine) -> Any:
    """Create a payment that was paid and partly refunded."""
    payment = clerk.ask("initiate", "p1", "-m", "apple_pay", "--currency", "USD", "--amount", "50")
    clerk.pay(payment, "apple_pay")
    clerk.ask("maintain")
    clerk.ask("status", "p1", "--refresh")
    refund = ("refund", payment["payment_id"], "--amount", "20", "--reason", "second category", "--yes")
    clerk.type(*refund, "--as", "dana")
    return payment


def test_show_an_audit_trail(clerk: CommandLine, paid: Any) -> None:
    output = " ".join(clerk.type("audit", "show", paid["payment_id"]).out.split())
    assert "aigerim, at the terminal: started this payment" in output
    assert "Stripe, by webhook: PAID" in output, "the event was fetched, though it never reached the webhook"
    assert "dana, at the terminal: refund of 20.00 USD requested – second category" in output
    assert "status: PENDING → COMPLETED" in output
    assert "participant: REGISTERED → PAID" in output
    assert "refunded: 0.00 → 20.00" in output
    assert "✓ intact" in output
    got = clerk.ask("audit", "show", paid["payment_id"])
    assert [entry["seq"] for entry in got["entries"]] == list(range(1, len(got["entries"]) + 1))
    assert got["entries"][0]["actor"] == "aigerim"
    assert got["sound"] is True
    clerk.type("audit", "show", "nothing", code=4)


def test_tampering_exits_with_6_and_shows_the_first_broken_link(clerk: CommandLine, paid: Any) -> None:
    assert "audit seal" in clerk.type("audit", "verify").err
    root = clerk.type("audit", "seal", "--print").out.strip()
    assert clerk.ask("audit", "verify", "--root", root)["newest_root"] == root
    sql(clerk, "UPDATE pay_audit_entry SET actor = 'x\x1b[31m' WHERE seq = 2")
    output = clerk.type("audit", "verify", code=6)
    assert f"✗ the first broken link: payment {paid['payment_id']}, entry 2: edited" in output.err
    assert "\x1b" not in output.err + clerk.type("audit", "show", paid["payment_id"], code=6).out
    got = clerk.ask("audit", "verify", paid["payment_id"], code=6)
    assert (got["sound"], got["findings"][0]["flaw"], got["findings"][0]["seq"]) == (False, "edited", 2)
    sql(clerk, "DELETE FROM pay_audit_entry")
    assert "a whole chain is gone" in clerk.type("audit", "verify", code=6).err
    assert "audit verify" in clerk.type("audit", "seal", code=6).err
    assert clerk.ask("audit", "verify", "--root", "0" * 64, code=6)["findings"][-1]["flaw"] == "seal"


def test_contradictory_options_exit_with_2(sqlite_clerk: CommandLine) -> None:
    sqlite_clerk.type("audit", "verify", "--root", "xyz", code=3)
    sqlite_clerk.type("audit", "verify", "p", "--root", "0" * 64, code=2)


def test_maintain_seals_if_configured(sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    sqlite_clerk.ask("initiate", "p1", "-m", "kaspi_qr")
    sqlite_clerk.type("maintain")
    assert sqlite_clerk.ask("audit", "verify")["seals"] == 0
    monkeypatch.setenv("AUDIT_SEAL_HOURS", "24")
    sqlite_clerk.type("maintain")
    assert sqlite_clerk.ask("audit", "verify")["seals"] == 1
    sql(sqlite_clerk, "UPDATE pay_audit_seal SET sealed_at = '2020-01-01 00:00:00.000000'")
    sqlite_clerk.ask("initiate", "p2", "-m", "kaspi_qr")
    assert "audit seal: The audit trail was changed" in sqlite_clerk.type("maintain", code=6).err
