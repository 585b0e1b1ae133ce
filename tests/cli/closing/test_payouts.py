"""Payouts to the bank, as a step of ``close``."""

from __future__ import annotations

import csv
import hashlib
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from procomp_pay.cli.framework import console
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.providers.resilience import retry
from procomp_pay.storage.models.payouts import BalanceEntry, Payout
from tests.cli.closing.test_by_hand import paid
from tests.cli.closing.test_close import noon, pay, statement, states  # noqa: F401 - a fixture
from tests.cli.closing.test_exports import until_exported
from tests.support.terminal import CommandLine

OURS = "KZ12722S000001234567"


@pytest.fixture(autouse=True)
def no_payouts_of_others(clerk: CommandLine) -> None:
    """Forget the payouts of other tests at the sandbox."""
    for name in ("payouts", "balance_transactions"):
        clerk.providers.sandbox.providers["stripe"].core.tables[name].clear()


def today() -> date:
    return datetime.now(UTC).date()  # noon in the tests' time zone is on the same day


def payout(ref: str, expected_in: int, amount: str = "23772.00", provider: str = "kaspi") -> Payout:
    day = today() + timedelta(days=expected_in)
    return Payout(
        id=f"id-{ref}", provider=provider, ref=ref, currency="KZT", amount=Decimal(amount), status="paid",
        expected_on=day, recorded_at=datetime.now(UTC),
    )  # fmt: skip


def entry(ref: str, of: str, net: str, days_ago: int) -> BalanceEntry:
    return BalanceEntry(
        id=ref, provider="kaspi", kind=LineKind.OTHER, ref=ref, payout_id=f"id-{of}", category="payment",
        description="", amount=Decimal(net), fee=Decimal("0.00"), net=Decimal(net), currency="KZT",
        at=datetime.now(UTC) - timedelta(days=days_ago), recorded_at=datetime.now(UTC),
    )  # fmt: skip


def bank_file(folder: Path, *incoming: tuple[str, str], account: str = OURS) -> str:
    total = sum((Decimal(amount) for amount, _ in incoming), Decimal("0.00"))
    lines = [
        "1CClientBankExchange", "ВерсияФормата=1.01", "Кодировка=Windows", f"РасчСчет={account}",
        "СекцияРасчСчет", f"РасчСчет={account}", "НачальныйОстаток=0.00", f"КонечныйОстаток={total}",
        "КонецРасчСчет",
    ]  # fmt: skip
    for amount, text in incoming:
        lines += [
            "СекцияДокумент=выписка", "НомерДокумента=12", f"ДатаОперации={today():%d.%m.%Y}",
            'ПлательщикНаименование=АО "Kaspi Bank"', f"СуммаПриход={amount}", f"НазначениеПлатежа={text}",
            "КонецДокумента",
        ]  # fmt: skip
    path = folder / "kl_to_1c.txt"
    path.write_bytes(("\r\n".join([*lines, "КонецФайла"]) + "\r\n").encode("cp1251"))
    return str(path)


def ref_of(days_ago: int) -> str:
    return (today() - timedelta(days=days_ago)).isoformat()


def step_of(closing: Any) -> tuple[str, list[str]]:
    [record] = [step for step in closing["steps"] if step["step"] == "payouts"]
    return record["state"], record["open"]


