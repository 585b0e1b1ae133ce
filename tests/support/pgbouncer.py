"""A PgBouncer before the tests' PostgreSQL, where it is installed."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.patience import until

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")

needs_pgbouncer = pytest.mark.skipif(
    PROGRAM is None, reason="PGBOUNCER IS NOT INSTALLED (Debian: apt-get install pgbouncer)"
)


@contextlib.contextmanager
def pgbouncer(postgres_url: str, *, mode: str, pool_size: int = 20) -> Iterator[str]:
    """Start a PgBouncer; yield the URL of the same database through it.

    :param postgres_url: a database reached by its socket: ``?host=DIRECTORY``, and ``&port=`` if not 5432.
    :param mode: ``transaction`` or ``session``.
    """
    assert PROGRAM is not None
    query, name = parse_qs(urlsplit(postgres_url).query), urlsplit(postgres_url).path[1:]
    server, server_port = query["host"][0], query.get("port", ["5432"])[0]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    home = Path(tempfile.mkdtemp(prefix="pay-pgb-", dir="/tmp"))
    home.chmod(0o755)
    (home / "pgbouncer.ini").write_text(
        f"[databases]\n{name} = host={server} port={server_port} dbname={name} user=postgres\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = any\npool_mode = {mode}\ndefault_pool_size = {pool_size}\nmax_client_conn = 200\n"
    )
    # it refuses to run as root; who owns the directory of the socket may open it
    owner = pwd.getpwuid(Path(server).stat().st_uid).pw_name
    unprivileged = ["-u", owner if owner != "root" else "nobody"] if os.getuid() == 0 else []
    log = (home / "log").open("wb")
    process = subprocess.Popen(
        [PROGRAM, *unprivileged, str(home / "pgbouncer.ini")], stdout=log, stderr=subprocess.STDOUT
    )
    try:

        def listens() -> bool:
            assert process.poll() is None, (home / "log").read_text()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return True
            return False

        until(listens)
        yield f"postgresql://postgres@127.0.0.1:{port}/{name}"
    finally:
        process.kill()
        process.wait()
        log.close()
        shutil.rmtree(home, ignore_errors=True)
