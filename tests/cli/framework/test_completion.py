"""Completion of names, codes and tournaments in the shell, as its scripts ask for it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.support.processes import run_to_end
from tests.support.terminal import CommandLine

KASPI = ("--method", "kaspi_qr")


def complete(clerk: CommandLine, line: str, **environment: str) -> list[str]:
    """Return what bash is offered for a line; nothing may be printed besides."""
    words = line.split(" ")
    asked = {
        "_PROCOMP_PAY_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1),
    }  # fmt: skip
    done = run_to_end([sys.executable, "-m", "procomp_pay"], env=clerk.environment() | asked | environment)
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1] if done.stdout.strip() else []


def test_names_codes_and_tournaments_are_completed(clerk: CommandLine) -> None:
    payment = clerk.ask("initiate", "p1", *KASPI)
    assert complete(clerk, "procomp-pay initiate аид") == ["аида-Нурланова"]
    assert complete(clerk, "procomp-pay initiate nurl") == ["nurlanova-aida"]
    assert complete(clerk, "procomp-pay initiate aida-n") == ["aida-nurlanova"]
    assert complete(clerk, "procomp-pay status tim") == ["timur"]
    assert complete(clerk, "procomp-pay list --tournament ku") == ["kubok-almati"]
    assert complete(clerk, "procomp-pay participant list op") == ["open"]
    code = str(payment["code"])
    assert complete(clerk, f"procomp-pay cancel {code[:3].lower()}") == [code[:3].lower() + code[3:]]
    assert code in complete(clerk, "procomp-pay refund ")


def test_what_is_completed_is_found(sqlite_clerk: CommandLine) -> None:
    sqlite_clerk.type("participant", "add", "Open", "Шыңғыс О'Нил-Ким")
    for typed in ("shy", "шын", "ким", "kim"):
        [name] = complete(sqlite_clerk, f"procomp-pay initiate {typed}")
        assert name.startswith(typed)
        assert "Шыңғыс О'Нил-Ким" in sqlite_clerk.type("history", name).err


def test_those_who_have_not_paid_come_first(sqlite_clerk: CommandLine) -> None:
    sqlite_clerk.change("""UPDATE "Participant" SET status = 'PAID' WHERE id IN ('p1', 'p5')""")
    offered = complete(sqlite_clerk, "procomp-pay initiate ")
    assert set(offered[-2:]) == {"Аида-Нурланова", "Five"}
    assert set(offered[:-2]) == {"Timur", "Данияр", "Kid-31mFour-boldx"}


def test_shell_gets_no_signs_of_a_name(sqlite_clerk: CommandLine) -> None:
    """zsh evaluates what it is told."""
    sqlite_clerk.change("""UPDATE "Participant" SET category = '$(id)`x`";\\' WHERE id = 'p2'""")
    asked = {"_PROCOMP_PAY_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "procomp-pay status "}
    done = run_to_end(
        [sys.executable, "-m", "procomp_pay"], env=sqlite_clerk.environment() | asked, check=True
    )
    assert '"Timur":"Timur,   id  x    , Кубок Алматы"' in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    "url", ["sqlite:///gone.sqlite3", "postgresql://nobody@127.0.0.1:1/x", "nonsense://"]
)
def test_without_a_database_nothing_is_offered_made_or_said(sqlite_clerk: CommandLine, url: str) -> None:
    before = sorted(Path.cwd().rglob("*"))
    assert complete(sqlite_clerk, "procomp-pay initiate a", DATABASE_URL=url) == []
    assert sorted(Path.cwd().rglob("*")) == before


def test_database_of_the_env_file_is_used(sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text(f"DATABASE_URL={os.environ['DATABASE_URL']}\n", "utf-8")
    monkeypatch.delenv("DATABASE_URL")
    assert complete(sqlite_clerk, "procomp-pay status tim") == ["timur"]


def test_schema_of_the_url_is_used(postgres_clerk: CommandLine) -> None:
    url = f"{postgres_clerk.url}{'&' if '?' in postgres_clerk.url else '?'}schema=public&connection_limit=3"
    assert complete(postgres_clerk, "procomp-pay status tim", DATABASE_URL=url) == ["timur"]
    assert (
        complete(postgres_clerk, "procomp-pay status tim", DATABASE_URL=url.replace("=public", "=no")) == []
    )


@pytest.mark.parametrize(
    ("shell", "answer"),
    [
        ("zsh", '_arguments \'*: :(("timur":"Timur, Kata, Кубок Алматы"))\'\n'),
        ("fish", "timur\tTimur, Kata, Кубок Алматы\n"),
    ],
)
def test_zsh_and_fish_are_told_who_it_is_without_rich(
    sqlite_clerk: CommandLine, shell: str, answer: str
) -> None:
    asked = {
        "_PROCOMP_PAY_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": "procomp-pay status tim",
    }  # fmt: skip
    done = run_to_end(
        [sys.executable, "-X", "importtime", "-m", "procomp_pay"], env=sqlite_clerk.environment() | asked
    )
    assert done.stdout == answer
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert loaded.isdisjoint({"rich.console", "pydantic", "sqlalchemy", "asyncio"})
