"""The date forms that Kaspi's document and live answers show, made from Unix seconds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

ALMATY: Final = ZoneInfo("Asia/Almaty")

CYCLE: Final = "cycle"
DEFAULT_FORM: Final = "+05:00"
FORMS: Final = (DEFAULT_FORM, "+05", "fraction3", "fraction7", "unpadded-day")
CHOICES: Final = (*FORMS, CYCLE)


def _offset(moment: datetime) -> str:
    return moment.isoformat()[-6:]


def write_date(unix_seconds: float, form: str) -> str:
    """Return a time as Kaspi writes it, in Almaty time; `form` is one of FORMS.

    The forms: `2026-11-03T12:03:00+05:00`, `…+05`, `….166+05:00`, `….1660000` with no offset at all, and
    `2026-11-3T12:03:00.166+05:00` with a one-digit day. Fractions of a second are cut, never rounded up.

    Raises ValueError for an unknown form.
    """
    moment = datetime.fromtimestamp(unix_seconds, ALMATY)
    date = f"{moment:%Y-%m-}{moment.day:02d}"
    time = f"{moment:%H:%M:%S}"
    offset = _offset(moment)
    millis = f"{moment.microsecond // 1000:03d}"
    match form:
        case "+05:00":
            return f"{date}T{time}{offset}"
        case "+05":
            return f"{date}T{time}{offset[:3]}"
        case "fraction3":
            return f"{date}T{time}.{millis}{offset}"
        case "fraction7":
            return f"{date}T{time}.{moment.microsecond:06d}0"
        case "unpadded-day":
            return f"{moment:%Y-%m-}{moment.day}T{time}.{millis}{offset}"
        case _:
            raise ValueError(f"Unknown date form {form!r}; one of {', '.join(FORMS)}")


def utc_text(unix_seconds: float | None) -> str | None:
    """Return a time for the control pages: ISO 8601 in UTC, or None."""
    if unix_seconds is None:
        return None
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="milliseconds")


def almaty_stamp(unix_seconds: float) -> str:
    """Return a time as the bill protocol writes it: `20261103120300`, in Almaty time."""
    return f"{datetime.fromtimestamp(unix_seconds, ALMATY):%Y%m%d%H%M%S}"
