"""Write times, days, amounts, counts and pages for the terminal. Times are Almaty's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.language import language
from procomp_pay.domain.errors import Refused
from procomp_pay.domain.language import Language
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from decimal import Decimal
    from zoneinfo import ZoneInfo

    from procomp_pay.domain.money import Money


def print_page(views: Sequence[Any], next_cursor: str | None) -> None:
    """Print a page as JSON."""
    console.print_json({"items": [view.full() for view in views], "next_cursor": next_cursor})


_SPACE = "\N{NO-BREAK SPACE}"


def almaty() -> ZoneInfo:
    """Return the time zone of the tournaments: the terminal shows the time of the clock in the hall."""
    from procomp_pay.domain.almaty import ALMATY

    return ALMATY


def clock_time(at: datetime, now: datetime | None = None) -> str:
    """Format a time: ``14:05`` today, ``Sat 2 May 14:05`` on another day, with the year in another year."""
    local, today = at.astimezone(almaty()), (now or datetime.now(UTC)).astimezone(almaty())
    if local.date() == today.date():
        return f"{local:%H:%M}"
    if language() is not Language.ENGLISH:
        return f"{local:%d.%m}{'' if local.year == today.year else f'.{local.year}'} {local:%H:%M}"
    year = "" if local.year == today.year else f" {local.year}"
    return f"{local:%a} {local.day} {local:%b}{year} {local:%H:%M}"


def day_of(at: datetime) -> str:
    """Format a day: ``Sat 2 May``."""
    local = at.astimezone(almaty())
    if language() is not Language.ENGLISH:
        return f"{local:%d.%m.%Y}"
    return f"{local:%a} {local.day} {local:%b}"


def exact_time(at: datetime) -> str:
    """Format a time of day: ``14:05:07``."""
    return f"{at.astimezone(almaty()):%H:%M:%S}"


_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def date_of(text: str) -> date:
    """Parse a date: ``2026-05-01``, or ``01.05.2026`` as it is written in Kazakhstan.

    :raises ValueError: it is neither.
    """
    written = text.strip()
    if "." in written:
        written = "-".join(part.zfill(2) for part in reversed(written.split(".")))
    return date.fromisoformat(written)


def day(text: str | None, name: str, zone: ZoneInfo | None = None) -> date | None:
    """Parse a day: a date, ``today``, ``yesterday``, or the last ``monday``, which may be today.

    :param name: the option it was given with, for the error.
    :param zone: of today; Almaty's by default.
    :raises Refused: it is not a day.
    """
    if text is None:
        return None
    word, today = text.strip().lower(), datetime.now(zone or almaty()).date()
    if word in ("today", "yesterday"):
        return today - timedelta(days=word == "yesterday")
    if word in _WEEKDAYS:
        return today - timedelta(days=(today.weekday() - _WEEKDAYS.index(word)) % 7)
    try:
        return date_of(text)
    except ValueError:
        raise Refused(
            N_("%(name)s %(text)s is not a day", name=name, text=repr(text[:24])),
            next_step=N_("write it as %(name)s 2026-05-01, today, yesterday or monday", name=name),
        ) from None


def day_begins(of: date, *, plus_days: int = 0) -> datetime:
    """Return the first instant of a day in Almaty, in UTC.

    :raises Refused: the day is at the end of the calendar.
    """
    try:
        return datetime.combine(of + timedelta(days=plus_days), time.min, almaty()).astimezone(UTC)
    except OverflowError:
        raise Refused(N_("%(of)s is outside the calendar", of=of)) from None


def left(until: datetime, now: datetime) -> str:
    """Format the time left: ``2:59``; ``0:00`` when it is over."""
    return duration(max(0, int((until - now).total_seconds())))


def duration(seconds: int) -> str:
    """Format a duration: ``0:41``, ``12:05``, ``1:02:03``; days as hours."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def money(value: Money) -> str:
    """Format an amount with its currency: ``24000.00 KZT``, ``24 000 ₸`` in another language."""
    if language() is Language.ENGLISH:
        return str(value)
    from procomp_pay.translations import Translation

    return Translation(language()).short_money(value)


def amount(value: Decimal) -> str:
    """Format an amount: ``24 000.00``, in another language ``24 000,00``, with no-break spaces."""
    text = f"{value:,.2f}".replace(",", _SPACE)
    return text if language() is Language.ENGLISH else text.replace(".", ",")


def total(value: Decimal, currency: str) -> str:
    """Format an amount with its currency as sums are shown, which may exceed what :func:`money` takes:
    ``24 000,00 KZT``."""
    return f"{amount(value)}{_SPACE}{currency}"


def count(number: int) -> str:
    """Format a count: ``24 000``, with no-break spaces."""
    return f"{number:,}".replace(",", _SPACE)


def counted(number: int, name: str) -> str:
    """Format a count with its noun: ``1 chain``, ``2 chains``, ``2 entries``."""
    if number == 1:
        return f"1 {name}"
    return f"{number} {name.removesuffix('y')}ies" if name.endswith("y") else f"{number} {name}s"
