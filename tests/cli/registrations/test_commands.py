"""The commands ``tournament`` and ``participant``."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from typer.testing import CliRunner

from procomp_pay.cli.main import app
from procomp_pay.storage.encryption.keyring import new_key
from tests.support.processes import run_to_end

ROSTER = "ФИО;Санат;Почта;Округ\nҚайрат Асанов;-60 кг;kairat@example.kz;Барс\nАида Серік;;;\n"
BAD = ROSTER + "=cmd;;;\nБота;;nomail;\n"


@dataclass
class Terminal:
    """Run commands; ``json`` parses their output."""

    home: Path

    def __call__(self, *words: str, exit_code: int = 0) -> Any:
        result = CliRunner().invoke(app, list(words))
        assert result.exit_code == exit_code, (result.exit_code, result.output, result.exception)
        assert "Traceback" not in result.output
        return result

    def json(self, *words: str, exit_code: int = 0) -> Any:
        document = self(*words, "--json", exit_code=exit_code)
        return json.loads(document.stdout, parse_float=Decimal)

    def file(self, content: str, name: str = "roster.csv") -> str:
        path = self.home / name
        path.write_text(content, "utf-8")
        return str(path)


@pytest.fixture
def terminal(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Return a terminal on each database."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROCOMP_HOME", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("ENCRYPTION_KEYS", new_key())
    monkeypatch.setenv("COLUMNS", "120")
    return Terminal(tmp_path)


@pytest.fixture
def embedded(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Return a terminal on SQLite, for tests that do not depend on the database."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROCOMP_HOME", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    monkeypatch.setenv("COLUMNS", "120")
    return Terminal(tmp_path)


def cup(terminal: Terminal) -> str:
    made = terminal.json(
        "tournament", "add", "Кубок Алматы", "--fee", "24000", "--starts", "2026-05-01T09:00"
    )
    return str(made["tournament_id"])


def test_add_import_and_search_in_an_empty_installation(terminal: Terminal) -> None:
    tournament = cup(terminal)
    report = terminal.json("participant", "import", tournament, terminal.file(ROSTER))
    assert (report["written"], len(report["added"]), report["ignored_columns"]) == (True, 2, ["Округ"])
    document = terminal.json("participant", "list", "--search", "кайрат", "--unpaid")
    assert (document["total"], document["items"][0]["full_name"]) == (1, "Қайрат Асанов")
    assert document["items"][0]["participant_id"] == report["added"][0]["participant_id"]
    assert document["items"][0]["email"] == "kairat@example.kz"
    again = terminal.json("participant", "import", tournament, terminal.file(ROSTER))
    assert (again["written"], again["added"], len(again["skipped"])) == (False, [], 2)
    changed = ROSTER.replace("kairat@", "k@") + "Жаңа Адам;;;\n"
    dry = terminal("participant", "import", tournament, terminal.file(changed), "--dry-run").stdout
    assert "email kairat@example.kz → k@example.kz" in dry
    assert "Жаңа Адам" in dry
    assert "1 changed, 1 unchanged, 0 skipped, 0 bad" in " ".join(dry.split())
    listed = terminal.json("tournament", "list")["items"]
    assert [(t["tournament_id"], t["participants"], t["paid"]) for t in listed] == [(tournament, 2, 0)]


def test_start_without_zone_is_almaty_time_and_amounts_are_exact(embedded: Terminal) -> None:
    made = embedded("tournament", "add", "Open", "--fee", "50", "--currency", "usd", "--starts",
                    "2026-05-01T09:00", "--json").stdout  # fmt: skip
    assert '"starts_at": "2026-05-01T04:00:00Z"' in made
    assert '"entry_fee": 50.00' in made
    zoned = embedded.json("tournament", "add", "Cup", "--fee", "1", "--starts", "2026-05-01T09:00+02:00")
    assert zoned["starts_at"] == "2026-05-01T07:00:00Z"
    day = embedded.json("tournament", "add", "Grand Open", "--fee", "1", "--starts", "2026-05-01")
    assert day["starts_at"] == "2026-04-30T19:00:00Z"


@pytest.mark.parametrize("starts", ["tomorrow", "2026-13-01", "0001-01-01", "9999-12-31", ""])
def test_invalid_start_is_a_usage_error(embedded: Terminal, starts: str) -> None:
    result = embedded("tournament", "add", "X", "--fee", "1", "--starts", starts, exit_code=2)
    assert "2026-05-01T09:00" in result.stderr


def test_fees_are_shown_set_and_removed(terminal: Terminal) -> None:
    tournament = cup(terminal)
    change = terminal.json("tournament", "fee", tournament, "50.00", "USD")
    assert change["before"] is None
    assert change["after"] == {"amount": Decimal("50.00"), "currency": "USD"}
    main = terminal.json("tournament", "fee", tournament, "25000", "KZT")
    assert main["before"] == {"amount": Decimal("24000.00"), "currency": "KZT"}
    shown = terminal.json("tournament", "fee", "кубок алматы")
    assert shown["fees"] == [
        {"amount": Decimal("25000.00"), "currency": "KZT"},
        {"amount": Decimal("50.00"), "currency": "USD"},
    ]
    terminal("tournament", "fee", tournament, "--remove", "usd")
    assert len(terminal.json("tournament", "fee", tournament)["fees"]) == 1


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["-5", "KZT"], 3, "more than zero, not -5"),
        (["-0.5", "USD"], 3, "more than zero"),
        (["0", "USD"], 3, "more than zero"),
        (["24000.50", "KZT"], 3, "whole tenge"),
        (["50.001", "USD"], 3, "more than two decimals"),
        (["1e99", "USD"], 3, "largest amount"),
        (["NaN", "USD"], 3, "not an amount"),
        (["abc", "USD"], 3, "not an amount"),
        (["50", "GBP"], 3, "not a currency"),
        (["50"], 2, "24000 KZT"),
        (["--bogus"], 2, "there is no option --bogus"),
        (["50", "USD", "--remove", "USD"], 2, "--remove"),
        (["--remove", "XXX"], 3, "not a currency"),
        (["--remove", "KZT"], 3, "main fee"),
        (["--remove", "EUR"], 4, "no fee in EUR"),
    ],
)
def test_invalid_fees_are_refused_with_a_reason(
    embedded: Terminal, words: list[str], code: int, message: str
) -> None:
    tournament = cup(embedded)
    result = embedded("tournament", "fee", tournament, *words, exit_code=code)
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert result.stdout == ""
    assert len(embedded.json("tournament", "fee", tournament)["fees"]) == 1


def test_a_negative_fee_of_a_new_tournament_is_refused(embedded: Terminal) -> None:
    assert "more than zero" in embedded("tournament", "add", "X", "--fee", "-5", exit_code=3).stderr
    assert embedded.json("tournament", "list") == {"items": []}


def test_same_name_is_refused_without_namesake_option(terminal: Terminal) -> None:
    tournament = cup(terminal)
    words = ("participant", "add", tournament, "Қайрат Асанов", "--category", "-60 кг")
    made = terminal.json(*words, "--email", "K@example.kz")
    assert (made["category"], made["email"], made["paid"]) == ("-60 кг", "k@example.kz", False)
    refused = terminal(*words, exit_code=3)
    assert made["participant_id"] in refused.stderr
    assert "--namesake" in refused.stderr
    assert terminal.json(*words, "--namesake")["participant_id"] != made["participant_id"]


def test_next_command_is_printed_to_stderr(embedded: Terminal) -> None:
    tournament = cup(embedded)
    shown = embedded("participant", "add", tournament, "Аида")
    key = embedded.json("participant", "list")["items"][0]["participant_id"]
    assert f"procomp-pay initiate {key}" in shown.stderr
    assert key in shown.stdout
    assert "→" not in shown.stdout


@pytest.mark.parametrize("command", [["tournament", "fee", "nope"], ["participant", "add", "nope", "Аида"],
                                     ["participant", "list", "nope"]])  # fmt: skip
def test_unknown_tournament_is_not_found(embedded: Terminal, command: list[str]) -> None:
    assert "procomp-pay tournament list" in embedded(*command, exit_code=4).stderr


def test_empty_installation_shows_the_next_command(embedded: Terminal) -> None:
    listed = embedded("tournament", "list")
    assert listed.stdout == ""
    assert "tournament add" in listed.stderr
    assert "No participant matches" in embedded("participant", "list").stderr


def test_list_shows_whole_ids_and_the_total(embedded: Terminal) -> None:
    tournament = cup(embedded)
    embedded("participant", "import", tournament, embedded.file(ROSTER))
    shown = embedded("participant", "list", tournament, "--limit", "1")
    first = embedded.json("participant", "list")["items"][0]
    assert f"{first['full_name']} " in shown.stdout
    assert first["participant_id"] in shown.stdout
    assert "REGISTERED" in shown.stdout
    assert "unpaid" in shown.stdout
    assert "1 of 2" in shown.stderr
    embedded("participant", "list", "--paid", "--unpaid", exit_code=2)
    embedded("participant", "list", "--limit", "0", exit_code=2)


def test_bad_lines_are_listed_and_nobody_is_registered(embedded: Terminal) -> None:
    tournament, path = cup(embedded), embedded.file(BAD)
    shown = embedded("participant", "import", tournament, path, exit_code=3)
    lines = [" ".join(line.split()) for line in shown.stdout.splitlines()]
    assert "4 =cmd the name “=cmd” begins with '=' like a formula" in lines
    assert "5 Бота “nomail” is not an e-mail address" in lines
    assert "nobody registered of 4 lines" in shown.stdout
    assert "--skip-bad" in shown.stderr
    assert "ignored columns: “Округ”" in shown.stderr
    assert embedded.json("participant", "list")["total"] == 0
    report = embedded.json("participant", "import", tournament, path, exit_code=3)
    assert (report["blocked"], report["added"], len(report["would_add"])) == (True, [], 2)
    assert [p["line"] for p in report["problems"]] == [4, 5]


def test_skip_bad_registers_the_good_lines(embedded: Terminal) -> None:
    tournament, path = cup(embedded), embedded.file(BAD)
    shown = embedded("participant", "import", tournament, path, "--skip-bad")
    assert "2 registered of 4 lines" in shown.stdout
    assert embedded.json("participant", "list")["total"] == 2


def test_dry_run_shows_the_result_and_changes_nothing(embedded: Terminal) -> None:
    tournament = cup(embedded)
    shown = embedded("participant", "import", tournament, embedded.file(ROSTER), "--dry-run")
    assert "2 would be registered" in shown.stdout
    assert "nothing written" in shown.stdout
    embedded("participant", "import", tournament, embedded.file(BAD), "--dry-run", exit_code=3)
    assert embedded.json("participant", "list")["total"] == 0


def test_long_lists_are_cut_at_a_terminal_and_complete_in_json(embedded: Terminal) -> None:
    tournament = cup(embedded)
    path = embedded.file("ФИО\n" + "".join("1\n" for _ in range(60)) + "Аида\n" * 13)
    shown = embedded("participant", "import", tournament, path, exit_code=3)
    assert "… and 10 more" in shown.stdout
    assert "… and 2 more" in shown.stdout
    report = embedded.json("participant", "import", tournament, path, exit_code=3)
    assert (len(report["problems"]), len(report["skipped"])) == (60, 12)


def test_sheet_option_chooses_the_sheet(embedded: Terminal) -> None:
    tournament = cup(embedded)
    book = openpyxl.Workbook()
    book.create_sheet("Дети").append(["Аты-жөні"])
    book["Дети"].append(["Бота"])
    book.save(embedded.home / "r.xlsx")
    path = str(embedded.home / "r.xlsx")
    assert "nothing in it" in embedded("participant", "import", tournament, path, exit_code=3).stderr
    embedded("participant", "import", tournament, path, "--sheet", "Дети")
    assert embedded.json("participant", "list")["total"] == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "is empty"), ("ФИО\n", "no participant below"), ("Клуб,Вес\nБарс,60\n", "“Клуб”, “Вес”"),
     ("PK\x03\x04", "damaged")],
)  # fmt: skip
def test_file_without_names_is_refused(embedded: Terminal, content: str, message: str) -> None:
    result = embedded("participant", "import", cup(embedded), embedded.file(content), exit_code=3)
    assert message in result.stderr
    assert "→" in result.stderr


def test_missing_file_is_a_usage_error(embedded: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("participant", "import", cup(embedded), "nope.csv")
    assert "does not exist" in embedded(*words, exit_code=2).stderr
    monkeypatch.setenv("PROCOMP_LANGUAGE", "ru")
    assert "Нет файла nope.csv" in embedded(*words, exit_code=2).stderr


def test_escape_sequences_in_a_file_are_not_printed(embedded: Terminal) -> None:
    content = 'ФИО,"Клуб \x1b[31m[red]x"\n"А\x1b]0;own\x07ида",\n'
    shown = embedded("participant", "import", cup(embedded), embedded.file(content), exit_code=3)
    assert "\x1b" not in shown.output
    assert "\x07" not in shown.output
    assert "[red]x" in shown.output


@pytest.mark.parametrize("words", [[], ["tournament"], ["participant", "import"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from procomp_pay.cli.main import app\n"
        f"assert CliRunner().invoke(app, [*{words}, '--help']).exit_code == 0\n"
        "print(*sys.modules)\n"
    )
    done = run_to_end([sys.executable, "-c", code], check=True)
    heavy = {"sqlalchemy", "sqlmodel", "openpyxl", "httpx", "aiohttp", "stripe", "psycopg", "alembic"}
    if not words:
        heavy.add("pydantic")  # typer itself takes it for the options above a group
    assert heavy & set(done.stdout.split()) == set()
    assert not [
        name
        for name in done.stdout.split()
        if name.startswith(("procomp_pay.services", "procomp_pay.storage"))
    ]


def test_fees_of_some_days_are_set_and_shown(terminal: Terminal) -> None:
    tournament = cup(terminal)
    words = ("tournament", "fees", tournament)
    assert "no fees of some days only" in terminal(*words).output
    document = terminal.json(*words, "early", "20000", "KZT", "--until", "2026-03-31")
    [period] = document["periods"]
    assert (period["kind"], period["amount"], period["until"], period["timezone"], period["holds"]) == (
        "early", 20000, "2026-03-31", "Asia/Almaty", period["holds"],
    )  # fmt: skip
    shown = terminal(*words, "late", "30000", "KZT", "--since", "2026-04-20")
    assert "2026-04-20" in shown.output
    assert "30 000" in shown.output.replace("\xa0", " ")
    for wrong, why, code in (
        (("normal", "24000", "KZT", "--since", "2026-03-31"), "would hold on the same days", 3),
        (("normal", "24000", "KZT", "--since", "2026-04-10", "--until", "2026-04-09"), "is before", 3),
        (("normal", "0", "KZT"), "more than zero", 3),
        (("normal", "-5", "KZT"), "more than zero", 3),
        (("normal", "60", "EUR"), "no entry fee in EUR", 3),
        (("normal", "60", "GBP"), "GBP", 3),
        (("cheap", "60", "KZT"), "no kind of fee", 2),
        (("normal", "60"), "give the fee too", 2),
        (("--until", "2026-03-31"), "give the fee too", 2),
        (("normal", "60", "KZT", "--until", "soon"), "not a day", 2),
        (("--remove", "on-site"), "no on-site fee", 4),
    ):
        result = terminal(*words, *wrong, exit_code=code)
        assert why in " ".join(result.output.replace("│", " ").split()), result.output
    terminal("tournament", "fees", "nope", "normal", "60", "KZT", exit_code=4)
    assert [one["kind"] for one in terminal.json(*words, "--remove", "early")["periods"]] == ["late"]


def test_a_refund_policy_is_set_and_shown(embedded: Terminal) -> None:
    tournament = cup(embedded)
    words = ("tournament", "refund-policy", tournament)
    assert "no refund policy" in embedded(*words).output
    document = embedded.json(*words, "14d:100", "3d:50:2000")
    assert document["refund_policy"] == [
        {"percent": 100, "kept": None, "until": "2026-04-17", "days_before": 14},
        {
            "percent": 50,
            "kept": {"amount": 2000, "currency": "KZT"},
            "until": "2026-04-28",
            "days_before": 3,
        },
    ]
    assert all(text in embedded(*words).output for text in ("2026-04-17", "100%", "14 days", "Asia/Almaty"))
    for wrong in ("soon:50", "3d:101", "3d"):
        assert "not a step" in embedded(*words, wrong, exit_code=3).output
    assert "end on one day" in embedded(*words, "3d:50", "2026-04-28:20", exit_code=3).output
    embedded(*words, "3d:50", "--remove", exit_code=2)
    assert embedded.json(*words, "--remove")["refund_policy"] == []
