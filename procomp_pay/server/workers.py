"""Several processes behind one port: a parent that starts them, starts them again, and stops them.

The parent does no work and opens nothing that a fork would have to share. A worker that dies is started
again, more slowly each time that it dies young; its requests are sent again by their senders, and its work
in hand is in the database. Should the parent itself be killed, its workers see its end of a pipe go and stop.
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

#: Between two looks at the workers, in seconds.
_LOOK_S = 0.1
#: A worker that lived for longer (seconds) did not die young: it is started again at once.
_YOUNG_S = 30.0
_LONGEST_PAUSE_S = 30.0
#: How long workers may take to stop, in seconds: longer than open requests and the work in hand may.
_STOP_S = 60.0


@dataclass(slots=True)
class _Worker:
    pid: int | None = None
    begun: float = 0.0
    young_deaths: int = 0
    again_at: float = 0.0


class Workers:
    """See the module.

    :param work: runs in each worker until it is told to stop. Is given the pipe whose end means that the
        parent is gone, and what to call when it is ready.
    """

    def __init__(self, count: int, work: Callable[[int, Callable[[], None]], None]) -> None:
        self._work = work
        self._workers = [_Worker() for _ in range(count)]
        self._alive, self._held = os.pipe()
        self._ready, self._tell = os.pipe()
        os.set_blocking(self._ready, False)
        self._stopping = False

    def run(self, ready: Callable[[], None]) -> None:
        """Start them, and return when all have stopped after SIGTERM or SIGINT.

        :param ready: called once, when all are.
        :raises ConfigurationError: a worker says that it cannot run like this.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        try:
            self._look_after(ready)
        finally:
            self._end_all()

    def _look_after(self, ready: Callable[[], None]) -> None:
        waits_for = len(self._workers)
        while not self._stopping:
            now = time.monotonic()
            for worker in self._workers:
                if worker.pid is None and now >= worker.again_at and not self._stopping:
                    self._start(worker)
            self._bury()
            if waits_for > 0:
                with contextlib.suppress(BlockingIOError):
                    waits_for -= len(os.read(self._ready, 64))
                if waits_for <= 0:
                    ready()
            time.sleep(_LOOK_S)

    def _start(self, worker: _Worker) -> None:
        worker.begun = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os._exit(self._be_a_worker())
        worker.pid = pid
        if self._stopping:  # told while it was being made
            os.kill(pid, signal.SIGTERM)

    def _be_a_worker(self) -> int:
        code = 1
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            os.close(self._held)
            self._work(self._alive, lambda: void(os.write(self._tell, b".")))
            code = 0
        except PaymentError as error:
            log.error("worker: %s (%s)", error.message, error.next_step or "no advice")  # noqa: TRY400
            code = error.exit_code
        except BaseException:
            log.exception("a worker met a bug")
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        return code

    def _bury(self) -> None:
        """Note who has died, and when to start it again."""
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
                    "A worker cannot run with these settings", next_step="its line in the log says why"
                )
            lived = time.monotonic() - worker.begun
            worker.young_deaths = 0 if lived > _YOUNG_S else worker.young_deaths + 1
            pause = min(_LONGEST_PAUSE_S, 2.0 ** (worker.young_deaths - 2)) if worker.young_deaths else 0.0
            worker.again_at = time.monotonic() + pause
            log.error("worker %d ended with %d; another one in %.1f s", pid, code, pause)

    def _stop(self, *_: object) -> None:
        self._stopping = True
        for worker in self._workers:
            if worker.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGTERM)

    def _end_all(self) -> None:
        self._stop()
        end = time.monotonic() + _STOP_S
        while any(worker.pid is not None for worker in self._workers):
            if time.monotonic() > end:
                log.warning("workers that did not stop in time are killed: their rows bring their work back")
                for worker in self._workers:
                    if worker.pid is not None:
                        os.kill(worker.pid, signal.SIGKILL)
                end += _STOP_S
            self._bury()
            time.sleep(_LOOK_S / 2)


def void(_: object) -> None:
    """For a callable that must return nothing."""
