"""Background work of a server: handle stored events at once, poll each open payment when it is due."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from procomp_pay.domain.errors import PaymentError, fault_of
from procomp_pay.domain.states import KASPI_CHANNELS, STRIPE_CHANNELS, Channel
from procomp_pay.services.context import AppContext
from procomp_pay.services.maintenance.health_alerts import (
    alert_stalled_work,
    alert_standstill,
    alert_unknown_labels,
    check_provider_health,
)
from procomp_pay.services.maintenance.run import (
    BATCH,
    Pass,
    work_inbox,
    work_missed,
    work_outbox,
    work_refunds,
    work_retention,
    work_search_keys,
    work_watch,
)
from procomp_pay.services.webhooks.batch import AT_ONCE
from procomp_pay.storage.payments import repository as payments

log = logging.getLogger(__name__)

#: Seconds between two reads of an inbox that nothing was put into: other processes may have stored events.
INBOX_PAUSE_S = 1.0
#: The longest sleep of a watcher, in seconds: other processes may have started payments.
WATCH_PAUSE_S = 5.0
#: Seconds between two reads of the refunds that are due; each has a time of its own.
REFUND_PAUSE_S = 5.0
#: Seconds between two reads of the outbox.
OUTBOX_PAUSE_S = 2.0
#: Seconds between two checks for stalled work, of other processes as well.
STALLED_CHECK_S = 60.0
#: Seconds between two checks for missed events; of several processes the first one reads.
MISSED_PAUSE_S = 20.0
#: Seconds between two checks of the loops themselves.
PULSE_S = 15.0
#: Seconds between two checks of the circuit breakers and of the certificate.
TEND_PAUSE_S = 5.0
#: Seconds between two checks whether old rows are to be pruned.
PRUNE_PAUSE_S = 20.0
#: Side by side for each provider, so that a batch with a slow answer does not delay the others' polls.
_WATCHERS = 2
#: Each provider has loops of its own: one that hangs never delays the other's payments.
_PROVIDERS = {"kaspi": KASPI_CHANNELS, "stripe": STRIPE_CHANNELS}
#: Batches of events in a round of the inbox.
_BATCHES = 50
#: Seconds in which more events gather after a batch that was not full: a small one costs nearly as much as a
#: large one.
GATHER_S = 0.02
#: Deliveries to one destination in a round; the others wait for the round's slowest one.
_OUTBOX_BATCH_SIZE = 20
_LONGEST_BACKOFF_S = 30.0
#: A loop that has had no good round for longer (seconds) is stalled.
STALLED_AFTER_S = 120.0
#: A round that lasts longer (seconds) will never end: every statement and every call has a limit.
HUNG_AFTER_S = 600.0
#: How long the work in hand may take at the end, in seconds; a provider's call is over sooner.
STOP_S = 25.0


@dataclass(eq=False, slots=True)
class Loop:
    """Work that is repeated until the server stops.

    :param work: one round; returns the seconds to sleep until the next, 0 where there may be more to do.
    """

    name: str
    work: Callable[[Loop], Awaitable[float]]
    #: Ends the sleep between two rounds.
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    #: When the last good round ended, and the last one, good or failed by a provider; monotonic clock.
    succeeded_at: float = field(default_factory=time.monotonic)
    worked_at: float = field(default_factory=time.monotonic)
    #: When the present round began, or last made progress; None between two rounds.
    busy_since: float | None = None
    #: When its present sleep ends; None while it works.
    asleep_until: float | None = None
    #: The last round got nothing from a provider but failures.
    is_failing: bool = False
    task: asyncio.Task[None] | None = None

    @property
    def has_ended(self) -> bool:
        return self.task is not None and self.task.done()

    @property
    def is_stalled(self) -> bool:
        """True where the loop has ended, hangs in a round, or fails in every round."""
        return self.has_ended or time.monotonic() - self.succeeded_at > STALLED_AFTER_S

    @property
    def stands_still(self) -> bool:
        """True where the loop is stalled, and no provider is the reason."""
        return self.has_ended or time.monotonic() - self.worked_at > STALLED_AFTER_S

    @property
    def is_lost(self) -> bool:
        """True where the loop cannot be expected to go on."""
        hung = self.busy_since is not None and time.monotonic() - self.busy_since > HUNG_AFTER_S
        return self.has_ended or hung

    def note_failures(self, result: Pass) -> None:
        """Note whether this round got nothing from a provider but failures; one without work clears it."""
        self.is_failing = bool(result.failures) and len(result.failures) >= result.looked_at

    def note_progress(self) -> None:
        """Note that the present round, which may be long, gets on."""
        self.busy_since = self.worked_at = self.succeeded_at = time.monotonic()


class Background:
    """The loops of one process. Any number of processes share one database: rows are claimed."""

    def __init__(self, ctx: AppContext) -> None:
        self._ctx = ctx
        self._inbox = Loop("inbox", self._handle_events)
        self._watchers = [
            (channels, Loop(f"watch-{provider}-{n}", partial(self._poll_payments, channels)))
            for provider, channels in _PROVIDERS.items()
            for n in range(1, _WATCHERS + 1)
        ]
        self._loops = [
            self._inbox,
            *(
                Loop(f"refunds-{provider}", partial(self._send_refunds, channels))
                for provider, channels in _PROVIDERS.items()
            ),
            Loop("outbox", self._deliver_messages),
            Loop("missed events", self._fetch_missed_events),
            Loop("providers", self._check_providers),
            Loop("retention", self._prune),
            Loop("search keys", self._store_search_keys),
            *(loop for _, loop in self._watchers),
        ]
        self._stop = asyncio.Event()
        self._stop_by: float | None = None
        self._supervisor: asyncio.Task[None] | None = None
        #: Called, once, with the name of a loop that cannot be expected to go on.
        self.on_lost: Callable[[str], None] = lambda _: None
        #: Called with the seconds that each event waited.
        self.on_lag: Callable[[float], None] = lambda _: None
        # not at once: what waited while no process ran is being done now
        self._next_stalled_check = time.monotonic() + STALLED_CHECK_S

    def wake_inbox(self) -> None:
        """Handle a stored event now."""
        self._inbox.wake.set()

    def wake_watch(self, channel: Channel | None = None, due_at: datetime | None = None) -> None:
        """Look for due payments now, or where the next one of a channel is due before a look is planned.

        :param channel: of a payment that was started; ``None`` for any.
        :param due_at: when its next poll is due; ``None`` for now.
        """
        due_in = 0.0 if due_at is None else (due_at - self._ctx.clock()).total_seconds()
        due = time.monotonic() + due_in
        for channels, loop in self._watchers:
            is_in_time = loop.asleep_until is not None and loop.asleep_until <= due
            if (channel is None or channel in channels) and not is_in_time:
                loop.wake.set()

    def state(self) -> str:
        """Return ``running``, ``stalled`` (at least one loop stands still) or ``stopped``.

        A provider that fails makes no loop stand still: its own state says so, and the others are served.
        """
        if self._supervisor is None or self._stop.is_set():
            return "stopped"
        return "stalled" if any(loop.stands_still for loop in self._loops) else "running"

    def stalled_loops(self) -> list[str]:
        """Return the names of the loops that ended, hang, or fail in every round."""
        return [loop.name for loop in self._loops if loop.is_stalled]

    def seconds_since_success(self) -> dict[str, float]:
        """Return the seconds since each loop's last good round; each may sleep for a few of them."""
        return {loop.name: time.monotonic() - loop.succeeded_at for loop in self._loops}

    async def start(self) -> None:
        """Start the loops; their first rounds take up what an earlier process left."""
        for loop in self._loops:
            loop.succeeded_at = loop.worked_at = time.monotonic()
            loop.task = asyncio.create_task(self._run(loop), name=loop.name)
        self._supervisor = asyncio.create_task(self._supervise(), name="supervisor")

    def begin_stop(self) -> None:
        """Begin no further round; the work in hand has 25 s from now on."""
        self._stop.set()
        if self._stop_by is None:
            self._stop_by = time.monotonic() + STOP_S
        for loop in self._loops:
            loop.wake.set()

    async def stop(self) -> None:
        """Let the work in hand finish. What takes longer than 25 s is cancelled: its rows bring it back."""
        self.begin_stop()
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        tasks = [loop.task for loop in self._loops if loop.task is not None]
        if not tasks:
            return
        left_s = STOP_S if self._stop_by is None else max(0.0, self._stop_by - time.monotonic())
        _, late = await asyncio.wait(tasks, timeout=left_s)
        for task in late:
            log.warning("background loop %s did not end in time and is cancelled", task.get_name())
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, loop: Loop) -> None:
        failures = 0
        while not self._stop.is_set():
            loop.busy_since = time.monotonic()
            try:
                pause = await loop.work(loop)
            except Exception as error:
                loop.busy_since = None
                failures += 1
                pause = min(_LONGEST_BACKOFF_S, 2.0**failures) * _jitter()
                _log_failure(loop.name, error, pause)
                await _sleep(self._stop, pause)
                continue
            failures = 0
            loop.busy_since, loop.worked_at = None, time.monotonic()
            if not loop.is_failing:
                loop.succeeded_at = loop.worked_at
            loop.asleep_until = time.monotonic() + pause
            await _sleep(loop.wake, pause)
            loop.asleep_until = None
            if not self._stop.is_set():
                loop.wake.clear()

    async def _supervise(self) -> None:
        """Alert an operator, once an hour, to a loop that is stalled: its work waits meanwhile. One that will
        never go on is reported to ``on_lost``: a new process takes its work up."""
        while True:
            asleep_since = time.monotonic()
            await asyncio.sleep(PULSE_S)
            if time.monotonic() - asleep_since > 2 * PULSE_S:
                continue  # the whole process stood still: the loops first get the time to go on
            for loop in self._loops:
                if loop.is_lost:
                    self.on_lost(loop.name)
            for name in self.stalled_loops():
                log.error("background loop %s is stalled", name, extra={"fault": f"stalled: {name}"})
                with contextlib.suppress(PaymentError):  # the database is down: the log is all there is
                    await alert_standstill(self._ctx, name)

    async def _fetch_missed_events(self, loop: Loop) -> float:
        result = Pass()
        await work_missed(self._ctx, result, on_progress=loop.note_progress)
        loop.note_failures(result)
        if result.fetched:
            self.wake_inbox()
        return MISSED_PAUSE_S * _jitter()

    async def _handle_events(self, loop: Loop) -> float:
        result, pause = Pass(), 0.0
        for _ in range(_BATCHES):
            if self._stop.is_set():
                break
            # what is stored from here on may be too late for this batch, and wakes the loop again
            loop.wake.clear()
            before = result.events + result.events_failed
            await work_inbox(self._ctx, result, most=1)
            while result.lags:
                self.on_lag(result.lags.pop())
            handled = result.events + result.events_failed - before
            if not handled:
                pause = INBOX_PAUSE_S
                break
            if handled < AT_ONCE:
                await _sleep(self._stop, GATHER_S)
        if result.events or result.events_failed:
            log.info("inbox: %s", result)
        return pause

    async def _send_refunds(self, channels: Collection[Channel], loop: Loop) -> float:
        result = Pass()
        await work_refunds(self._ctx, result, channels, most=1)
        loop.note_failures(result)
        return 0.0 if result.looked_at else REFUND_PAUSE_S

    async def _deliver_messages(self, _loop: Loop) -> float:
        result = Pass()
        if time.monotonic() >= self._next_stalled_check:
            self._next_stalled_check = time.monotonic() + STALLED_CHECK_S
            await alert_stalled_work(self._ctx)
            await alert_unknown_labels(self._ctx)
        await work_outbox(self._ctx, result, most=_OUTBOX_BATCH_SIZE)
        return 0.0 if result.delivered else OUTBOX_PAUSE_S

    async def _prune(self, loop: Loop) -> float:
        result = Pass()
        await work_retention(self._ctx, result, on_progress=loop.note_progress)
        if result.pruned:
            log.info("retention: %d old rows pruned", result.pruned)
        return PRUNE_PAUSE_S * _jitter()

    async def _store_search_keys(self, loop: Loop) -> float:
        await work_search_keys(self._ctx, Pass(), on_progress=loop.note_progress)
        return PRUNE_PAUSE_S * _jitter()

    async def _check_providers(self, _loop: Loop) -> float:
        await check_provider_health(self._ctx)
        return TEND_PAUSE_S

    async def _poll_payments(self, channels: Collection[Channel], loop: Loop) -> float:
        result = Pass()
        until = self._ctx.clock() + timedelta(seconds=WATCH_PAUSE_S)
        async with self._ctx.db.selecting() as session:
            due = await payments.next_due_at(session, channels, until)
        pause = WATCH_PAUSE_S if due is None else (due - self._ctx.clock()).total_seconds()
        if pause <= 0:  # to claim what is due costs more than to find that nothing is
            await work_watch(self._ctx, result, channels, most=BATCH)
        loop.note_failures(result)
        if result.looked_at:
            log.debug("watch: %s", result)
            return 0.0
        return max(0.05, pause)


def _jitter() -> float:
    """Return a factor around 1, so that several processes do not ask at the same moment."""
    return random.uniform(0.75, 1.25)  # noqa: S311 - not a secret


def _log_failure(name: str, error: Exception, pause: float) -> None:
    if isinstance(error, PaymentError):
        fault = fault_of(error)
        log.warning("background loop %s: %s; again in %.0f s", name, error.message, pause, extra=fault)
    else:
        log.error("background loop %s met a bug; again in %.0f s", name, pause, exc_info=error)


async def _sleep(wake: asyncio.Event, seconds: float) -> None:
    """Sleep until the event is set, or for so many seconds; 0 only lets the other tasks run."""
    if seconds <= 0:
        await asyncio.sleep(0)
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await wake.wait()
