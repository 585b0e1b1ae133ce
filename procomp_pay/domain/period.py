"""Whole days of a time zone: their first and last instants, also when clocks change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from procomp_pay.domain.errors import Refused
from procomp_pay.domain.text import N_

#: Days that a report may span. It limits the loop over the days in :func:`offsets`.
_MOST_DAYS = 366 * 150


@dataclass(frozen=True, slots=True)
class Offset:
    """The UTC offset of a time zone from an instant on.

    :param since: ``None`` for the first one, which also applies to everything earlier.
    :param seconds: seconds ahead of UTC.
    """

    since: datetime | None
    seconds: int


@dataclass(frozen=True, slots=True)
class Period:
    """Whole days of a time zone. ``None`` leaves an end open; ``until`` is inclusive.

    :raises Refused: it ends before it begins, or a day is out of the calendar's range.
    """

    zone: ZoneInfo
    since: date | None = None
    until: date | None = None

    def __post_init__(self) -> None:
        if self.since and self.until and self.until < self.since:
            raise Refused(
                N_("--until %(until)s is before --since %(since)s", until=self.until, since=self.since),
                next_step=N_("swap them"),
            )

    @property
    def begins(self) -> datetime | None:
        """Return the first instant, in UTC."""
        return None if self.since is None else midnight(self.since, self.zone)

    @property
    def ends(self) -> datetime | None:
        """Return the first instant after it, in UTC."""
        if self.until is None:
            return None
        try:
            return midnight(self.until + timedelta(days=1), self.zone)
        except OverflowError:
            raise Refused(N_("%(until)s is not a day that a payment can have", until=self.until)) from None


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return the first instant of a day, in UTC. If clocks skip midnight, it is the instant of the change.

    :raises Refused: a day at an end of the calendar.
    """
    try:
        return datetime.combine(day, time.min, zone).astimezone(UTC)
    except OverflowError:
        raise Refused(N_("%(day)s is not a day that a payment can have", day=day)) from None


def offsets(zone: ZoneInfo, first: datetime, last: datetime) -> list[Offset]:
    """Return the zone's offsets between two instants, oldest first.

    With them a database without time zones, or with outdated ones, assigns every instant to the right day.

    :raises Refused: the instants are more than 150 years apart.
    """
    if (last - first).days > _MOST_DAYS:
        raise Refused(
            N_(
                "A report from %(first)s to %(last)s is too long",
                first=f"{first:%Y-%m-%d}",
                last=f"{last:%Y-%m-%d}",
            )
        )
    here = first.astimezone(UTC).replace(microsecond=0)
    result = [Offset(None, _ahead(here, zone))]
    while here < last:
        then = here + timedelta(days=1)
        if _ahead(then, zone) != result[-1].seconds:
            result.append(_change(here, then, zone))
        here = then
    return result


def _change(before: datetime, after: datetime, zone: ZoneInfo) -> Offset:
    """Find the second at which the offset changes, between two instants with different offsets."""
    old = _ahead(before, zone)
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=int((after - before).total_seconds()) // 2)
        if _ahead(middle, zone) == old:
            before = middle
        else:
            after = middle
    return Offset(after, _ahead(after, zone))


def _ahead(at: datetime, zone: ZoneInfo) -> int:
    """Return the seconds that a zone is ahead of UTC at an instant."""
    ahead = at.astimezone(zone).utcoffset()
    return int(ahead.total_seconds()) if ahead is not None else 0
