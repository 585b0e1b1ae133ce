"""Match lines of Kaspi's statement that have no known number with payments, by amount and time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from procomp_pay.domain.kaspi_schedule import schedule_for
from procomp_pay.domain.reconciliation.amount_time_match import PossibleMatch, match_certain
from procomp_pay.domain.states import Channel
from procomp_pay.storage.reconciliation import staging_sql as sql

if TYPE_CHECKING:
    from procomp_pay.storage.reconciliation.staging_engines import Engine

#: With more pairs than this the lines cannot be told apart: they are probably another merchant's.
MOST = 100_000


async def match_by_amount_and_time(engine: Engine) -> None:
    """Assign a payment to each line if :func:`match_certain` is certain; otherwise store the candidates."""
    for statement in (sql.UNMATCHED_LINES, *sql.unidentified_payments(engine.later)):
        await engine.run(statement, {})
    rows = await engine.rows(sql.pairs(engine.later), {"most": MOST})
    if len(rows) == MOST:
        return
    certain, doubtful = match_certain(_possible_match(engine, row) for row in rows)
    for match, payment_id in certain.items():
        await engine.run(sql.RESOLVED, {"match": match, "id": payment_id})
    for match, names in doubtful.items():
        await engine.run(sql.CANDIDATES, {"match": match, "names": " ".join(names)})


def _possible_match(engine: Engine, row: Any) -> PossibleMatch:
    match, at, payment_id, can_be_paid, channel, created, sent, expires, scanned, scan_s, confirm_s = row
    born, time = engine.time(created), engine.time
    life = schedule_for(
        Channel(channel),
        time(sent) if sent else born,
        expires_at=time(expires) if expires else None,
        scanned_at=time(scanned) if scanned else None,
        scan_timeout_s=scan_s,
        confirm_timeout_s=confirm_s,
    )
    return PossibleMatch(match, time(at), payment_id, born, life, bool(can_be_paid))
