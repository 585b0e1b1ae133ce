"""When a Kaspi payment is looked at again, and when it is over.

Kaspi sends no events. A QR that was never scanned stays ``QrTokenCreated`` for ever: it is we who call it
expired, after one last look. Our own deadline means "unknown", never "failed": a payment can turn
``Processed`` after it, so there is one more look later.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from procomp_pay.domain.events import EventType
from procomp_pay.domain.states import Channel

#: Kaspi's usual timers, in seconds, for a payment whose answer was lost.
USUAL_SCAN_S = 180
USUAL_CONFIRM_S = 65
#: How long an invoice to a phone can be paid, in seconds.
REMOTE_LIFE_S = 24 * 3600
#: Between Kaspi's own end and our last look.
MARGIN = timedelta(seconds=30)
_PAUSES = (
    (timedelta(minutes=10), timedelta(minutes=1)),
    (timedelta(days=1), timedelta(minutes=10)),
)


@dataclass(frozen=True, slots=True)
class KaspiSchedule:
    """A payment's times at Kaspi.

    :param scan_until: after this a QR that was not scanned is dead.
    :param scanned_at: when ``Wait`` was first seen.
    :param confirm_s: seconds from the scan in which the customer confirms.
    :param interval_s: seconds between two looks, as Kaspi gives them.
    :param on_event: an invoice to a phone: Kaspi forbids looks on a timer; there is one, at its end.
    """

    scan_until: datetime
    scanned_at: datetime | None
    confirm_s: int
    interval_s: int
    on_event: bool = False

    @property
    def over_at(self) -> datetime:
        """From here on it is called expired if Kaspi still says that it waits."""
        if self.scanned_at is None:
            return self.scan_until
        return self.scanned_at + timedelta(seconds=self.confirm_s)

    @property
    def final_poll_at(self) -> datetime:
        """Both of Kaspi's time-outs have passed: after this look nobody asks again."""
        return max(self.scan_until, self.over_at) + timedelta(seconds=self.confirm_s) + MARGIN


def schedule_for(
    channel: Channel,
    born: datetime,
    *,
    expires_at: datetime | None,
    scanned_at: datetime | None,
    scan_timeout_s: int | None,
    confirm_timeout_s: int | None,
    interval_s: int | None = None,
) -> KaspiSchedule:
    """A payment's times, with the usual timers where its answer was lost.

    :param born: when it was sent to Kaspi.
    """
    if channel is Channel.KASPI_REMOTE:
        ends = expires_at or born + timedelta(seconds=REMOTE_LIFE_S)
        return KaspiSchedule(
            scan_until=ends, scanned_at=None, confirm_s=0, interval_s=REMOTE_LIFE_S, on_event=True
        )
    return KaspiSchedule(
        scan_until=expires_at or born + timedelta(seconds=scan_timeout_s or USUAL_SCAN_S),
        scanned_at=scanned_at,
        confirm_s=confirm_timeout_s or USUAL_CONFIRM_S,
        interval_s=interval_s or 5,
    )


@dataclass(frozen=True, slots=True)
class NextPoll:
    """What a look means.

    :param news: ``EXPIRED`` where time is what ended it, else what Kaspi said.
    :param final: no more looks; nothing can come any more.
    :param at: when to look again.
    :param stuck: both time-outs have passed and Kaspi still has not said how it ended: for a person.
    """

    event_type: EventType | None
    final: bool
    at: datetime | None
    stuck: bool = False


def next_poll_after(
    life: KaspiSchedule, news: EventType | None, final: bool, now: datetime, *, unclear: bool = False
) -> NextPoll:
    """What follows from a status that was asked at ``now``.

    :param unclear: Kaspi does not say that it waits for a scan: it was scanned, or the word is not known.
        Then nothing is over by our clock alone.
    """
    if final:
        return NextPoll(news, final=True, at=None)
    if life.on_event and now < life.final_poll_at:
        return NextPoll(news, final=False, at=life.final_poll_at)
    if now < life.over_at:
        # never before the interval is over, and once right at the end
        return NextPoll(news, final=False, at=now + timedelta(seconds=life.interval_s))
    if now < life.final_poll_at:
        return NextPoll(EventType.EXPIRED, final=False, at=life.final_poll_at)
    if unclear:
        return NextPoll(EventType.EXPIRED, final=False, at=now + _pause(now - life.final_poll_at), stuck=True)
    return NextPoll(EventType.EXPIRED, final=True, at=None)


def _pause(beyond: timedelta) -> timedelta:
    """The longer it stays unclear, the more seldom it is asked; never not at all."""
    for limit, pause in _PAUSES:
        if beyond < limit:
            return pause
    return timedelta(hours=6)
