"""Read the dates and times of a statement as points in time."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from procomp_pay.domain.text import N_
from procomp_pay.providers.statements.layout.cells import CellError
from procomp_pay.providers.tabular.cells import Cell, Unusable, is_blank, shown

_DAY = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4}|\d{2})(?:\s*(?:г\.?|ж\.?))?", re.A)
_ISO_DAY = re.compile(r"\d{4}-\d{1,2}-\d{1,2}", re.A)
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,7}))?)?", re.A)
_ZONE = re.compile(r"(?:Z|UTC|([+-])(\d{2})(?::?(\d{2}))?)", re.A | re.I)
_BOTH = re.compile(r"(\S+?)(?:[T,]|\s)\s*(\d{1,2}:.*)", re.A)
_YEARS = range(2000, 2101)
_SPLIT = re.compile(r"(?:\d\d\.\d\d\.\d{4}|\d{4}-\d\d-\d\d)[ T]\S+", re.A)
_PLAIN_TIME = re.compile(r"[ T]?(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d)?", re.A)
#: Day 0 of a workbook's day numbers, and the numbers of the years above.
_SERIAL_ZERO = datetime(1899, 12, 30)  # noqa: DTZ001 - a day number has no zone
_SERIALS = (Decimal(36526), Decimal(73415))
_MOST_CACHED = 100_000


class TimestampReader:
    """Read the date and time cells of one file. Fast, since a day's midnight is computed once.

    :param zone: the zone of times that name none.
    :param form: the ``strptime`` format of the dates, if it is not one of the usual ones.
    """

    def __init__(self, zone: ZoneInfo, form: str | None = None) -> None:
        self._zone = zone
        self._form = form
        self._days: dict[str, datetime] = {}
        self._times: dict[str, timedelta] = {}
        #: Lines whose time of day occurred twice because clocks were set back: read as the first occurrence.
        self.unsure = 0
        #: Lines with a day and no time of day.
        self.days_alone = 0

    def read(self, day: Cell, clock: Cell | None = None) -> datetime:
        """Return the time of a line in UTC.

        :param clock: the cell of the time column, ``None`` if there is no such column.
        :raises CellError: not a date, no such date, or no such time in the zone.
        """
        if type(day) is str:
            if clock is None:
                header, tail = day[:10], day[10:]
            elif type(clock) is str:
                header, tail = day, clock
            else:
                return self._slowly(day, clock)
            midnight = self._days.get(header)
            if midnight is not None:
                offset = self._times.get(tail)
                if offset is not None:
                    return midnight + offset
                if _PLAIN_TIME.fullmatch(tail):
                    return midnight + self._new_time(tail)
        return self._slowly(day, clock)

    def midnight(self, day: str) -> datetime | None:
        """Return the midnight of a day that was read before, if clocks do not change around it."""
        return self._days.get(day)

    def _new_time(self, tail: str) -> timedelta:
        hour, minute, *second = tail.lstrip(" T").split(":")
        offset = timedelta(hours=int(hour), minutes=int(minute), seconds=int(second[0]) if second else 0)
        if len(self._times) >= _MOST_CACHED:
            self._times.clear()
        self._times[tail] = offset
        return offset

    def _slowly(self, day: Cell, clock: Cell | None) -> datetime:
        on, at, zone = self._parts(day, clock)
        if on.year not in _YEARS:
            raise CellError(N_("“%(value)s” is not a date from 2000 to 2100", value=shown(day)))
        if at is None:
            self.days_alone += 1
            at = time()
        naive = datetime.combine(on, at)
        if zone is not None:
            return (naive - zone).replace(tzinfo=UTC)
        moment = self._local(naive)
        self._keep(day, clock, naive, moment)
        return moment

    def _keep(self, day: Cell, clock: Cell | None, naive: datetime, moment: datetime) -> None:
        """Remember the midnight of a day around which clocks do not change."""
        if not isinstance(day, str) or self._form is not None:
            return
        # with a day of one digit, "1.1.2026 1" would be cut off as the day
        header = day if clock is not None else day[:10] if _SPLIT.fullmatch(day) else ""
        if not header or ":" in header:
            return
        since = datetime.combine(naive.date(), time())
        around = {self._offset(since + timedelta(days=days)) for days in (-1, 0, 1)}
        if len(around) > 1:
            return
        if len(self._days) >= _MOST_CACHED:
            self._days.clear()
        self._days[header] = moment - (naive - since)

    def _offset(self, naive: datetime) -> timedelta | None:
        return naive.replace(tzinfo=self._zone).utcoffset()

    def _local(self, naive: datetime) -> datetime:
        first, second = (naive.replace(tzinfo=self._zone, fold=fold) for fold in (0, 1))
        moment = first.astimezone(UTC)
        if first.utcoffset() == second.utcoffset():
            return moment
        if moment.astimezone(self._zone).replace(tzinfo=None) != naive:
            raise CellError(
                N_(
                    "%(time)s does not exist in %(zone)s: the clocks were set forward",
                    time=naive,
                    zone=self._zone.key,
                )
            )
        self.unsure += 1
        return moment

    def _parts(self, day: Cell, clock: Cell | None) -> tuple[date, time | None, timedelta | None]:
        """Return the day, the time of day if there is one, and the UTC offset if the file names it."""
        on, at, zone = self._day(day)
        if clock is not None and not is_blank(clock):
            if at not in (None, time()):
                raise CellError(
                    N_("“%(value)s” has a time of day, but there is a time column too", value=shown(day))
                )
            at, zone = _clock(clock)
        return on, at, zone

    def _day(self, cell: Cell) -> tuple[date, time | None, timedelta | None]:
        if isinstance(cell, datetime):
            return cell.date(), None if cell.time() == time() else cell.time(), None
        if isinstance(cell, timedelta):
            cell = _serial(cell)
        if isinstance(cell, Decimal):
            return _from_serial(cell)
        if not isinstance(cell, str):
            raise CellError(cell.why if isinstance(cell, Unusable) else _not_a_date(cell))
        text = cell.strip()
        if not text:
            raise CellError(N_("there is no date"))
        if self._form is not None:
            return self._by_form(text)
        both = _BOTH.fullmatch(text)
        if both is None:
            return _text_day(text, cell), None, None
        return _text_day(both[1], cell), *_clock(both[2])

    def _by_form(self, text: str) -> tuple[date, time | None, timedelta | None]:
        form = self._form or ""
        try:
            at = datetime.strptime(text, form)  # noqa: DTZ007 - the zone is the file's
        except ValueError:
            raise CellError(
                N_("“%(value)s” is not a date of the form %(form)s", value=shown(text), form=form)
            ) from None
        return at.date(), at.time() if "%H" in form or "%I" in form else None, at.utcoffset()


def _not_a_date(cell: Cell) -> str:
    return N_("“%(value)s” is not a date", value=shown(cell))


def _not_a_time(cell: Cell) -> str:
    return N_("“%(value)s” is not a time of day", value=shown(cell))


def _text_day(text: str, cell: Cell) -> date:
    try:
        if _ISO_DAY.fullmatch(text):
            year, month, day = (int(number) for number in text.split("-"))
            return date(year, month, day)
        match = _DAY.fullmatch(text)
        if match is not None:
            year = int(match[3]) + (2000 if len(match[3]) == 2 else 0)
            return date(year, int(match[2]), int(match[1]))
    except ValueError:
        raise CellError(N_("“%(value)s” is not a day of the calendar", value=shown(cell))) from None
    raise CellError(N_("“%(value)s” is not a date; write it as 31.12.2026 or 2026-12-31", value=shown(cell)))


def _clock(cell: Cell) -> tuple[time, timedelta | None]:
    if isinstance(cell, time):
        return cell, None
    if isinstance(cell, datetime):
        return cell.time(), None  # a time that is stored with a spreadsheet's first day
    if isinstance(cell, timedelta):
        cell = _serial(cell)
    if isinstance(cell, Decimal) and 0 <= cell < 1:
        return (_SERIAL_ZERO + _days(cell)).time(), None
    if not isinstance(cell, str):
        raise CellError(cell.why if isinstance(cell, Unusable) else _not_a_time(cell))
    text = cell.strip()
    match = _TIME.match(text)
    rest = text[match.end() :].strip() if match else ""
    zone = _ZONE.fullmatch(rest) if rest else None
    if match is None or (rest and zone is None):
        raise CellError(_not_a_time(cell))
    try:
        fraction = int((match[4] or "").ljust(6, "0")[:6])
        at = time(int(match[1]), int(match[2]), int(match[3] or 0), fraction)
    except ValueError:
        raise CellError(_not_a_time(cell)) from None
    return at, _read_zone(zone) if zone else None


def _read_zone(zone: re.Match[str]) -> timedelta:
    away = timedelta(hours=int(zone[2] or 0), minutes=int(zone[3] or 0))
    return -away if zone[1] == "-" else away


def _from_serial(cell: Decimal) -> tuple[date, time | None, None]:
    if not _SERIALS[0] <= cell <= _SERIALS[1]:
        raise CellError(_not_a_date(cell))
    moment = _SERIAL_ZERO + _days(cell)
    return moment.date(), None if moment.time() == time() else moment.time(), None


def _serial(duration: timedelta) -> Decimal:
    """Return a duration in days: a workbook may show a day or a time of day as hours."""
    return Decimal(repr(duration.total_seconds())) / 86400


def _days(serial: Decimal) -> timedelta:
    """Return a binary fraction of days, rounded to the second that is meant."""
    return timedelta(seconds=int((serial * 86400).to_integral_value()))
