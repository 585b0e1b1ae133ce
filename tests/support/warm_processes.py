"""Real processes that are forked from one that has imported everything, in place of new interpreters.

Importing takes a command longer than its work. Whatever is imported, killed or interrupted is tested all the
same: the process has its own environment, working directory, streams, process id and exit code.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import json
import os
import pkgutil
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
#: Code that runs a command.
RUN = "from procomp_pay.cli.main import run; run()"
_NUMBER = struct.Struct("i")
#: The longest order: arguments, environment and code, in bytes.
_ORDER = 200_000
#: What an environment may not have: it is read while modules are imported.
_READ_AT_IMPORT = {"PLATFORM_MAP", "_PROCOMP_PAY_COMPLETE"}
#: Libraries that our modules import when they first use them.
_LATER = (
    "aiosqlite", "alembic.config", "argon2", "cryptography.fernet", "httpx", "openpyxl", "psycopg",
    "rich.console", "rich.progress", "rich.table", "segno", "simplejson", "sqlmodel", "stripe",
    "sqlalchemy.dialects.postgresql.psycopg", "sqlalchemy.dialects.sqlite.aiosqlite", "textual.app",
    "typer.testing", "uvloop", "zoneinfo",
)  # fmt: skip


class WarmProcess(subprocess.Popen[Any]):
    """A process, as :class:`subprocess.Popen` has it; the arguments are those of ``procomp-pay``.

    :param code: Python that it runs instead, with the arguments in ``sys.argv``.
    """

    def __init__(self, words: tuple[str, ...] | list[str], *, code: str = RUN, **more: Any) -> None:
        self._code = code
        super().__init__(list(words), **more)

    # what Popen does by fork, exec and waitpid

    def _execute_child(self, args: list[str], *rest: Any) -> None:
        cwd, env = rest[4], rest[5]
        pipes = rest[9:15]
        assert _READ_AT_IMPORT.isdisjoint(env or os.environ), "it needs an interpreter of its own"
        order = {
            "words": args,
            "code": self._code,
            "env": dict(env or os.environ),
            "cwd": str(cwd or Path.cwd()),
        }
        streams = [given if given != -1 else n for n, given in enumerate((pipes[0], pipes[3], pipes[5]))]
        self._end, told = os.pipe()
        try:
            parent = _parent()
            socket.send_fds(parent, [json.dumps(order).encode()], [*streams, told])
        finally:
            os.close(told)
        [self.pid] = _NUMBER.unpack(os.read(self._end, _NUMBER.size))
        self._child_created = True
        self._close_pipe_fds(*pipes)

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if wait_flags & os.WNOHANG and not select.select([self._end], [], [], 0)[0]:
            return 0, 0
        answer = os.read(self._end, _NUMBER.size)
        os.close(self._end)
        return self.pid, _NUMBER.unpack(answer)[0] if answer else signal.SIGKILL

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        with self._waitpid_lock:
            if self.returncode is None:
                pid, status = self._try_wait(os.WNOHANG)
                if pid:
                    self._handle_exitstatus(status)
        return self.returncode


def run(
    words: tuple[str, ...] | list[str], *, timeout: float, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run a process to its end and return what it wrote, as :func:`subprocess.run` does."""
    more = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    } | more
    with WarmProcess(words, **more) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@functools.cache
def _parent() -> socket.socket:
    """Start the process that is forked, once in a run; it ends when this one does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _ORDER)
    env = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(theirs.fileno())],
        pass_fds=[theirs.fileno()], cwd=_ROOT, env=env, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


# --- in the process that is forked


def _import_everything() -> None:
    import procomp_pay

    for module in pkgutil.walk_packages(procomp_pay.__path__, "procomp_pay."):
        if not module.name.endswith("__main__"):
            __import__(module.name)
    for name in _LATER:
        __import__(name)
    from sqlalchemy.orm import configure_mappers

    configure_mappers()
    work_once(["tournament", "list"], ["close"])
    assert threading.active_count() == 1, "a fork has one thread"


def work_once(*commands: list[str]) -> None:
    """Read the commands' signatures and compile the statements of some: half of the time of a process."""
    import tempfile

    import typer.main
    from typer.testing import CliRunner

    from procomp_pay.cli import main
    from tests.support import compiled_statements

    typer.main.get_params_from_function = functools.cache(typer.main.get_params_from_function)
    compiled_statements.share()
    registered = main._app.registered_commands, main._app.registered_groups
    before = [list(each) for each in registered]
    environment = dict(os.environ)
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"PROCOMP_HOME": home, "PROCOMP_OPERATOR": "nobody"}
        for words in commands:
            result = CliRunner().invoke(main.app, words)
            assert result.exit_code in (0, 6), (words, result.output)
    os.environ.clear()
    os.environ.update(environment)
    for each, kept in zip(registered, before, strict=True):
        each[:] = kept
    del main.app  # a process registers what it was called with


def _serve(orders: socket.socket) -> None:
    """Fork for each order a process that waits for its child, which does what was ordered."""
    _import_everything()
    gc.collect()
    gc.freeze()
    while True:
        text, given, _, _ = socket.recv_fds(orders, _ORDER, 4)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        if not text:
            return
        if os.fork() == 0:
            break
        for number in given:
            os.close(number)
    orders.close()
    *streams, told = given
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    child = os.fork()
    if child:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: it is for the child
        null = os.open(os.devnull, os.O_RDWR)
        for number in range(3):  # a pipe ends when the child does
            os.dup2(null, number)
        with contextlib.suppress(BrokenPipeError):
            os.write(told, _NUMBER.pack(child))
            os.write(told, _NUMBER.pack(os.waitpid(child, 0)[1]))
        os._exit(0)
    os.close(told)
    _become(json.loads(text))


def _become(order: dict[str, Any]) -> None:
    import time

    # whoever began the tests in the background may ignore Ctrl-C; a clerk's terminal does not
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(order["env"])
    time.tzset()
    os.chdir(order["cwd"])
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        errors = "backslashreplace" if number == 2 else None
        stream = open(number, "w" if number else "r", encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
        if number:
            stream.reconfigure(line_buffering=number == 2 or stream.isatty())
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.argv = ["procomp-pay", *order["words"]]
    exec(compile(order["code"], "<a warm process>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
