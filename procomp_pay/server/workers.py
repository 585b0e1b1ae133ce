"""Serve one port with several processes: a parent starts, restarts and stops them.

The parent serves no requests and opens nothing that a fork would share. A worker that dies is restarted,
more slowly each time that it dies early; clients repeat its requests, and its unfinished work is in the
database. If the parent is killed, the workers notice that its end of a pipe is closed, and stop.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from procomp_pay.domain.errors import ConfigurationError, PaymentError

log = logging.getLogger(__name__)

#: Seconds between two checks of the workers.
_CHECK_S = 0.1
#: A worker that lived longer (seconds) did not die early: it is restarted at once.
_EARLY_S = 30.0
_LONGEST_BACKOFF_S = 30.0
#: How long workers may take to stop, in seconds: a little longer than each allows itself.
_STOP_S = 37.0


@dataclass(slots=True)
class _Worker:
    pid: int | None = None
    started_at: float = 0.0
    early_deaths: int = 0
    restart_at: float = 0.0


class Workers:
    """The parent of the worker processes; see the module.

    :param work: runs in each worker until SIGTERM. Called with a pipe, whose end means that the parent is
        gone, and with a function to call when it is ready.
    """

    def __init__(self, count: int, work: Callable[[int, Callable[[], None]], None]) -> None:
        self._work = work
        self._workers = [_Worker() for _ in range(count)]
        self._alive, self._alive_writer = os.pipe()
        self._ready, self._ready_writer = os.pipe()
        os.set_blocking(self._ready, False)
        self._stopping = False

    def run(self, ready: Callable[[], None]) -> None:
        """Start the workers, and return when all have stopped after SIGTERM or SIGINT.

        :param ready: called once, when all workers are ready.
        :raises ConfigurationError: a worker cannot run with these settings.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        try:
            self._supervise(ready)
        finally:
            self._stop_all()

    def _supervise(self, ready: Callable[[], None]) -> None:
        not_ready = len(self._workers)
        while not self._stopping:
            now = time.monotonic()
            for worker in self._workers:
                if worker.pid is None and now >= worker.restart_at and not self._stopping:
                    self._start(worker)
            self._reap()
            if not_ready > 0:
                with contextlib.suppress(BlockingIOError):
                    not_ready -= len(os.read(self._ready, 64))
                if not_ready <= 0:
                    ready()
            time.sleep(_CHECK_S)

    def _start(self, worker: _Worker) -> None:
        worker.started_at = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os._exit(self._run_as_worker())
        worker.pid = pid
        if self._stopping:  # stopped while it was being forked
            os.kill(pid, signal.SIGTERM)

    def _run_as_worker(self) -> int:
        code = 1
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            os.close(self._alive_writer)
            self._work(self._alive, lambda: void(os.write(self._ready_writer, b".")))
            code = 0
        except PaymentError as error:
            log.error("worker: %s (%s)", error.message, error.next_step or "no advice")  # noqa: TRY400
            code = error.exit_code
        except BaseException:
            log.exception("a worker met a bug")
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        return code

    def _reap(self) -> None:
        """Collect workers that have died, and schedule their restart."""
        for worker in self._workers:
            if worker.pid is None:
                continue
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid == 0:
                continue
            worker.pid = None
            code = os.waitstatus_to_exitcode(status)
            if self._stopping:
                continue
            if code == ConfigurationError.exit_code:
                raise ConfigurationError(
                    "A worker cannot run with these settings",
                    next_step="its line in the log gives the reason",
                )
            lifetime_s = time.monotonic() - worker.started_at
            worker.early_deaths = 0 if lifetime_s > _EARLY_S else worker.early_deaths + 1
            pause = min(_LONGEST_BACKOFF_S, 2.0 ** (worker.early_deaths - 2)) if worker.early_deaths else 0.0
            worker.restart_at = time.monotonic() + pause
            log.error("worker %d exited with %d; restarting in %.1f s", pid, code, pause)

    def _stop(self, *_: object) -> None:
        self._stopping = True
        for worker in self._workers:
            if worker.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGTERM)

    def _stop_all(self) -> None:
        self._stop()
        end = time.monotonic() + _STOP_S
        while any(worker.pid is not None for worker in self._workers):
            if time.monotonic() > end:
                log.warning(
                    "workers that did not stop in time are killed; their work resumes from the database"
                )
                for worker in self._workers:
                    if worker.pid is not None:
                        os.kill(worker.pid, signal.SIGKILL)
                end += _STOP_S
            self._reap()
            time.sleep(_CHECK_S / 2)


def void(_: object) -> None:
    """Discard a result, for a callable that must return None."""
