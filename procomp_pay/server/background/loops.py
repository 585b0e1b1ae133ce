"""Background work: the inbox as soon as something is in it, each open payment when its time has come."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable

from procomp_pay.domain.errors import PaymentError
from procomp_pay.services.context import AppContext
from procomp_pay.services.maintenance.provider_health import check_provider_health
from procomp_pay.services.maintenance.run import (
    BATCH,
    Pass,
    work_inbox,
    work_missed,
    work_outbox,
    work_refunds,
    work_watch,
)
from procomp_pay.services.maintenance.stalled_work import alert_stalled_work
from procomp_pay.services.standstill import tell_standstill
from procomp_pay.storage.payments import repository as payments

log = logging.getLogger(__name__)

#: Between two looks into an inbox that nobody rang for, in seconds: events that other processes stored.
INBOX_PAUSE_S = 1.0
#: The longest sleep of a watcher, in seconds: payments that other processes started.
WATCH_PAUSE_S = 5.0
#: Between two looks for refunds to follow up, in seconds; each has a time of its own.
REFUND_PAUSE_S = 5.0
#: Between two looks into the outbox, in seconds.
OUTBOX_PAUSE_S = 2.0
#: Between two looks for work that nobody does, in seconds; also another process's.
STALLED_CHECK_S = 60.0
#: Between two looks whether events were missed, in seconds; one process reads, whoever comes first.
MISSED_PAUSE_S = 20.0
#: Between two looks at the loops themselves, in seconds.
PULSE_S = 15.0
#: Between two looks at the circuits and the certificate, in seconds.
TEND_PAUSE_S = 5.0
#: Side by side, so that a provider that hangs for one batch does not hold up the others' polls.
_WATCHERS = 3
#: SQLite has one writer at a time anyway.
_INBOX_WORKERS = {"sqlite": 1, "postgresql": 2}
_ROUND = 25
#: Deliveries to one destination in a round; the others wait for a round's slowest one.
_OUTBOX_ROUND = 20
_LONGEST_BACKOFF_S = 30.0
#: A loop that has not come round for longer (seconds) stands still, and so does one that does and fails.
STALLED_AFTER_S = 120.0
#: How long the work in hand may go on at the end, in seconds; a provider's call is over sooner.
STOP_S = 25.0

#: One round of work: whether there may be more at once, else the seconds to sleep.
Round = Callable[[], Awaitable[float]]


class Background:
    """The loops of one process. Any number of processes share one database: rows are claimed."""

    def __init__(self, ctx: AppContext) -> None:
        self._desk = ctx
        self._inbox_bell = asyncio.Event()
        self._watch_bell = asyncio.Event()
        self._refund_bell = asyncio.Event()
        self._outbox_bell = asyncio.Event()
        self._missed_bell = asyncio.Event()
        self._tend_bell = asyncio.Event()
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._beats: dict[str, float] = {}
        #: Loops whose last round got nothing from a provider but failures.
        self._troubled: set[str] = set()
        self._pulse: asyncio.Task[None] | None = None
        #: Told how long each event waited, in seconds.
        self.on_lag: Callable[[float], None] = lambda _: None
        # not at once: what waited while nothing ran is being done now
        self._next_check = time.monotonic() + STALLED_CHECK_S

    def wake_inbox(self) -> None:
        """An event was stored: handle it now."""
        self._inbox_bell.set()

    def wake_watch(self) -> None:
        """A payment was started: its first look may be due before the others'."""
        self._watch_bell.set()

    def state(self) -> str:
        """``running``, ``stalled`` (a loop does not come round, or every round fails) or ``stopped``."""
        if not self._tasks or self._stop.is_set():
            return "stopped"
        return "stalled" if self.standing_still() else "running"

    def standing_still(self) -> list[str]:
        """The loops that ended, do not come round, or fail each time that they do."""
        now = time.monotonic()
        ended = {task.get_name() for task in self._tasks if task.done()}
        return [name for name, at in self._beats.items() if name in ended or now - at > STALLED_AFTER_S]

    def ages(self) -> dict[str, float]:
        """Seconds since each loop's last good round; each may sleep for a few of them."""
        return {name: time.monotonic() - beat for name, beat in self._beats.items()}

    async def start(self) -> None:
        """Begin; the first rounds take up what an earlier process left."""
        loops: list[tuple[str, Round, asyncio.Event]] = [
            ("inbox", self._inbox_round, self._inbox_bell),
            ("refunds", self._refund_round, self._refund_bell),
            ("outbox", self._outbox_round, self._outbox_bell),
            ("missed events", self._missed_round, self._missed_bell),
            ("providers", self._tend_round, self._tend_bell),
            *((f"watch-{n}", self._watch_round, self._watch_bell) for n in range(1, _WATCHERS + 1)),
        ]
        for name, work, bell in loops:
            self._beats[name] = time.monotonic()
            self._tasks.append(asyncio.create_task(self._run(name, work, bell), name=name))
        self._pulse = asyncio.create_task(self._feel_pulse(), name="pulse")

    async def stop(self) -> None:
        """Let the work in hand finish. What does not within 25 s is cut: its rows bring it back."""
        self._stop.set()
        bells = (
            self._inbox_bell,
            self._watch_bell,
            self._refund_bell,
            self._outbox_bell,
            self._missed_bell,
            self._tend_bell,
        )
        for bell in bells:
            bell.set()
        if self._pulse is not None:
            self._pulse.cancel()
            await asyncio.gather(self._pulse, return_exceptions=True)
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=STOP_S)
        for task in late:
            log.warning("background loop %s did not end in time and is cut", task.get_name())
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, name: str, work: Round, bell: asyncio.Event) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                pause = await work()
            except Exception as error:
                failures += 1
                pause = min(_LONGEST_BACKOFF_S, 2.0**failures) * random.uniform(0.75, 1.25)  # noqa: S311 - jitter
                _complain(name, error, pause)
                await _nap(self._stop, pause)
                continue
            failures = 0
            self._beat(name)
            await _nap(bell, pause)
            if not self._stop.is_set():
                bell.clear()

    def _beat(self, name: str) -> None:
        if name not in self._troubled:
            self._beats[name] = time.monotonic()

    def _note_trouble(self, done: Pass) -> None:
        """Whether this round of a loop that asks providers got nothing but failures."""
        task = asyncio.current_task()
        name = task.get_name() if task else ""
        if done.failures and len(done.failures) >= done.looked_at:
            self._troubled.add(name)
        else:
            self._troubled.discard(name)

    async def _feel_pulse(self) -> None:
        """Tell a person, once an hour, of a loop that stands still: its work waits meanwhile."""
        while True:
            await asyncio.sleep(PULSE_S)
            for name in self.standing_still():
                log.error("background loop %s stands still", name)
                with contextlib.suppress(PaymentError):  # the database is down: the log is all there is
                    await tell_standstill(self._desk, name)

    async def _missed_round(self) -> float:
        done = Pass()
        await work_missed(self._desk, done)
        self._note_trouble(done)
        if done.fetched:
            self.wake_inbox()
        return MISSED_PAUSE_S * random.uniform(0.75, 1.25)  # noqa: S311 - jitter

    async def _inbox_round(self) -> float:
        done = Pass()
        await work_inbox(self._desk, done, most=1)
        if not (done.events or done.events_failed):
            return INBOX_PAUSE_S
        workers = _INBOX_WORKERS["sqlite" if self._desk.db.is_sqlite() else "postgresql"]
        await asyncio.gather(*(work_inbox(self._desk, done, most=_ROUND) for _ in range(workers)))
        for lag in done.lags:
            self.on_lag(lag)
        log.info("inbox: %s", done)
        return 0.0

    async def _refund_round(self) -> float:
        done = Pass()
        await work_refunds(self._desk, done, most=_ROUND)
        if done.looked_at:
            self._note_trouble(done)
        return 0.0 if done.looked_at else REFUND_PAUSE_S

    async def _outbox_round(self) -> float:
        done = Pass()
        if time.monotonic() >= self._next_check:
            self._next_check = time.monotonic() + STALLED_CHECK_S
            await alert_stalled_work(self._desk)
        await work_outbox(self._desk, done, most=_OUTBOX_ROUND)
        return 0.0 if done.delivered else OUTBOX_PAUSE_S

    async def _tend_round(self) -> float:
        await check_provider_health(self._desk)
        return TEND_PAUSE_S

    async def _watch_round(self) -> float:
        done = Pass()
        await work_watch(self._desk, done, most=BATCH)
        if done.looked_at:
            self._note_trouble(done)
            log.debug("watch: %s", done)
            return 0.0
        async with self._desk.db.reading() as session:
            due = await payments.next_due_at(session)
        if due is None:
            return WATCH_PAUSE_S
        return min(WATCH_PAUSE_S, max(0.05, (due - self._desk.clock()).total_seconds()))


def _complain(name: str, error: Exception, pause: float) -> None:
    if isinstance(error, PaymentError):
        log.warning("background loop %s: %s; again in %.0f s", name, error.message, pause)
    else:
        log.error("background loop %s met a bug; again in %.0f s", name, pause, exc_info=error)


async def _nap(bell: asyncio.Event, seconds: float) -> None:
    """Sleep, at most until the bell rings; 0 lets the others run."""
    if seconds <= 0:
        await asyncio.sleep(0)
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await bell.wait()
