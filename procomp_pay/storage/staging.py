"""A provider's side laid beside our payments, in temporary tables of the database.

Why there: neither side need be in order, nor fit into memory, and the database joins millions of rows
faster than we could sort them. What both sides agree on is left out by one join; only the rest, the
*suspects*, comes out, ordered by key, for :func:`procomp_pay.domain.matching.match` to judge. Nothing of our
books is written: on PostgreSQL the tables are temporary, on SQLite they are a database of their own, to which
the books are attached read-only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from procomp_pay.domain.refunds import DisputeState
from procomp_pay.domain.sides import Stand, Theirs
from procomp_pay.domain.statement import LineKind, StatementLine
from procomp_pay.storage import staging_sql as sql

if TYPE_CHECKING:
    from procomp_pay.storage.database import PaymentDatabaseService
    from procomp_pay.storage.staging_engines import Engine

#: Rows that are sent to the database at a time.
BATCH = 5000


class StagedRow(NamedTuple):
    """A row of the provider's side. ``match`` is what finds our payment; the rest as in :class:`Theirs`."""

    kind: str
    ref: str
    match: str
    stand: str
    at: datetime
    amount: Decimal | None = None
    currency: str | None = None
    fee: Decimal | None = None
    net: Decimal | None = None
    hint: str | None = None
    number: int = 0
    dispute: str | None = None


def of_line(line: StatementLine) -> StagedRow:
    """A statement's line. That it is in a statement means that the money moved."""
    money = line.money
    return StagedRow(
        line.kind.value, line.ref, line.payment_ref or line.ref, "paid", line.at,
        money.amount, money.currency.value, line.fee, line.net, None, line.number,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scope:
    """Which of our payments are compared: those of a provider that were started in a window."""

    provider: str
    since: datetime
    until: datetime


class Suspect(NamedTuple):
    """Something worth judging: a payment of ours, or where ``payment_id`` is None, of nobody's."""

    key: str
    payment_id: str | None


class Staging:
    """The temporary tables of one run. Not for two tasks at once."""

    def __init__(self, engine: Engine, provider: str) -> None:
        self._engine = engine
        self._provider = provider
        self.loaded = 0

    async def load(self, rows: Iterable[StagedRow], seen: Callable[[int], None] = lambda _: None) -> None:
        """Put rows beside the books, in the order they come. Whatever the iterator raises goes through.

        :param seen: told how many there are by now.
        """

        def counted(size: int) -> None:
            self.loaded += size
            seen(self.loaded)

        await self._engine.copy(rows, BATCH, counted)

    async def span(self) -> tuple[datetime, datetime] | None:
        """The times of the first and the last line about money of payments."""
        [found] = await self._engine.rows(sql.SPAN, {})
        return None if found[0] is None else (self._engine.time(found[0]), self._engine.time(found[1]))

    async def find_suspects(self, scope: Scope) -> int:
        """Fill the table of suspects: all that the join does not clear. How many there are."""
        engine = self._engine
        await engine.run("ANALYZE line", {})
        window = {"since": engine.millis(scope.since), "until": engine.millis(scope.until)}
        for statement in sql.suspects(self._provider, full_join=engine.has_full_join):
            await engine.run(statement, {name: v for name, v in window.items() if f":{name}" in statement})
        for statement in sql.resolve(self._provider):
            await engine.run(statement, {})
        if self._provider == "kaspi":
            await self._fit_by_amount_and_time()
        for statement in (*sql.other_names(self._provider), *sql.KEYS):
            await engine.run(statement, {})
        [found] = await engine.rows("SELECT count(*) FROM suspect_key", {})
        return int(found[0])

    async def suspect_payments(self, payment_ids: Iterable[str]) -> None:
        """Have these payments judged too, whatever the join says."""
        for payment_id in payment_ids:
            await self._engine.run("INSERT INTO suspect VALUES (:id, NULL)", {"id": payment_id})

    async def pages(self, size: int) -> AsyncIterator[tuple[list[Suspect], list[Theirs]]]:
        """The suspects with what the provider says of them, both ordered by key, a page at a time."""
        last = ""
        while True:
            found = await self._engine.rows(sql.PAGE, {"last": last, "size": size})
            if not found:
                return
            suspects = [Suspect(*row) for row in found]
            between = {"first": suspects[0].key, "last": suspects[-1].key}
            lines = await self._engine.rows(sql.LINES, between)
            yield suspects, [self._theirs(row) for row in lines]
            last = suspects[-1].key

    async def settlements(self, size: int) -> AsyncIterator[list[StagedRow]]:
        """The lines that tell a fee, a page at a time."""
        last = 0
        while True:
            found = await self._engine.rows(sql.WITH_FEES, {"last": last, "size": size})
            if not found:
                return
            yield [self._row(row[1:]) for row in found]
            last = found[-1][0]

    def _row(self, row: Any) -> StagedRow:
        kind, ref, match, stand, at, amount, currency, fee, net, hint, number, dispute = row
        read = self._engine.amount
        return StagedRow(
            kind, ref, match, stand, self._engine.time(at),
            read(amount), currency, read(fee), read(net), hint, number, dispute,
        )  # fmt: skip

    def _theirs(self, row: Any) -> Theirs:
        key, candidates, *rest = row
        line = self._row(rest)
        return Theirs(
            key=key,
            ref=line.ref,
            kind=LineKind(line.kind),
            stand=Stand(line.stand),
            at=line.at,
            amount=line.amount,
            currency=line.currency,
            payment_ref=line.match if line.match != line.ref else None,
            dispute=DisputeState(line.dispute) if line.dispute else None,
            hint=line.hint,
            candidates=tuple(candidates.split()) if candidates else (),
            number=line.number,
        )

    async def _fit_by_amount_and_time(self) -> None:
        """A line whose number nobody has told us fits the one payment of its amount within whose life it
        lies. Two that fit, either way, are left to a person, with their names."""
        pairs: dict[str, list[str]] = {}
        lines: dict[str, list[str]] = {}
        for match, payment_id in await self._engine.rows(
            sql.fits(self._engine.minutes_before, self._engine.minutes_after), {}
        ):
            pairs.setdefault(match, []).append(payment_id)
            lines.setdefault(payment_id, []).append(match)
        for match, fitting in pairs.items():
            if len(fitting) == 1 and len(lines[fitting[0]]) == 1:
                await self._engine.run(sql.RESOLVED, {"match": match, "id": fitting[0]})
            else:
                await self._engine.run(
                    sql.CANDIDATES, {"match": match, "names": " ".join(sorted(fitting)[:10])}
                )


@asynccontextmanager
async def open_staging(db: PaymentDatabaseService, provider: str) -> AsyncIterator[Staging]:
    """Temporary tables for one run; gone at its end, however it ends.

    :raises DatabaseUnavailable: the database cannot be reached.
    """
    from procomp_pay.storage.staging_engines import open_engine

    async with open_engine(db) as engine:
        for statement in sql.tables(amount=engine.amount_type, time=engine.time_type, key=engine.key_type):
            await engine.run(statement, {})
        yield Staging(engine, provider)
