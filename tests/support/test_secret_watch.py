"""A secret in the output of a test run fails the run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE_S
from tests.support.secret_watch import no_secret_in, register_secret

SECRET = "a-value-" + os.urandom(8).hex()
TESTS = """
import logging, sys
from tests.support.secret_watch import register_secret

register_secret({secret!r}, "a key")

def test_prints():
    print("it is", {secret!r})

def test_prints_to_stderr():
    print("it is", {secret!r}, file=sys.stderr)

def test_logs():
    logging.getLogger("x").warning("it is %s", {secret!r})

def test_quiet():
    print("nothing")
"""


def test_a_secret_in_the_output_fails_the_run(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        "from tests.support.secret_watch import pytest_runtest_makereport\n"
    )
    (tmp_path / "test_it.py").write_text(TESTS.format(secret=SECRET))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "1", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 1
    assert "3 failed, 1 passed" in done.stdout
    assert done.stdout.count("secrets in the captured output: a key") >= 3
    assert SECRET not in done.stdout + done.stderr


def test_a_secret_in_the_output_of_a_process_fails_its_test() -> None:
    value = os.urandom(8).hex()
    register_secret(f"{value}, other-{value}", "two keys")
    no_secret_in("nothing", "a command")
    with pytest.raises(AssertionError, match="two keys") as caught:
        no_secret_in(f"so: other-{value}", "a command")
    assert value not in str(caught.value)
