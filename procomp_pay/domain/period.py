"""Days of a place: where they begin and end, whatever its clocks did meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from procomp_pay.domain.errors import Refused

#: Days that a report may span: more than anybody keeps books for, and a bound for the walk over the offsets.
_MOST_DAYS = 366 * 150


@dataclass(frozen=True, slots=True)
class Offset:
    """How far a place's clocks are ahead of UTC from an instant on.

    :param since: ``None`` for the first one, which holds for everything earlier too.
    """

    since: datetime | None
    seconds: int


@dataclass(frozen=True, slots=True)
class Period:
    """Whole days of a place. ``None`` leaves an end open; ``until`` is counted in.

    :raises Refused: it ends before it begins, or is not of this calendar.
    """

    zone: ZoneInfo
    since: date | None = None
    until: date | None = None

    def __post_init__(self) -> None:
        if self.since and self.until and self.until < self.since:
            raise Refused(f"--until {self.until} is before --since {self.since}", next_step="swap the two")

    @property
    def begins(self) -> datetime | None:
        """The first instant, in UTC."""
        return None if self.since is None else midnight(self.since, self.zone)

    @property
    def ends(self) -> datetime | None:
        """The first instant after it, in UTC."""
        if self.until is None:
            return None
        try:
            return midnight(self.until + timedelta(days=1), self.zone)
        except OverflowError:
            raise Refused(f"{self.until} is not a day that a payment can have") from None


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of a day, in UTC; a midnight that the clocks leapt over is the leap.

    :raises Refused: a day at the end of the calendar.
    """
    try:
        return datetime.combine(day, time.min, zone).astimezone(UTC)
    except OverflowError:
        raise Refused(f"{day} is not a day that a payment can have") from None


def offsets(zone: ZoneInfo, first: datetime, last: datetime) -> list[Offset]:
    """The zone's offsets between two instants, oldest first. With them a database that knows no zones, or
    knows them from another year, puts every instant into the right day.

    :raises Refused: the instants are more than 150 years apart.
    """
    if (last - first).days > _MOST_DAYS:
        raise Refused(f"A report from {first:%Y-%m-%d} to {last:%Y-%m-%d} is too long")
    here = first.astimezone(UTC).replace(microsecond=0)
    found = [Offset(None, _ahead(here, zone))]
    while here < last:
        then = here + timedelta(days=1)
        if _ahead(then, zone) != found[-1].seconds:
            found.append(_change(here, then, zone))
        here = then
    return found


def _change(before: datetime, after: datetime, zone: ZoneInfo) -> Offset:
    """The second at which the offset changes, between two instants with different ones."""
    old = _ahead(before, zone)
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=int((after - before).total_seconds()) // 2)
        if _ahead(middle, zone) == old:
            before = middle
        else:
            after = middle
    return Offset(after, _ahead(after, zone))


def _ahead(at: datetime, zone: ZoneInfo) -> int:
    ahead = at.astimezone(zone).utcoffset()
    return int(ahead.total_seconds()) if ahead is not None else 0
