"""Decide when a Kaspi payment is polled again, and when it has expired.

Kaspi sends no events. A QR that is never scanned stays ``QrTokenCreated`` for ever, so we expire it
ourselves. Reaching our deadline means "unknown", never "failed": a payment can still become ``Processed``
after it, so it is polled once more later.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from procomp_pay.domain.events import EventType
from procomp_pay.domain.states import Channel

#: Kaspi's usual time limits and interval, in seconds, for a payment whose response lacks them.
USUAL_SCAN_S = 180
USUAL_CONFIRM_S = 65
USUAL_INTERVAL_S = 5
#: How long an invoice to a phone can be paid, in seconds.
REMOTE_LIFE_S = 24 * 3600
#: Time between Kaspi's own deadline and our final poll.
MARGIN = timedelta(seconds=30)
_PAUSES = (
    (timedelta(minutes=10), timedelta(minutes=1)),
    (timedelta(days=1), timedelta(minutes=10)),
)


@dataclass(frozen=True, slots=True)
class KaspiSchedule:
    """The deadlines and the polling interval of a payment at Kaspi.

    :param scan_until: a QR that is not scanned by then can no longer be paid.
    :param scanned_at: when the status ``Wait`` was first seen.
    :param confirm_s: seconds that the customer has to confirm after the scan.
    :param interval_s: seconds between two polls, as given by Kaspi.
    :param on_event: an invoice to a phone, which Kaspi does not allow to be polled on a timer: it is polled
        once, when it expires.
    """

    scan_until: datetime
    scanned_at: datetime | None
    confirm_s: int
    interval_s: int
    on_event: bool = False

    @property
    def over_at(self) -> datetime:
        """The time from which a payment that Kaspi still reports as waiting is EXPIRED."""
        if self.scanned_at is None:
            return self.scan_until
        return self.scanned_at + timedelta(seconds=self.confirm_s)

    @property
    def final_poll_at(self) -> datetime:
        """The time of the last poll: both time limits of Kaspi have passed."""
        return max(self.scan_until, self.over_at) + timedelta(seconds=self.confirm_s) + MARGIN


def schedule_for(
    channel: Channel,
    sent_at: datetime,
    *,
    expires_at: datetime | None,
    scanned_at: datetime | None,
    scan_timeout_s: int | None,
    confirm_timeout_s: int | None,
    interval_s: int | None = None,
) -> KaspiSchedule:
    """Return the schedule of a payment, with the usual time limits if Kaspi's response was lost.

    :param sent_at: when the request was sent to Kaspi.
    """
    if channel is Channel.KASPI_REMOTE:
        ends = expires_at or sent_at + timedelta(seconds=REMOTE_LIFE_S)
        return KaspiSchedule(
            scan_until=ends, scanned_at=None, confirm_s=0, interval_s=REMOTE_LIFE_S, on_event=True
        )
    return KaspiSchedule(
        scan_until=expires_at or sent_at + timedelta(seconds=scan_timeout_s or USUAL_SCAN_S),
        scanned_at=scanned_at,
        confirm_s=confirm_timeout_s or USUAL_CONFIRM_S,
        interval_s=interval_s or USUAL_INTERVAL_S,
    )


@dataclass(frozen=True, slots=True)
class NextPoll:
    """The conclusion from a polled status.

    :param event_type: ``EXPIRED`` if a deadline passed, else the event that Kaspi's status means.
    :param final: the payment can no longer be paid and is not polled again.
    :param at: time of the next poll.
    :param stuck: both time limits have passed and Kaspi still reports no result; for manual review.
    """

    event_type: EventType | None
    final: bool
    at: datetime | None
    stuck: bool = False


def next_poll_after(
    schedule: KaspiSchedule,
    event_type: EventType | None,
    final: bool,
    now: datetime,
    *,
    unclear: bool = False,
) -> NextPoll:
    """Return the conclusion from a status that was polled at ``now``.

    :param unclear: Kaspi does not report that it waits for a scan: the QR was scanned, or the status is
        unknown. Then our clock alone does not end the payment.
    """
    if final:
        return NextPoll(event_type, final=True, at=None)
    if schedule.on_event and now < schedule.final_poll_at:
        return NextPoll(event_type, final=False, at=schedule.final_poll_at)
    if now < schedule.over_at:
        return NextPoll(event_type, final=False, at=now + timedelta(seconds=schedule.interval_s))
    if now < schedule.final_poll_at:
        return NextPoll(EventType.EXPIRED, final=False, at=schedule.final_poll_at)
    if unclear:
        return NextPoll(
            EventType.EXPIRED, final=False, at=now + _pause(now - schedule.final_poll_at), stuck=True
        )
    return NextPoll(EventType.EXPIRED, final=True, at=None)


def _pause(beyond: timedelta) -> timedelta:
    """Return the time until the next poll: longer and longer, but polling never stops."""
    for limit, pause in _PAUSES:
        if beyond < limit:
            return pause
    return timedelta(hours=6)
