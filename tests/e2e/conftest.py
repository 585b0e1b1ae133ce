"""Real processes: sandbox, server and commands, each ended by the test that started it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deployment import Town


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    """On the embedded default."""
    made = Town(tmp_path / "home")
    yield made
    made.close()


@pytest.fixture
def pg_town(tmp_path: Path, postgres_url: str) -> Iterator[Town]:
    """On a fresh PostgreSQL database."""
    made = Town(tmp_path / "home", postgres_url)
    yield made
    made.close()
