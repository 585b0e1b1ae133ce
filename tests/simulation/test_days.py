"""Simulated tournament days end with books that equal the providers', and a seed replays exactly.

More of them: ``python -m tests.simulation --seeds 10000``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation import day
from tests.simulation.__main__ import report

#: Days in one test, so that the processes of the test run share them.
_IN_A_TEST = 10


@pytest.mark.parametrize("first", range(0, 4 * _IN_A_TEST, _IN_A_TEST))
def test_after_each_day_the_books_equal_the_providers(first: int, sqlite_template: Path) -> None:
    bad = []
    for seed in range(first, first + _IN_A_TEST):
        result = day.run(seed, sqlite_template)
        if result.problems:
            print("\n".join(result.trace))
            bad.append(report(result))
    assert not bad, "\n".join(bad)


def test_a_seed_replays_exactly_in_another_process(sqlite_template: Path) -> None:
    seed = 4
    here = day.run(seed, sqlite_template)
    assert here.trace
    assert day.run(seed, sqlite_template).digest == here.digest
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(seed)]
    there = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONHASHSEED": "7"}
    )
    assert there.stdout.splitlines()[-1] == f"digest {here.digest}"
