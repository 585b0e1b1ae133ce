"""Run a short form of ``benchmarks/load.py``: nothing fails, is lost or doubled, also while things fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.failover.cluster import binaries

LOAD = Path(__file__).parents[2] / "benchmarks" / "load.py"


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs Linux")
def test_two_servers_under_load_and_faults_settle_each_payment_once() -> None:
    binaries()  # skips where there is no PostgreSQL
    command = [sys.executable, str(LOAD), "--seconds", "15", "--customers", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
