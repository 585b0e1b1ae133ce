"""Read the times of a block of lines as text for the database; each day and time of day is checked once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from procomp_pay.providers.statements.layout.cells import CellError
from procomp_pay.providers.statements.layout.timestamps import TimestampReader

_CLOCK = r"(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d)?"
_MOST_CACHED = 100_000
_DAY_LENGTH = 10


class FastTimestamps:
    """Read columns of dates in a usual form; any other form is for :class:`TimestampReader`."""

    def __init__(self, zone: ZoneInfo, form: str | None) -> None:
        self._zone = zone
        self._form = form
        self._moments = TimestampReader(zone)
        self._dates: dict[str, str] = {}
        self._offsets: dict[str, str] = {}
        self._clocks: set[str] = set()
        self._clock_form: re.Pattern[str] | None = None
        #: The times of the last block have one UTC offset, so that their texts sort as the times do.
        self.are_alike = False

    def read(self, days: Sequence[str], clocks: Sequence[str] | None) -> list[str] | None:
        """Return the times in ISO 8601 with their offset.

        ``None`` if a cell has an unusual form, or is on a day around which clocks change.

        :param clocks: the time column, if there is one.
        """
        self.are_alike = False
        if self._form is not None:
            return None
        headers, tails = days, clocks
        if tails is None:
            headers, tails = [day[:_DAY_LENGTH] for day in days], [day[_DAY_LENGTH:] for day in days]
        distinct, alone = set(headers), clocks is not None
        new_days = distinct - self._dates.keys()
        if new_days and not all(self._learn_day(day, alone=alone) for day in new_days):
            return None
        known = self._clocks.issuperset(tails)
        if not known and not self._learn_clocks(set(tails) - self._clocks, alone=alone):
            return None
        dates, offsets = self._dates, self._offsets
        offset, *others = {offsets[day] for day in distinct}
        self.are_alike = not others
        if clocks is None and self.are_alike and all(dates[day] == day for day in distinct):
            return [day + offset for day in days]  # the file's own form is the right one
        return [
            f"{dates[header]}{tail}{offsets[header]}" for header, tail in zip(headers, tails, strict=True)
        ]

    def _learn_day(self, day: str, *, alone: bool) -> bool:
        try:
            self._moments.read(day if alone else f"{day} 00:00:00", "00:00:00" if alone else None)
        except CellError:
            return False
        midnight = self._moments.midnight(day)
        if midnight is None:
            return False
        local = midnight.astimezone(self._zone).isoformat()
        self._dates[day] = local[: _DAY_LENGTH + alone]  # in a cell of both, T belongs to the time of day
        self._offsets[day] = local[_DAY_LENGTH + len("T00:00:00") :]
        return True

    def _learn_clocks(self, clocks: set[str], *, alone: bool) -> bool:
        if self._clock_form is None:
            # a file has one mark between day and time, or its texts would not sort as its times do
            mark = "" if alone else min(clocks)[:1]
            if not alone and mark not in (" ", "T"):
                return False
            self._clock_form = re.compile(mark + _CLOCK, re.A)
        if not all(map(self._clock_form.fullmatch, clocks)):
            return False
        if len(self._clocks) > _MOST_CACHED:
            self._clocks.clear()
        self._clocks |= clocks
        return True


def edges(times: Sequence[str], *, are_alike: bool) -> tuple[datetime, datetime]:
    """Return the first and the last of a block's times, in UTC.

    :param are_alike: the times have one offset.
    """
    if not are_alike:
        moments = [datetime.fromisoformat(time) for time in times]
        return min(moments).astimezone(UTC), max(moments).astimezone(UTC)
    first, last = datetime.fromisoformat(min(times)), datetime.fromisoformat(max(times))
    return first.astimezone(UTC), last.astimezone(UTC)
