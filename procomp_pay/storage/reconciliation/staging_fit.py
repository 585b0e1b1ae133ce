"""Lines of Kaspi's statement without a number that we know, beside the payments that they may be of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from procomp_pay.domain.kaspi_schedule import schedule_for
from procomp_pay.domain.reconciliation.amount_time_match import Fit, tell_apart
from procomp_pay.domain.states import Channel
from procomp_pay.storage.reconciliation import staging_sql as sql

if TYPE_CHECKING:
    from procomp_pay.storage.reconciliation.staging_engines import Engine

#: More pairs are a stadium's or another merchant's, and nobody can tell them apart.
MOST = 100_000


async def fit_by_amount_and_time(engine: Engine) -> None:
    """Give each line its payment where :func:`tell_apart` is certain, and else name those that it fits."""
    for statement in (sql.ADRIFT, *sql.nameless(engine.later)):
        await engine.run(statement, {})
    rows = await engine.rows(sql.fits(engine.later), {"most": MOST})
    if len(rows) == MOST:
        return
    certain, doubtful = tell_apart(_fit(engine, row) for row in rows)
    for match, payment_id in certain.items():
        await engine.run(sql.RESOLVED, {"match": match, "id": payment_id})
    for match, names in doubtful.items():
        await engine.run(sql.CANDIDATES, {"match": match, "names": " ".join(names)})


def _fit(engine: Engine, row: Any) -> Fit:
    match, at, payment_id, can_be, channel, created, sent, expires, scanned, scan_s, confirm_s = row
    born, time = engine.time(created), engine.time
    life = schedule_for(
        Channel(channel),
        time(sent) if sent else born,
        expires_at=time(expires) if expires else None,
        scanned_at=time(scanned) if scanned else None,
        scan_timeout_s=scan_s,
        confirm_timeout_s=confirm_s,
    )
    return Fit(match, time(at), payment_id, born, life, bool(can_be))