def test_the_bank_file_tells_what_arrived(clerk: CommandLine, tmp_path: Path) -> None:
    yesterday, before = ref_of(1), ref_of(2)
    clerk.write(payout(yesterday, -1), payout(before, -2, "100.00"), payout(ref_of(0), 0, "7.00"))
    open_ones = [f"kaspi {before} KZT: not arrived", f"kaspi {yesterday} KZT: not arrived"]
    closing = clerk.ask("close", "--bank-file", bank_file(tmp_path), code=6)  # nothing about payouts is in it
    assert step_of(closing) == ("open", open_ones)
    closing = clerk.ask("close", code=6)
    assert step_of(closing) == ("open", open_ones)
    assert "sheet" in closing["open"]
    file = bank_file(tmp_path, ("23772.00", "Kaspi Pay"))
    closing = clerk.ask("close", "--bank-file", file, code=6)
    assert step_of(closing) == ("open", open_ones[:1])
    [record] = [step for step in closing["steps"] if step["step"] == "payouts"]
    digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    assert record["facts"]["bank_file"] == {"file": "kl_to_1c.txt", "sha256": digest}
    shown = {each["ref"]: (each["state"], each["open"]) for each in closing["figures"]["payouts"]}
    assert shown == {
        before: ("on_the_way", True), yesterday: ("arrived", False), ref_of(0): ("on_the_way", False),
    }  # fmt: skip
    assert before in clerk.type("close", code=6).out
    skipped = clerk.ask("close", "--skip", "payouts", "--reason", "the bank is closed", code=6)
    assert step_of(skipped)[0] == "skipped"
    assert until_exported(clerk)["open"][0] == "exports"
    clerk.write(payout("po_1", 0, "48.25", "stripe"))
    assert step_of(clerk.ask("close", code=6))[0] == "open"


def test_payouts_are_not_followed_before_the_first_bank_file(clerk: CommandLine) -> None:
    clerk.write(payout(ref_of(1), -1), payout("po_1", -9, "48.25", "stripe"))
    closing = until_exported(clerk)
    assert step_of(closing) == ("done", [])
    assert closing["figures"]["payouts"] == []
    assert "no statement of the bank was ever given" in clerk.type("close", code=6).out
    clerk.write(payout("po_2", 0, "5.00", "stripe"), failed := payout("po_3", 0, "6.00", "stripe"))
    assert step_of(clerk.ask("close", "--again", "payouts", code=6)) == ("done", [])
    clerk.change(f"UPDATE pay_payout SET status = 'failed' WHERE id = '{failed.id}'")
    assert step_of(clerk.ask("close", code=6))[0] == "open"  # that, Stripe says itself


def test_the_statement_of_kaspi_tells_what_it_settles(clerk: CommandLine, tmp_path: Path) -> None:
    for participant in ("p1", "p2"):
        paid(clerk, participant)
    file = tmp_path / "kaspi.csv"
    statement(clerk, file, title="0", total="0")
    for _ in range(2):
        closing = clerk.ask("close", "--kaspi-statement", str(file), code=6)
        [shown] = closing["figures"]["payouts"]
        assert (shown["ref"], shown["net"]) == (ref_of(0), settled(file))
        assert (shown["state"], shown["open"]) == ("on_the_way", False)
    paid(clerk, "p3")  # after the statement of the evening was made
    statement(clerk, file, title="0", total="0")
    [later] = clerk.ask("close", "--kaspi-statement", str(file), code=6)["figures"]["payouts"]
    assert (later["net"], later["payments_of_the_day"]) == (settled(file), shown["payments_of_the_day"] + 1)


def settled(file: Path) -> Decimal:
    """Return the sum of what Kaspi credits, by its statement."""
    rows = csv.DictReader(file.read_text("utf-8-sig").splitlines(), delimiter=";")
    return sum(
        (Decimal(row["Сумма к зачислению/ списанию (т)"].replace(",", ".")) for row in rows), Decimal(0)
    )


