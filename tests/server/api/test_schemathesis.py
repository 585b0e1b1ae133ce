"""Run schemathesis against a server: all checks, in every role, following the document's links.

Longer than in CI: ``PROCOMP_FUZZ_SECONDS=600 pytest tests/server/api/test_schemathesis.py -s``.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from procomp_pay.server.http.route import BASE
from tests.support.http_requests import bearer
from tests.support.server import Eventually, Serve, paid

#: For each role; its start takes about two seconds more.
SECONDS = int(os.environ.get("PROCOMP_FUZZ_SECONDS", "3"))
_ROOT = Path(__file__).parents[3]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Run on SQLite alone: requests have the same form on both databases."""
    return sqlite_url


@pytest.mark.parametrize(("user_id", "role"), [("u1", "user"), ("u9", "staff"), ("boss", "admin")])
async def test_schemathesis_finds_no_failure(
    serve: Serve, eventually: Eventually, tmp_path: Path, user_id: str, role: str
) -> None:
    budgets = ("reads", "writes", "open", "failures")
    served = await serve(**{f"rate_limit_{budget}": "off" for budget in budgets})
    await paid(served, eventually, "p2")  # a payment that can be refunded
    token = bearer(user_id, role, exp=4102444800)["Authorization"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--config-file",
        str(_ROOT / "tests/support/schemathesis.toml"),
        "run",
        f"{served.url}{BASE}/openapi.json",
        "--checks=all",
        "--phases=examples,coverage,fuzzing,stateful",
        f"--max-time={SECONDS}",
        f"--header=Authorization: {token}",
        "--continue-on-failure",
        "--generation-database=none",
        "--suppress-health-check=all",
        "--no-color",
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(_ROOT), "SCHEMATHESIS_HOOKS": "tests.support.schemathesis_hooks"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), SECONDS * 2 + 60)
    finally:
        if process.returncode is None:
            process.kill()
    print(output.decode())
    assert process.returncode == 0, output.decode()
