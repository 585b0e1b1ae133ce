"""Standard streams that are closed or full, and arguments in another encoding."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from procomp_pay.cli.framework import console
from tests.support.patience import PATIENCE_S
from tests.support.terminal import CommandLine

_RUN = "from procomp_pay.cli.main import run; run()"
_FULL = Path("/dev/full")


def _run(clerk: CommandLine, arguments: str, streams: str, **more: str) -> subprocess.CompletedProcess[bytes]:
    script = f'exec "$0" -c "{_RUN}" {arguments} {streams}'
    environment = {**clerk.environment(), **more}
    return subprocess.run(
        ["sh", "-c", script, sys.executable],
        env=environment,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.mark.skipif(not _FULL.exists(), reason="no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["list --json", "status p9 --json", "tournament list"])
def test_a_full_output_is_told_on_stderr(sqlite_clerk: CommandLine, command: str, unbuffered: str) -> None:
    ended = _run(sqlite_clerk, command, f"> {_FULL}", PYTHONUNBUFFERED=unbuffered)
    text = ended.stderr.decode()
    assert ended.returncode == 1
    assert text.startswith("✗ The output could not be written: No space left on device")
    assert len(text.splitlines()) == 2


@pytest.mark.parametrize(("command", "code"), [("list --json", 0), ("tournament list", 0), ("status p9", 4)])
@pytest.mark.parametrize("streams", [">&-", "<&- >&-", "<&- >&- 2>&-", "2>&-"])
def test_closed_streams_do_not_change_the_exit_code(
    sqlite_clerk: CommandLine, command: str, code: int, streams: str
) -> None:
    ended = _run(sqlite_clerk, command, streams)
    assert ended.returncode == code
    assert b"Traceback" not in ended.stderr
    assert b"bug" not in ended.stderr


@pytest.mark.skipif(not _FULL.exists(), reason="no /dev/full")
def test_a_full_stderr_changes_nothing(sqlite_clerk: CommandLine) -> None:
    assert _run(sqlite_clerk, "tournament list", f"2> {_FULL}").returncode == 0
    assert _run(sqlite_clerk, "status p9", f"2> {_FULL}").returncode == 4


@pytest.mark.parametrize(
    "words",
    [
        ("status", "{}"),
        ("status", "--payment", "{}"),
        ("list", "--tournament", "{}"),
        ("audit", "show", "{}"),
        ("participant", "add", "{}", "Ivan"),
        ("discrepancies", "list", "--payment", "{}"),
    ],
)
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_an_argument_in_another_encoding_is_not_found(
    clerk: CommandLine, words: tuple[str, ...], more: tuple[str, ...]
) -> None:
    name = os.fsdecode("Кубок".encode("cp1251"))
    clerk.type(*(word.format(name) for word in words), *more, code=4)


def test_an_unknown_choice_is_told_in_one_line(sqlite_clerk: CommandLine) -> None:
    output = sqlite_clerk.type("initiate", "p1", code=2)
    assert "Missing option '--method' / '-m'. Choose from: kaspi_qr, apple_pay, google_pay" in output.err
    assert "\N{REPLACEMENT CHARACTER}" not in output.err


def test_a_next_step_breaks_between_words_and_keeps_its_command_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = 'procomp-pay refund PAYMENT --made-in-app NUMBER --amount … --reason "…"'
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    console.hint(
        f"refund it in the Kaspi Pay app (History, the payment, Make a refund), then record it: {command}"
    )
    lines = capsys.readouterr().err.splitlines()
    assert [len(line) <= 60 for line in lines] == [True, True, False]
    assert lines[-1].strip() == command
    console.hint(command)
    assert capsys.readouterr().err == f"  → {command}\n"