def test_a_terminal_takes_a_bank_file_only_once_payouts_are_followed(
    clerk: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clerk.write(payout(ref_of(1), -1))
    clerk.ask("close", "--bank-file", bank_file(tmp_path, ("1.00", "Kaspi Pay 01.01.2020")), code=6)
    asked = []

    def answer(question: str, **_: Any) -> str:
        asked.append(question)
        return {1: "no such file", 2: "~nobody-at-all/x", 3: str(tmp_path)}.get(len(asked), "")

    with monkeypatch.context() as patch:
        patch.setattr(console, "is_interactive", lambda: True)
        patch.setattr(console, "prompt", answer)
        clerk.type("close", code=6)
    assert asked[:4] == ["The bank's statement (Enter for none)"] * 4
    assert asked[4] == "Reason to skip this step (Enter to leave it open)"


def test_what_is_not_due_yet_blocks_nothing(clerk: CommandLine) -> None:
    clerk.write(payout("po_1", 1, "48.25", "stripe"), payout(ref_of(0), 0))
    closing = until_exported(clerk)
    assert step_of(closing) == ("done", [])
    assert [each["ref"] for each in closing["figures"]["payouts"]] == [ref_of(0)]


def test_a_payout_of_two_days_is_in_both_closings_with_its_part(clerk: CommandLine) -> None:
    clerk.write(
        payout("po_1", 2, "30.00", "stripe"), entry("t1", "po_1", "20.00", 1), entry("t2", "po_1", "9.50", 0),
        entry("t3", "po_1", "0.50", 0),
    )  # fmt: skip
    parts = []
    for words in (("--date", ref_of(1)), ()):
        [shown] = clerk.ask("close", *words, code=6)["figures"]["payouts"]
        parts.append(shown["part_of_the_day"])
        assert (shown["net"], shown["expected_on"], shown["open"]) == (30, ref_of(-2), False)
    assert parts == [20, 10]


def test_money_of_no_known_payout_is_open(clerk: CommandLine, tmp_path: Path) -> None:
    file = bank_file(tmp_path, ("777.00", "Kaspi Pay"))
    state, items = step_of(clerk.ask("close", "--bank-file", file, code=6))
    assert (state, len(items)) == ("open", 1)
    assert "no payout is known for the bank's line" in items[0]
    clerk.write(payout(ref_of(1), -1, "777.00"))
    assert step_of(clerk.ask("close", code=6)) == ("done", [])


def test_a_file_of_another_account_or_half_of_one_is_refused(clerk: CommandLine, tmp_path: Path) -> None:
    clerk.ask("close", "--bank-file", bank_file(tmp_path, ("5.00", "Kaspi Pay")), code=6)
    other = bank_file(tmp_path, ("6.00", "Kaspi Pay"), account="KZ99")
    assert "--account KZ99" in clerk.type("close", "--bank-file", other, code=3).err
    clerk.ask("close", "--bank-file", other, "--account", "KZ99", code=6)
    Path(other).write_bytes(Path(other).read_bytes().replace("КонецФайла".encode("cp1251"), b""))
    assert "it was cut" in clerk.type("close", "--bank-file", other, code=3).err


def test_a_terminal_asks_for_the_bank_file(
    clerk: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clerk.write(payout(ref_of(1), -1))
    clerk.ask("close", "--bank-file", bank_file(tmp_path), code=6)
    file = bank_file(tmp_path, ("23772.00", "Kaspi Pay"))
    with monkeypatch.context() as patch:
        patch.setattr(console, "is_interactive", lambda: True)
        patch.setattr(console, "prompt", lambda text, **_: file if "bank" in text else "")
        shown = clerk.type("close", code=6).err
    assert f"kaspi {ref_of(1)} KZT: not arrived" in shown
    assert states(clerk.ask("close", code=6))["payouts"] == "done"


def test_a_payout_that_failed_is_open_on_the_day_of_it(clerk: CommandLine) -> None:
    pay(clerk, "p1", "apple_pay")
    until_exported(clerk)
    made = clerk.providers.post("/_sandbox/stripe/payouts", {})
    clerk.ask("close", code=6)
    clerk.providers.post(f"/_sandbox/stripe/payouts/{made['id']}/fail", {})
    closing = clerk.ask("close", "--again", "payouts", code=6)
    assert step_of(closing) == ("open", [f"stripe {made['id']} USD: failed"])
    [shown] = closing["figures"]["payouts"]
    assert shown["failed_at"]


@pytest.mark.parametrize("status", [500, 403])
def test_payouts_that_stripe_does_not_tell_are_open_and_can_be_skipped(
    clerk: CommandLine, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(retry, "TOTAL_S", 1.0)
    clerk.providers.fault(path="/v1/payouts", kind="status", status=status, times=100)
    state, items = step_of(clerk.ask("close", code=6))
    assert (state, len(items)) == ("open", 1)
    assert items[0].startswith("stripe: Stripe")
    skipped = clerk.ask("close", "--skip", "payouts", "--reason", "Stripe is down", code=6)
    assert step_of(skipped)[0] == "skipped"
