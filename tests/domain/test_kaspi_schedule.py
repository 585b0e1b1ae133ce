"""Kaspi's polling schedule: until both time limits have passed, and once more after that."""

from datetime import UTC, datetime, timedelta

from procomp_pay.domain.events import EventType
from procomp_pay.domain.kaspi_schedule import KaspiSchedule, next_poll_after

T0 = datetime(2026, 5, 1, 9, 0, tzinfo=UTC)
SCHEDULE = KaspiSchedule(T0 + timedelta(seconds=180), None, confirm_s=65, interval_s=5)
SCANNED = KaspiSchedule(T0 + timedelta(seconds=180), T0 + timedelta(seconds=170), confirm_s=65, interval_s=5)


def at(seconds: int) -> datetime:
    return T0 + timedelta(seconds=seconds)


def test_a_waiting_payment_is_polled_at_kaspis_interval() -> None:
    poll = next_poll_after(SCHEDULE, None, final=False, now=at(10))
    assert (poll.event_type, poll.final, poll.at) == (None, False, at(15))


def test_an_unscanned_payment_expires_and_is_polled_once_more() -> None:
    poll = next_poll_after(SCHEDULE, None, final=False, now=at(180))
    assert (poll.event_type, poll.final, poll.at) == (EventType.EXPIRED, False, at(180 + 65 + 30))
    assert poll.at is not None
    assert next_poll_after(SCHEDULE, None, final=False, now=poll.at).final


def test_a_late_scan_has_the_full_time_to_confirm() -> None:
    assert (
        next_poll_after(SCANNED, EventType.PROCESSING, final=False, now=at(200)).event_type
        is EventType.PROCESSING
    )
    assert (
        next_poll_after(SCANNED, EventType.PROCESSING, final=False, now=at(236)).event_type
        is EventType.EXPIRED
    )


def test_a_final_status_ends_polling() -> None:
    poll = next_poll_after(SCHEDULE, EventType.SUCCEEDED, final=True, now=at(900))
    assert (poll.event_type, poll.final, poll.at) == (EventType.SUCCEEDED, True, None)
