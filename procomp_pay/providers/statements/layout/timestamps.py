"""Dates and times of a statement, as points in time."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

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
#: A workbook's serial number of a day, and the ones that the years above have.
_SERIAL_ZERO = datetime(1899, 12, 30)  # noqa: DTZ001 - a day's number knows no zone
_SERIALS = (Decimal(36526), Decimal(73415))
_MOST_CACHED = 100_000


class TimestampReader:
    """Reads the date and time cells of one file. Quick: a day's midnight is worked out once.

    :param zone: of times that name none.
    :param form: a ``strptime`` form, where the file's own is not one of the usual ones.
    """

    def __init__(self, zone: ZoneInfo, form: str | None = None) -> None:
        self._zone = zone
        self._form = form
        self._days: dict[str, datetime] = {}
        self._times: dict[str, timedelta] = {}
        #: Lines whose time of day came twice, as clocks were put back: read as the first.
        self.unsure = 0
        #: Lines with a day and no time of day.
        self.days_alone = 0

    def read(self, day: Cell, clock: Cell | None = None) -> datetime:
        """The moment of a line.

        :param clock: the cell of the time column, ``None`` where there is none.
        :raises CellError: no date, no such date, or no such time in the zone.
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
        """That of a day which was read, and on which the clocks are not changed."""
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
            raise CellError(f"“{shown(day)}” is no date of this century")
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
        """Remember the midnight of a day on which the clocks are not changed."""
        if not isinstance(day, str) or self._form is not None:
            return
        # a day of one digit would lend the time's first digit to the day
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
            raise CellError(f"{naive} is no time in {self._zone.key}: the clocks were put on")
        self.unsure += 1
        return moment

    def _parts(self, day: Cell, clock: Cell | None) -> tuple[date, time | None, timedelta | None]:
        """Day, time of day where there is one, and offset where the file names it."""
        on, at, zone = self._day(day)
        if clock is not None and not is_blank(clock):
            if at not in (None, time()):
                raise CellError(f"“{shown(day)}” has a time of day and there is a time column too")
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
            raise CellError(cell.why if isinstance(cell, Unusable) else f"“{shown(cell)}” is no date")
        text = cell.strip()
        if not text:
            raise CellError("there is no date")
        if self._form is not None:
            return self._by_form(text)
        both = _BOTH.fullmatch(text)
        if both is None:
            return _text_day(text, cell), None, None
        return _text_day(both[1], cell), *_clock(both[2])

    def _by_form(self, text: str) -> tuple[date, time | None, timedelta | None]:
        form = self._form or ""
        try:
            read = datetime.strptime(text, form)  # noqa: DTZ007 - the zone is the file's
        except ValueError:
            raise CellError(f"“{shown(text)}” is no date of the form {form}") from None
        return read.date(), read.time() if "%H" in form or "%I" in form else None, read.utcoffset()


def _text_day(text: str, cell: Cell) -> date:
    try:
        if _ISO_DAY.fullmatch(text):
            year, month, day = (int(each) for each in text.split("-"))
            return date(year, month, day)
        found = _DAY.fullmatch(text)
        if found is not None:
            year = int(found[3]) + (2000 if len(found[3]) == 2 else 0)
            return date(year, int(found[2]), int(found[1]))
    except ValueError:
        raise CellError(f"“{shown(cell)}” is no day of the calendar") from None
    raise CellError(f"“{shown(cell)}” is no date; the usual forms are 31.12.2026 and 2026-12-31")


def _clock(cell: Cell) -> tuple[time, timedelta | None]:
    if isinstance(cell, time):
        return cell, None
    if isinstance(cell, datetime):
        return cell.time(), None  # a time cell that carries a spreadsheet's first day
    if isinstance(cell, timedelta):
        cell = _serial(cell)
    if isinstance(cell, Decimal) and 0 <= cell < 1:
        return (_SERIAL_ZERO + _days(cell)).time(), None
    if not isinstance(cell, str):
        raise CellError(cell.why if isinstance(cell, Unusable) else f"“{shown(cell)}” is no time of day")
    text = cell.strip()
    found = _TIME.match(text)
    rest = text[found.end() :].strip() if found else ""
    zone = _ZONE.fullmatch(rest) if rest else None
    if found is None or (rest and zone is None):
        raise CellError(f"“{shown(cell)}” is no time of day")
    try:
        fraction = int((found[4] or "").ljust(6, "0")[:6])
        at = time(int(found[1]), int(found[2]), int(found[3] or 0), fraction)
    except ValueError:
        raise CellError(f"“{shown(cell)}” is no time of day") from None
    return at, _read_zone(zone) if zone else None


def _read_zone(zone: re.Match[str]) -> timedelta:
    away = timedelta(hours=int(zone[2] or 0), minutes=int(zone[3] or 0))
    return -away if zone[1] == "-" else away


def _from_serial(cell: Decimal) -> tuple[date, time | None, None]:
    if not _SERIALS[0] <= cell <= _SERIALS[1]:
        raise CellError(f"“{shown(cell)}” is no date")
    moment = _SERIAL_ZERO + _days(cell)
    return moment.date(), None if moment.time() == time() else moment.time(), None


def _serial(duration: timedelta) -> Decimal:
    """Return a duration in days: a workbook may show a day or a time of day as hours."""
    return Decimal(repr(duration.total_seconds())) / 86400


def _days(serial: Decimal) -> timedelta:
    """A binary fraction of a day, to the second that it means."""
    return timedelta(seconds=int((serial * 86400).to_integral_value()))
