"""``payouts`` with files as Kaspi and a bank give them."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from tests.support import statement_files as files
from tests.support.patience import PATIENCE_S
from tests.support.terminal import CommandLine

OURS = "KZ12722S000001234567"


@pytest.fixture
def finance(sqlite_url: str, bare_environment: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    return CommandLine(bare_environment, None, sqlite_url)  # type: ignore[arg-type] - no provider is asked


def kaspi_report(folder: Path) -> str:
    rows = [files.HEADS, files.kaspi(1), files.kaspi(2), files.kaspi(3, day="02.10.2026")]
    path = folder / "kaspi.csv"
    path.write_text(files.text(rows), "cp1251")
    return str(path)


def bank_file(
    folder: Path, *, end: str = "КонецФайла\r\n", account: str = OURS, until: str = "31.10.2026"
) -> str:
    lines = [
        "1CClientBankExchange", "ВерсияФормата=1.01", "Кодировка=Windows", "ДатаНачала=01.10.2026",
        f"ДатаКонца={until}", f"РасчСчет={account}",
        "СекцияРасчСчет", f"РасчСчет={account}", "НачальныйОстаток=0.00", "КонечныйОстаток=47544.00",
        "КонецРасчСчет", "СекцияДокумент=выписка", "НомерДокумента=12", "ДатаОперации=02.10.2026",
        'ПлательщикНаименование=АО "Kaspi Bank"', "СуммаПриход=47544.00",
        "НазначениеПлатежа=Зачисление за 01.10.2026", "КонецДокумента",
    ]  # fmt: skip
    path = folder / "kl_to_1c.txt"
    path.write_bytes(("\r\n".join(lines) + "\r\n" + end).encode("cp1251"))
    return str(path)


def test_from_kaspis_report_to_the_bank(finance: CommandLine, tmp_path: Path) -> None:
    report = kaspi_report(tmp_path)
    assert "2 payouts (2 new), 3 movements" in finance.type("payouts", "fetch", "--statement", report).err
    shown = finance.type("payouts", "list").out.replace("\N{NO-BREAK SPACE}", "")
    assert [line.split()[:4] for line in shown.splitlines()[1:]] == [
        ["2026-10-01", "kaspi", "2026-10-01", "47544.00"],
        ["2026-10-02", "kaspi", "2026-10-02", "23772.00"],
    ]
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert shown.count("no bank lines") == 2
    output = finance.type("payouts", "match", code=6)
    assert "covers all days from 2026-10-01 to 2026-10-07" in output.err
    assert not [word for word in ("missing", "nothing is") if word in output.err]
    file = bank_file(tmp_path, until="06.10.2026")
    output = finance.type("payouts", "match", "--bank-file", file, code=6)
    assert "2026-10-01 arrived on 2026-10-02" in output.err
    assert "covers all days from 2026-10-02 to 2026-10-07" in output.err
    assert "missing" not in output.err
    output = finance.type("payouts", "match", "--bank-file", bank_file(tmp_path), code=6)
    assert "missing: 2026-10-02" in output.err
    items = finance.ask("payouts", "list")["items"]
    assert [(item["state"], str(item["gross"]), str(item["fee"])) for item in items] == [
        ("arrived", "48000.00", "456.00"), ("missing", "24000.00", "228.00"),
    ]  # fmt: skip
    again = finance.ask("payouts", "match", "--bank-file", bank_file(tmp_path), code=6)
    assert (again["lines_new"], again["matched"]) == (0, [])
    shown = finance.type("payouts", "show", "2026-10-01").out
    assert "456.00" in shown.replace("\N{NO-BREAK SPACE}", "")
    assert "Kaspi Bank" in shown


def test_half_a_file_and_a_strange_account_change_nothing(
    finance: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finance.type("payouts", "fetch", "--statement", kaspi_report(tmp_path))
    half = bank_file(tmp_path, end="")
    assert "it was cut" in finance.type("payouts", "match", "--bank-file", half, code=3).err
    monkeypatch.setenv("PROCOMP_LANGUAGE", "ru")
    told = finance.type("payouts", "match", "--bank-file", half, code=3).err
    assert "В файле нет конца (КонецФайла): он обрезан" in told
    assert "выгрузите выписку из банка ещё раз" in told
    monkeypatch.delenv("PROCOMP_LANGUAGE")
    whole = bank_file(tmp_path)
    words = ("payouts", "match", "--bank-file", whole, "--account", "KZ99")
    assert f"is of {OURS}, not of KZ99" in finance.type(*words, code=3).err
    finance.type("payouts", "match", "--bank-file", whole, code=6)
    other = bank_file(tmp_path, account="KZ11")
    assert "--account KZ11" in finance.type("payouts", "match", "--bank-file", other, code=3).err


def test_payouts_are_exported_too(finance: CommandLine, tmp_path: Path) -> None:
    finance.type("payouts", "fetch", "--statement", kaspi_report(tmp_path))
    rows = json.loads(finance.type("export", "payouts", "--format", "json").out)["rows"]
    assert [(r["date"], r["gross"], r["fee"], r["net"], r["provider_number"], r["status"]) for r in rows] == [
        ("2026-10-01", "48000.00", "456.00", "47544.00", "2026-10-01", "no_bank_lines"),
        ("2026-10-02", "24000.00", "228.00", "23772.00", "2026-10-02", "no_bank_lines"),
    ]
    assert (
        "a tournament has no payouts" in finance.type("export", "payouts", "--tournament", "t1", code=2).err
    )


def test_only_payouts_that_arrived_are_in_a_file_for_1c(finance: CommandLine, tmp_path: Path) -> None:
    finance.type("payouts", "fetch", "--statement", kaspi_report(tmp_path))
    one_c = ("export", "payouts", "--format", "1c", "--account", OURS, "--force", "-o", "out.txt")

    def lines(*period: str) -> list[str]:
        finance.type(*one_c, *period)
        return (tmp_path / "out.txt").read_bytes().decode("cp1251").split("\r\n")

    assert "ВсегоПоступило=0.00" in lines()
    finance.type("payouts", "match", "--bank-file", bank_file(tmp_path), code=6)
    written = lines()
    assert [line for line in written if line.startswith("СуммаПриход=")] == ["СуммаПриход=47544.00"]
    assert {"ВсегоПоступило=47544.00", "ДатаОперации=02.10.2026"} <= set(written)
    # expected on the first, it is in the file of the second, on which it arrived
    assert "ВсегоПоступило=0.00" in lines("--until", "2026-10-01")
    assert "ВсегоПоступило=47544.00" in lines("--since", "2026-10-02")
    rows = json.loads(finance.type("export", "payouts", "--format", "json", "--since", "2026-10-02").out)
    assert {row["provider_number"] for row in rows["rows"]} == {"2026-10-01", "2026-10-02"}


def test_what_does_not_belong_together_is_a_mistake(finance: CommandLine) -> None:
    finance.type("payouts", "match", "--line", "x", code=2)
    finance.type("payouts", "match", "--columns", "when=x", "--bank-file", "x.csv", code=2)
    assert "payouts list" in finance.type("payouts", "show", "po_none", code=4).err


def test_kaspis_report_makes_the_fee_and_the_net_known(sqlite_clerk: CommandLine, tmp_path: Path) -> None:
    payment = sqlite_clerk.ask("initiate", "p1", "--method", "kaspi_qr")
    sqlite_clerk.pay(payment, "pay")
    assert sqlite_clerk.ask("status", "p1", "--refresh")["status"] == "COMPLETED"
    (row,) = json.loads(sqlite_clerk.type("export", "payments", "--format", "json").out)["rows"]
    assert (row["fee"], row["net"]) == ("", "")
    answer = httpx.get(
        f"{sqlite_clerk.providers.url}/_sandbox/kaspi/statement.csv", verify=False, timeout=PATIENCE_S
    )
    number = sqlite_clerk.ask("status", "p1")["operation_number"].encode()
    lines = answer.content.splitlines(keepends=True)  # also of payments of other tests
    head = next(n for n, each in enumerate(lines) if each.startswith(b"#;")) + 1
    ours = [each for each in lines[head:] if number in each]
    (tmp_path / "report.csv").write_bytes(b"".join([*lines[:head], *ours]))
    sqlite_clerk.type("reconcile", "--provider", "kaspi", "--statement", "report.csv", code=0)
    (row,) = json.loads(sqlite_clerk.type("export", "payments", "--format", "json").out)["rows"]
    assert Decimal(row["fee"]) > 0
    assert Decimal(row["net"]) == Decimal(row["gross"]) - Decimal(row["fee"])
    (flow,) = sqlite_clerk.ask("report")["money"]
    assert str(flow["net"]) == row["net"]
