"""``reconcile`` and ``discrepancies`` against the sandbox."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from procomp_pay.providers.resilience import retry
from tests.support.patience import PATIENCE_S
from tests.support.statement_files import HEADS, text
from tests.support.statement_files import kaspi as row
from tests.support.terminal import CommandLine, paid


def foreign_payment(clerk: CommandLine) -> str:
    """Create a payment at Stripe that is not in our books."""
    answer = httpx.post(
        f"{clerk.providers.url}/v1/payment_intents",
        data={
            "amount": "5000", "currency": "usd", "payment_method": "pm_card_visa", "confirm": "true",
            "return_url": "https://app.example.com/paid",
        },
        headers={"Authorization": f"Bearer {clerk.providers.sandbox.info()['stripe_secret_key']}"},
        timeout=PATIENCE_S,
    )  # fmt: skip
    return str(answer.json()["id"])


def test_reconcile_repair_resolve_and_reconcile_again(clerk: CommandLine) -> None:
    opened = clerk.ask("initiate", "p1", "--method", "apple_pay", "--amount", "50", "--currency", "USD")
    clerk.pay(opened, "apple_pay")
    intent = foreign_payment(clerk)
    dry = clerk.ask("reconcile", "--provider", "stripe", "--dry-run", code=6)
    assert {finding["became"] for finding in dry["runs"][0]["findings"]} == {"would repair", "would open"}
    output = clerk.type("reconcile", "--provider", "stripe", code=6)
    assert output.out.count("\n") == 1
    assert "1 repaired" in output.out
    assert output.out.endswith(" open\n")
    assert clerk.ask("status", "p1")["status"] == "COMPLETED"
    mine = [
        item
        for item in clerk.ask("discrepancies", "list", "--limit", "200")["items"]
        if item["ref"] == intent
    ]
    [discrepancy] = mine
    assert (discrepancy["kind"], discrepancy["provider"], discrepancy["payment_id"]) == (
        "MISSING_LOCALLY",
        "stripe",
        None,
    )
    shown = clerk.type("discrepancies", "show", discrepancy["id"])
    assert "not in our books" in shown.out
    assert f"resolve {discrepancy['id']} --how accept" in shown.err
    done = clerk.ask(
        "discrepancies",
        "resolve",
        discrepancy["id"],
        "--how",
        "accept",
        "--note",
        "the shop's",
        "--as",
        "aida",
    )
    assert (done["state"], done["resolved_by"], done["note"]) == ("resolved", "aida", "the shop's")
    again = clerk.ask("discrepancies", "resolve", discrepancy["id"], "--how", "accept", "--note", "x", code=3)
    assert "resolved by aida" in again["detail"]
    assert "the shop's" in clerk.type("discrepancies", "show", discrepancy["id"]).out
    others = clerk.ask("discrepancies", "list")["items"]  # left at the sandbox by other tests
    report = clerk.ask("reconcile", "--provider", "stripe", code=6 if others else 0)["runs"][0]
    assert [e["became"] for e in report["findings"] if e["theirs"]["ref"] == intent] == ["accepted"]
    assert "found by reconcile" in clerk.type("history", "p1").out


def test_wrong_options_exit_with_2(sqlite_clerk: CommandLine) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=2)).date().isoformat()
    for words in (
        ("--since", "2026-05-03", "--until", "2026-05-01"),
        ("--since", tomorrow),
        ("--until", tomorrow),
        ("--since", "tomorrow"),
        ("--provider", "paypal"),
        ("--mapping", "x.json"),
    ):
        assert sqlite_clerk.ask("reconcile", *words, code=2)["exit_code"] == 2
    sqlite_clerk.ask("discrepancies", "list", "--kind", "nothing", code=2)
    sqlite_clerk.ask("discrepancies", "list", "--state", "nothing", code=2)
    sqlite_clerk.ask("discrepancies", "show", "nothing", code=4)
    sqlite_clerk.ask("discrepancies", "resolve", "x", "--how", "pray", "--note", "x", code=2)
    sqlite_clerk.ask("discrepancies", "resolve", "x", "--how", "refund", "--note", "x", code=2)


def test_a_statement_of_another_merchant_is_refused(
    sqlite_clerk: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "october.csv"
    rows = [["", "ИИН/БИН", "123456789012"], HEADS, row(1), row(2)]
    file.write_text(text(rows), encoding="utf-8-sig", newline="")
    monkeypatch.setenv("KASPI_ORGANIZATION_BIN", "210987654321")
    output = sqlite_clerk.ask("reconcile", "--statement", str(file), code=3)
    assert "belongs to BIN 123456789012, ours is 210987654321" in output["detail"]
    monkeypatch.setenv("KASPI_ORGANIZATION_BIN", "123456789012")
    assert (
        "Not one of the 2 lines" in sqlite_clerk.ask("reconcile", "--statement", str(file), code=3)["detail"]
    )
    done = sqlite_clerk.type("reconcile", "--statement", str(file), "--yes", "--dry-run", code=6)
    assert "NO LINE BELONGS TO A PAYMENT OF OURS" in done.out
    both = done.out.replace("\N{NO-BREAK SPACE}", " ")
    assert "payments 0.00 KZT (0) here, 48 000.00 KZT (2) there, difference 48 000.00 KZT" in both
    assert "not compared: what was paid or refunded before 2026-10-01 00:00 or after 2026-10-02 00:00" in both
    [run] = sqlite_clerk.ask("reconcile", "--statement", str(file), "--yes", "--dry-run", code=6)["runs"]
    assert (run["since"], run["until"]) == ("2026-09-30T19:00:00+00:00", "2026-10-01T19:00:00+00:00")
    assert [sums["difference"] for sums in run["sums"]] == [48000]


def test_days_are_almatys(sqlite_clerk: CommandLine) -> None:
    run = sqlite_clerk.ask(
        "reconcile", "--provider", "kaspi", "--since", "2026-05-01", "--until", "2026-05-02"
    )
    assert run["runs"][0]["since"] == "2026-04-30T19:00:00+00:00"
    assert run["runs"][0]["until"] == "2026-05-02T19:00:00+00:00"


@pytest.mark.usefixtures("bare_environment")
def test_an_unavailable_provider_exits_with_5(clerk: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "TOTAL_S", 1.0)
    paid(clerk)
    clerk.providers.fault(path="/v1/refunds", kind="status", status=503, times=100)
    output = clerk.type("reconcile", "--provider", "stripe", code=5)
    assert "INCOMPLETE" in output.out
    assert "was not read to the end" in output.err
    assert "no payment is reported as missing" in output.err
    assert not [e for e in clerk.ask("discrepancies", "list")["items"] if e["kind"] == "MISSING_AT_PROVIDER"]


def test_two_reconciles_never_run_at_once(clerk: CommandLine) -> None:
    import asyncio

    from procomp_pay.storage.database.locks import only_process
    from procomp_pay.storage.database.service import PaymentDatabaseService

    async def meanwhile() -> Any:
        db = PaymentDatabaseService(clerk.url)
        async with only_process(db, "reconcile") as ours:
            assert ours
            output = await asyncio.to_thread(clerk.ask, "reconcile", "--provider", "kaspi", code=5)
        await db.dispose()
        return output

    assert "Another reconcile is running" in asyncio.run(meanwhile())["detail"]
