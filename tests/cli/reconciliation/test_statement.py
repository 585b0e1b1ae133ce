"""``statement check``."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from procomp_pay.cli.main import app
from tests.support.statement_files import HEADS, kaspi, text


@pytest.fixture
def write(tmp_path: Path, bare_environment: Path) -> Any:
    def put(content: str, name: str = "october.csv") -> str:
        (tmp_path / name).write_text(content, "utf-8")
        return str(tmp_path / name)

    return put


def run(*words: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, ["statement", "check", *words])
    assert done.exit_code == code, (done.output, done.exception)
    return done


def test_a_statement_without_problems(write: Any) -> None:
    rows = [HEADS, kaspi(1), kaspi(2, type="Возврат", amount="-5000", net="-4950"), kaspi(1)]
    file = write(text([*rows, ["Итого", *[""] * 8, "19 000,00", "", ""]]))
    output = run(file)
    out = " ".join(output.stdout.split())
    assert "✓ october.csv: Kaspi Pay report, CSV (UTF-8, ;)" in out
    assert "amount “Сумма операции (т)”" in out
    assert "payments 1 24 000.00 KZT" in out
    assert "refunds 1 5 000.00 KZT" in out
    assert "2026-10-01 12:01 to 2026-10-01 12:02 (Asia/Almaty)" in out
    assert "1 line more than once, counted once: 4 (= 2)" in output.stderr
    assert "the total on line 5, 19\u00a0000.00, agrees" in output.stderr
    document = json.loads(run(file, "--json").stdout, parse_float=Decimal)
    assert document["provider"] == "kaspi"
    assert document["columns"]["operation"] == "Номер заказа (ID/RRN)"
    assert document["sums"][0] == {
        "kind": "payment",
        "currency": "KZT",
        "count": 1,
        "sum": Decimal("24000.00"),
    }
    assert (document["repeated_count"], document["skipped_count"], document["lines"]) == (1, 0, 2)
    assert len(document["sha256"]) == 64


def test_skipped_lines_exit_with_6_and_are_listed(write: Any) -> None:
    bad = kaspi(2, type="\x1b[31mНечто")
    file = write(text([HEADS, kaspi(1), bad, *[kaspi(1, amount="?") for _ in range(30)]]))
    output = run(file, code=6)
    assert output.stdout.startswith("! october.csv")
    assert "31 lines skipped" in output.stderr
    assert (
        "Line 3: “Тип операции”: the type “\N{REPLACEMENT CHARACTER}[31mНечто” is not known" in output.stderr
    )
    assert "… and 11 more" in output.stderr
    assert "\x1b" not in output.output
    document = json.loads(run(file, "--json", code=6).stdout)
    assert document["skipped"][0]["line"] == 3
    assert document["skipped_count"] == len(document["skipped"]) == 31


def test_an_unusable_file_exits_with_3(write: Any) -> None:
    file = write("Когда;Сколько\n1;2\n")
    assert "“Когда”, “Сколько”" in run(file, code=3).stderr
    error = json.loads(run(file, "--json", code=3).stdout)
    assert error["exit_code"] == 3
    assert "--mapping" in error["next_step"]
    assert "no file missing.csv" in run("missing.csv", code=3).stderr
    assert "visa" in run(file, "--provider", "visa", code=2).stderr


@pytest.mark.parametrize(
    ("language", "check", "refusal"),
    [
        (
            "ru",
            (
                "2 строки пропущены",
                "Строка 3: “Сумма операции (т)”: «?» – не сумма",
                "не сходится со строками",
            ),
            "Выписка Stripe такого вида не известна; это выписка Kaspi. Найдены заголовки: “#”",
        ),
        (
            "kk",
            ("2 жол өткізілді", "3-жол: “Сумма операции (т)”: «?» – сома емес", "жолдармен сәйкес емес"),
            "Stripe үзіндісінің мұндай түрі белгісіз; бұл Kaspi үзіндісі. Табылған тақырыптар: “#”",
        ),
    ],
)
def test_in_the_clerks_language(
    write: Any, monkeypatch: pytest.MonkeyPatch, language: str, check: tuple[str, ...], refusal: str
) -> None:
    monkeypatch.setenv("PROCOMP_LANGUAGE", language)
    total = ["Итого", *[""] * 8, "1,00", "", ""]
    file = write(text([HEADS, kaspi(1), kaspi(2, amount="?"), kaspi(3, amount="?"), total]))
    told = run(file, code=6).stderr
    assert all(part in told for part in check), told
    assert refusal in run(file, "--provider", "stripe", code=3).stderr


def test_a_mapping_file_names_the_columns(write: Any) -> None:
    file = write("Когда;Сколько\n01.10.2026 12:01;24000\n")
    mapping = write('every_line = "payment"\n[columns]\ndate = "Когда"\namount = "Сколько"\n', "ours.toml")
    output = run(file, "--mapping", mapping)
    assert "mapping ours.toml" in output.stdout
    assert "24\u00a0000.00 KZT" in output.stdout
