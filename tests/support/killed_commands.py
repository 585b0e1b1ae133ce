"""Run commands as real processes, each of which can kill itself by SIGKILL before one of its own steps.

A step is a commit of a transaction that writes, a request to a provider, or its answer: nothing else lasts
when the process is gone. Commands are forks of one process that has imported everything: no test has the time
to start a thousand interpreters.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from aiohttp import web
from sqlalchemy import Connection, Engine, event

from procomp_pay.cli.main import run
from procomp_pay.providers.stripe.service import StripePaymentService
from procomp_pay.services import bootstrap
from procomp_pay.storage.database import sqlite
from tests.support import warm_processes

#: Seconds after which a process that has not ended ends by SIGALRM.
_LONGEST_S = 100
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ended:
    """A process that has ended.

    :param code: its exit code; the negative number of the signal that ended it.
    :param steps: what it passed; before the last one it was killed, if it was.
    """

    words: tuple[str, ...]
    code: int
    out: str
    err: str
    steps: list[str]

    @property
    def was_killed(self) -> bool:
        return self.code == -signal.SIGKILL

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Commands:
    """The process that is forked, and what its forks leave in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._words: dict[int, tuple[str, ...]] = {}
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.support.killed_commands", str(folder)],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(_ROOT)},
            cwd=folder, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def run(self, words: tuple[str, ...], env: dict[str, str], **more: Any) -> Ended:
        """Run a command to its end; see :meth:`start`."""
        return self.wait(self.start(words, env, **more))

    def start(
        self,
        words: tuple[str, ...],
        env: dict[str, str],
        *,
        kill_before: int = 0,
        clock_s: float = 0.0,
        path: str | None = None,
    ) -> int:
        """Start a command; return its process id.

        :param kill_before: the number of the step before which it kills itself; 0 for none.
        :param clock_s: seconds by which its clock is ahead.
        :param path: of a server, count only the steps of requests to this path.
        """
        pid = self._ask({"words": words, "env": env, "kill": kill_before, "clock_s": clock_s, "path": path})
        self._words[pid] = words
        return pid

    def wait(self, pid: int) -> Ended:
        """Wait until a process has ended."""
        code = os.waitstatus_to_exitcode(self._ask({"wait": pid}))
        texts = [self.read(pid, name) for name in ("out", "err", "steps")]
        for name in ("out", "err", "steps"):
            (self._folder / f"{pid}.{name}").unlink()
        return Ended(self._words.pop(pid), code, texts[0], texts[1], texts[2].splitlines())

    def read(self, pid: int, name: str) -> str:
        """Return what a process has written so far: ``out``, ``err`` or ``steps``."""
        with contextlib.suppress(FileNotFoundError):  # it has just been forked
            return (self._folder / f"{pid}.{name}").read_text("utf-8")
        return ""

    def close(self) -> None:
        self._parent.communicate()

    def _ask(self, order: dict[str, Any]) -> int:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(json.dumps(order) + "\n")
        self._parent.stdin.flush()
        return int(self._parent.stdout.readline())


# --- in the process that is forked


class _Steps:
    """Counts the steps of this process, and kills it before one of them."""

    def __init__(self, file: int, kill_before: int, path: str | None) -> None:
        self._file, self._kill_before, self._path = file, kill_before, path
        self._count = 0
        self._counts: ContextVar[bool] = ContextVar("counts", default=path is None)

    def step(self, what: str) -> None:
        if not self._counts.get():
            return
        self._count += 1
        os.write(self._file, f"{what}\n".encode())
        if self._count == self._kill_before:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(self) -> None:
        """Have commits, requests and answers counted from now on."""
        send, handle = httpx.AsyncHTTPTransport.handle_async_request, web.Application._handle

        def commit(connection: Connection) -> None:
            options = connection.get_execution_options()
            is_sqlite = connection.dialect.name == "sqlite"
            if options.get(sqlite.WRITES) if is_sqlite else not options.get("postgresql_readonly"):
                self.step("commit")

        async def counted(transport: Any, request: httpx.Request) -> httpx.Response:
            name = f"{request.method} {request.url.path}"
            self.step(name)
            response = await send(transport, request)
            self.step(f"answer of {name}")
            return response

        async def handled(app: web.Application, request: web.Request) -> web.StreamResponse:
            self._counts.set(request.path == self._path)
            response = await handle(app, request)
            self.step("answer to the caller")
            return response

        event.listen(Engine, "commit", commit)
        httpx.AsyncHTTPTransport.handle_async_request = counted  # type: ignore[method-assign]
        web.Application._handle = handled  # type: ignore[method-assign]


def _become(order: dict[str, Any], folder: Path) -> None:
    """Become the command of an order, in this process that was just forked."""
    signal.alarm(_LONGEST_S)
    files = [
        os.open(folder / f"{os.getpid()}.{name}", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        for name in ("out", "err", "steps")
    ]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(files[0], 1)
    os.dup2(files[1], 2)
    os.environ.clear()
    os.environ.update(order["env"])
    sys.argv = ["procomp-pay", *order["words"]]
    now: Callable[[], Any] = bootstrap.utc_now
    bootstrap.utc_now = lambda: now() + timedelta(seconds=order["clock_s"])
    steps = _Steps(files[2], order["kill"], order["path"])
    steps.hook()
    try:
        run()
    finally:
        if order["path"] is None:
            steps.step("end")


def _warm() -> None:
    """Import what commands import, and compile the statements of one of them, on an empty database."""
    for name in (
        "alembic.script", "psycopg", "simplejson", "sqlalchemy.dialects.postgresql.psycopg", "uvloop",
        "procomp_pay.providers.kaspi.service", "procomp_pay.server.run",
        "procomp_pay.services.initiation.initiate", "procomp_pay.services.kaspi_verification.verify",
        "procomp_pay.services.lifecycle.cancel", "procomp_pay.services.reconciliation.run",
        "procomp_pay.services.refunds.create", "procomp_pay.services.settlement.move",
    ):  # fmt: skip
        importlib.import_module(name)
    StripePaymentService("sk_test_none", api_base="http://127.0.0.1:1")
    warm_processes.work_once(["maintain"])


def _serve_orders(folder: Path) -> None:
    """Fork for each order from stdin, or wait for a fork; write its process id, or its wait status."""
    _warm()
    gc.freeze()
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            print(os.waitpid(order["wait"], 0)[1], flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            code: Any = 0
            try:
                _become(order, folder)
            except SystemExit as ended:
                code = ended.code or 0
            except BaseException:
                traceback.print_exc()
                code = 1
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        print(pid, flush=True)


if __name__ == "__main__":
    _serve_orders(Path(sys.argv[1]))
