"""Fixtures: a clerk at a terminal, with the sandbox over HTTP and both databases."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from procomp_pay.storage.encryption.keyring import new_key
from tests.support.secret_watch import register_secret
from tests.support.terminal import CommandLine, LocalProviders, rows

_NOT_OURS = ("STRIPE_", "KASPI_", "JWT_", "DATABASE_URL", "ENCRYPTION_KEYS", "PUBLIC_BASE_URL", "PROCOMP_")


@pytest.fixture(scope="session")
def providers() -> Iterator[LocalProviders]:
    made = LocalProviders()
    yield made
    made.close()


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Remove this computer's settings and use a home of its own."""
    for name in os.environ:
        if name.startswith(_NOT_OURS):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("PROCOMP_HOME", str(home))
    monkeypatch.setenv("PROCOMP_OPERATOR", "aigerim")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("PROCOMP_LANGUAGE", "en")
    monkeypatch.chdir(tmp_path)
    return home


def _opened(home: Path, providers: LocalProviders, url: str, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.setenv("DATABASE_URL", url)
    if not url.startswith("sqlite"):
        monkeypatch.setenv("ENCRYPTION_KEYS", key := new_key())
        register_secret(key, "encryption key")
    providers.forget()
    providers.write_run_file(home)
    clerk = CommandLine(home, providers, url)
    clerk.write(*rows())
    return clerk


@pytest.fixture
def clerk(
    database_url: str, bare_environment: Path, providers: LocalProviders, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CommandLine]:
    """A clerk with two tournaments and five participants, on each database."""
    yield _opened(bare_environment, providers, database_url, monkeypatch)
    providers.calm()


@pytest.fixture
def sqlite_clerk(
    sqlite_url: str, bare_environment: Path, providers: LocalProviders, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CommandLine]:
    """The same on SQLite only, for tests that do not depend on the database."""
    yield _opened(bare_environment, providers, sqlite_url, monkeypatch)
    providers.calm()


@pytest.fixture
def postgres_clerk(
    postgres_url: str, bare_environment: Path, providers: LocalProviders, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CommandLine]:
    """The same on PostgreSQL only."""
    yield _opened(bare_environment, providers, postgres_url, monkeypatch)
    providers.calm()


@pytest.fixture
def helper() -> Iterator[ThreadPoolExecutor]:
    """Threads for actions while a command runs."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        yield pool
