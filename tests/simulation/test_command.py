"""The command that runs many simulated days: what is bad is named, and who ends it early gets the totals."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation import __main__ as command
from tests.simulation import day


def _result(seed: int, _template: Path) -> day.Result:
    if seed == 5:
        raise RuntimeError("no such day")
    result = day.Result(seed, ["money is missing"] if seed == 3 else [], [f"trace of {seed}"])
    result.tally.update(payments=2, kills=1)
    return result


def test_bad_days_are_told_with_their_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(day, "run", _result)
    monkeypatch.setattr(command, "_DAYS_IN_A_PROCESS", 2)
    template = tmp_path / "template.sqlite3"
    assert command.run(range(2, 8), template, 2, 10) == 1
    lines = capsys.readouterr().out.splitlines()
    summary = next(number for number, line in enumerate(lines) if line.startswith("6 days in "))
    assert lines[summary].endswith(": 10 payments, 0 refunds, 0 faults, 5 kills, 2 bad seeds")
    assert lines[summary + 1 :] == [f"python -m tests.simulation --seed {seed}" for seed in (3, 5)]
    assert "  money is missing" in lines
    assert "  the simulation broke off: RuntimeError('no such day')" in lines


def test_the_digest_does_not_depend_on_the_number_of_processes(
    capsys: pytest.CaptureFixture[str], sqlite_template: Path
) -> None:
    digests = set()
    for processes in (1, 2):
        assert command.run(range(2), sqlite_template, processes, 10) == 0
        digests.update(line for line in capsys.readouterr().out.splitlines() if line.startswith("digest"))
    expected = int(day.run(0, sqlite_template).digest, 16) ^ int(day.run(1, sqlite_template).digest, 16)
    assert digests == {f"digest of all: {expected:064x}"}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_who_ends_it_early_gets_the_totals(how: signal.Signals) -> None:
    arguments = [sys.executable, "-m", "tests.simulation", "--seeds", "100000", "--processes", "2"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert "of 100000 days, 0 bad" in running.stdout.readline()
        running.send_signal(how)
        lines = running.stdout.read().splitlines()
    assert running.returncode == 130
    assert "payments" in lines[-1]
    assert lines[-1].endswith("0 bad seeds")
