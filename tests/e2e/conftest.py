"""Real processes: sandbox, server and commands, each ended by the test that started it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deployment import Deployment


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """A deployment on the default SQLite database."""
    running = Deployment(tmp_path / "home")
    yield running
    running.close()


@pytest.fixture
def postgres_deployment(tmp_path: Path, postgres_url: str) -> Iterator[Deployment]:
    """A deployment on a new PostgreSQL database."""
    running = Deployment(tmp_path / "home", postgres_url)
    yield running
    running.close()
