"""Kaspi's timers: looked at until both have passed, and once more after our own end."""

from datetime import UTC, datetime, timedelta

from procomp_pay.domain.events import EventType
from procomp_pay.domain.kaspi_schedule import KaspiSchedule, next_poll_after

T0 = datetime(2026, 5, 1, 9, 0, tzinfo=UTC)
LIFE = KaspiSchedule(T0 + timedelta(seconds=180), None, confirm_s=65, interval_s=5)
SCANNED = KaspiSchedule(T0 + timedelta(seconds=180), T0 + timedelta(seconds=170), confirm_s=65, interval_s=5)


def at(seconds: int) -> datetime:
    return T0 + timedelta(seconds=seconds)


def test_waiting_is_asked_again_at_kaspis_interval() -> None:
    look = next_poll_after(LIFE, None, final=False, now=at(10))
    assert (look.event_type, look.final, look.at) == (None, False, at(15))


def test_never_scanned_expires_after_a_last_look_and_is_asked_once_more() -> None:
    look = next_poll_after(LIFE, None, final=False, now=at(180))
    assert (look.event_type, look.final, look.at) == (EventType.EXPIRED, False, at(180 + 65 + 30))
    assert look.at is not None
    assert next_poll_after(LIFE, None, final=False, now=look.at).final


def test_a_scan_in_the_last_seconds_has_its_own_time() -> None:
    assert (
        next_poll_after(SCANNED, EventType.PROCESSING, final=False, now=at(200)).event_type
        is EventType.PROCESSING
    )
    assert (
        next_poll_after(SCANNED, EventType.PROCESSING, final=False, now=at(236)).event_type
        is EventType.EXPIRED
    )


def test_what_kaspi_calls_final_ends_it() -> None:
    look = next_poll_after(LIFE, EventType.SUCCEEDED, final=True, now=at(900))
    assert (look.event_type, look.final, look.at) == (EventType.SUCCEEDED, True, None)
