"""Find the period that a statement itself names, and the zone of its days."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from procomp_pay.domain.almaty import ALMATY
from procomp_pay.domain.errors import Refused
from procomp_pay.domain.period import midnight
from procomp_pay.domain.reconciliation.statement_summary import StatementPeriod
from procomp_pay.providers.statements.layout.cells import CellError
from procomp_pay.providers.statements.layout.model import STRIPE, Layout
from procomp_pay.providers.statements.layout.timestamps import TimestampReader
from procomp_pay.providers.tabular.cells import Cell

#: "Период" in the block above the headers; "Кезең" in Kazakh.
_LABEL = re.compile(r"(?<!\w)(?:период|кезең|кезеңі|period)(?!\w)", re.I)
_DAY = r"(\d{4}-\d\d-\d\d|\d\d?\.\d\d?\.\d{4})"
_MOMENT = re.compile(rf"(?<!\d){_DAY}(?:[T,\s]+(\d\d?:\d\d(?::\d\d)?))?(?!\d)", re.A)
#: As Stripe names its downloads: ``..._USD_2026-05-01_to_2026-05-31_Asia-Almaty.csv``.
_IN_NAME = re.compile(r"_(\d{4}-\d\d-\d\d)_to_(\d{4}-\d\d-\d\d)(?:_([A-Za-z]+(?:-[A-Za-z_]+)*))?", re.A)


def find_period(above: Iterable[Sequence[Cell]], zone: ZoneInfo) -> StatementPeriod | None:
    """Return the period named above the headers; ``None`` if the file names none, or two of them.

    :param above: the rows above the headers.
    """
    periods = {
        _period(_MOMENT.findall(text), zone)
        for text in (" ".join(map(str, row)) for row in above)
        if _LABEL.search(text)
    } - {None}
    return periods.pop() if len(periods) == 1 else None


def period_in_name(name: str, zone: ZoneInfo) -> StatementPeriod | None:
    """Return the period in the name of a file that Stripe exported; ``None`` if it names none."""
    match = _IN_NAME.search(name)
    if match is None:
        return None
    since, until, place = match.groups()
    with suppress(KeyError, ValueError, OSError):  # another word, or none
        zone = ZoneInfo((place or "").replace("-", "/", 1))
    return _period([(since, ""), (until, "")], zone)


def _period(moments: list[tuple[str, str]], zone: ZoneInfo) -> StatementPeriod | None:
    """Return the period of one or two moments: each a day, and its time if the file names one."""
    if len(moments) not in (1, 2):
        return None
    reader, (day, clock) = TimestampReader(zone), moments[-1]
    try:
        since = reader.read(*moments[0]) if moments[0][1] else midnight(_day(moments[0][0]), zone)
        if not clock or clock >= "23:59" or len(moments) == 1:
            until = midnight(_day(day) + timedelta(days=1), zone)
        else:
            until = reader.read(day, clock)
    except (CellError, Refused, ValueError):
        return None
    return StatementPeriod(since, until) if since < until else None


def _day(text: str) -> date:
    if "-" in text:
        return date.fromisoformat(text)
    day, month, year = map(int, text.split("."))
    return date(year, month, day)


def day_zone(layout: Layout, row: Sequence[Cell]) -> ZoneInfo:
    """Return the zone of a report's days: Almaty's, unless Stripe made it for days in UTC.

    Stripe reports the time of a line in UTC and in the zone of the report.

    :param row: a row of the report.
    """
    if layout.provider != STRIPE:
        return layout.zone
    places = [layout.headers.index(name) for name in ("created_utc", "created") if name in layout.headers]
    reader = TimestampReader(layout.zone)
    try:
        times: set[datetime] = {reader.read(row[place]) for place in places if place < len(row)}
    except CellError:
        return ALMATY
    return layout.zone if len(places) == 2 and len(times) == 1 else ALMATY
