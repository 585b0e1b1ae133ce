"""Imports of commands: help pages and usage errors import nothing heavy, ``status`` only what it uses."""

from __future__ import annotations

import os
import sys
from importlib import import_module, resources
from pathlib import Path

import pytest
import typer

from procomp_pay.cli.main import COMMANDS
from tests.support.processes import run_to_end
from tests.support.terminal import CommandLine

_HEAVY = {
    "sqlalchemy",
    "sqlmodel",
    "pydantic",
    "pydantic_settings",
    "stripe",
    "aiohttp",
    "httpx",
    "psycopg",
    "alembic",
    "cryptography",
    "asyncio",
    "simplejson",
    "segno",
    "rich.console",
    "rich.markdown",
    "filelock",
    "openpyxl",
    "structlog",
    "prometheus_client",
    "jwt",
    "babel",
    "textual",
}
_NOT_FOR_STATUS = {
    "stripe",
    "aiohttp",
    "httpx",
    "psycopg",
    "alembic",
    "cryptography",
    "tenacity",
    "segno",
    "openpyxl",
    "filelock",
    "rich.console",
    "procomp_pay.services.initiation.initiate",
    "procomp_pay.services.lifecycle.polling",
    "procomp_pay.services.registrations.participants",
    "procomp_pay.providers.protocol",
    "procomp_pay.sandbox",
    "structlog",
    "prometheus_client",
    "jwt",
    "babel",
}
_PROGRAM = """
import sys
from procomp_pay.cli.main import run
try:
    run()
except SystemExit as end:
    code = end.code
print("\\n" + " ".join(sys.modules), code)
"""


def modules(clerk_environment: dict[str, str], *words: str) -> tuple[set[str], int]:
    """Return the modules that a process has imported at its end, and its exit code."""
    done = run_to_end([sys.executable, "-c", _PROGRAM, *words], env=clerk_environment, check=True)
    *names, code = done.stdout.splitlines()[-1].split()
    return set(names), int(code)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--help",), 0),
        (("status", "--help"), 0),
        (("initiate", "--help"), 0),
        (("desk", "--help"), 0),
        (("db", "--help"), 0),
        (("audit", "verify", "--help"), 0),
        (("keys", "rotate", "--help"), 0),
        (("token", "issue", "--help"), 0),
        (("status", "--wrong"), 2),
        (("stat",), 2),
        (("initiate", "p1", "--method", "cash"), 2),
        (("initiate", "p1"), 2),
        ((), 2),
    ],
)
def test_help_and_usage_errors_import_nothing_heavy(
    sqlite_clerk: CommandLine, words: tuple[str, ...], code: int
) -> None:
    loaded, ended = modules(sqlite_clerk.environment(), *words)
    assert ended == code
    assert loaded.isdisjoint(_HEAVY), loaded & _HEAVY


def test_completion_imports_nothing_heavy(sqlite_clerk: CommandLine) -> None:
    environment = sqlite_clerk.environment() | {
        "_PROCOMP_PAY_COMPLETE": "complete_bash",
        "COMP_WORDS": "procomp-pay in",
        "COMP_CWORD": "1",
    }
    done = run_to_end([sys.executable, "-X", "importtime", "-m", "procomp_pay"], env=environment)
    assert "initiate" in done.stdout
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in loaded
    assert loaded.isdisjoint(_HEAVY), loaded & _HEAVY


@pytest.mark.parametrize(("shell", "line"), [("bash", "COMP_WORDS"), ("zsh", "_TYPER_COMPLETE_ARGS")])
def test_completion_of_a_name_imports_its_command_alone(
    sqlite_clerk: CommandLine, shell: str, line: str
) -> None:
    environment = sqlite_clerk.environment() | {
        "_PROCOMP_PAY_COMPLETE": f"complete_{shell}", line: "procomp-pay status tim", "COMP_CWORD": "2",
    }  # fmt: skip
    loaded, _ = modules(environment)
    assert "procomp_pay.cli.payments.status" in loaded
    assert "sqlalchemy.engine" not in loaded
    assert loaded.isdisjoint({"procomp_pay.cli.reports.report", "procomp_pay.cli.operations.audit"})


def test_each_command_is_registered_by_the_module_that_is_named_for_it() -> None:
    for module, names in COMMANDS.items():
        group = typer.Typer()
        import_module(f"procomp_pay.cli.{module}").register(group)
        registered = [info.name or info.callback.__name__ for info in group.registered_commands]  # type: ignore[union-attr]
        registered += [str(info.name) for info in group.registered_groups]
        assert sorted(registered) == sorted(names), module


def test_status_imports_only_what_it_uses(sqlite_clerk: CommandLine) -> None:
    sqlite_clerk.ask("initiate", "p1", "--method", "kaspi_qr")
    loaded, code = modules(sqlite_clerk.environment(), "status", "p1")
    assert code == 0
    assert "sqlmodel" in loaded
    assert loaded.isdisjoint(_NOT_FOR_STATUS), loaded & _NOT_FOR_STATUS
    models = "procomp_pay.storage.models."
    assert {name.removeprefix(models) for name in loaded if name.startswith(models)} == {
        "columns", "exact_json", "paid", "payments", "platform", "reconciliation", "refunds", "states",
        "types",
    }  # fmt: skip


@pytest.mark.parametrize("first", ["", "import zoneinfo; zoneinfo.ZoneInfo('Asia/Almaty'); "])
def test_stale_zone_files_of_the_host_are_not_used(tmp_path: Path, first: str) -> None:
    """Almaty moved from UTC+6 to UTC+5 on 2024-03-01."""
    (tmp_path / "Asia").mkdir()
    stale = resources.files("tzdata.zoneinfo.Etc") / "GMT-6"
    (tmp_path / "Asia" / "Almaty").write_bytes(stale.read_bytes())
    zone = "from datetime import datetime; from zoneinfo import ZoneInfo; "
    shown = "print(datetime(2026, 1, 15, tzinfo=ZoneInfo('Asia/Almaty')).isoformat())"
    env = os.environ | {"PYTHONTZPATH": str(tmp_path)}
    for before, offset in ((first, "+06:00"), (f"{first}import procomp_pay; ", "+05:00")):
        made = run_to_end([sys.executable, "-c", before + zone + shown], env=env, check=True)
        assert made.stdout == f"2026-01-15T00:00:00{offset}\n"


@pytest.mark.parametrize(
    ("words", "left_out"),
    [(("status", "--help"), True), (("stat",), False), ((), True), (("--help",), True), (("help",), False)],
)
def test_commands_are_made_only_where_they_are_needed(
    sqlite_clerk: CommandLine, words: tuple[str, ...], left_out: bool
) -> None:
    program = (
        "from procomp_pay.cli import main\ntry: main.run()\nfinally: print(len(main._app.registered_groups))"
    )
    done = run_to_end([sys.executable, "-c", program, *words], env=sqlite_clerk.environment())
    groups = int(done.stdout.splitlines()[-1])
    assert (groups == 0) is left_out, done
    assert ("usage: procomp-pay status" in done.stdout.lower()) is (words[:1] == ("status",)), done


def test_the_help_page_is_the_same_without_the_commands(sqlite_clerk: CommandLine) -> None:
    pages = [
        run_to_end(
            [sys.executable, "-m", "procomp_pay", word], env=sqlite_clerk.environment(), check=True
        ).stdout
        for word in ("--help", "help")
    ]
    assert pages[0] == pages[1]
    assert "\n  status " in pages[0]
    assert "Other" not in pages[0]
