"""Compare a provider's records with our payments in temporary tables of the database.

There neither side needs to be in order, nor to fit into memory, and the database joins millions of rows
faster than we could sort them. One join leaves out the pairs that agree; only the rest, the *candidates*,
are returned, ordered by key, for ``domain.reconciliation.compare.match``. None of our tables is written: on
PostgreSQL the staging tables are temporary, on SQLite they are a separate database, to which ours is attached
read-only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from procomp_pay.domain.almaty import almaty_day
from procomp_pay.domain.reconciliation.records import ProviderRecord, ProviderState
from procomp_pay.domain.reconciliation.refund_parts import part_refs
from procomp_pay.domain.reconciliation.statement_line import LineBlock, LineKind, StatementLine
from procomp_pay.domain.reconciliation.statement_summary import StatementLines
from procomp_pay.domain.refunds import DisputeState
from procomp_pay.storage.reconciliation import staging_sql as sql
from procomp_pay.storage.reconciliation.staging_matches import (
    Repeats,
    match_by_amount_and_time,
    match_by_discrepancy,
    match_by_order,
)
from procomp_pay.storage.reconciliation.staging_rows import Candidate, MovementPage, Scope, StagedRow

if TYPE_CHECKING:
    from procomp_pay.storage.database.service import PaymentDatabaseService
    from procomp_pay.storage.reconciliation.staging_engines import Engine

#: Rows sent to the database at a time.
BATCH = 5000


class Staging:
    """The temporary tables of one run, for one task at a time."""

    def __init__(self, engine: Engine, provider: str) -> None:
        self._engine = engine
        self._provider = provider
        self._names = Repeats()
        self._has_hints = self._has_fees = False
        self._check: Callable[[], None] | None = None
        self.loaded = 0

    async def load(self, rows: Iterable[StagedRow]) -> None:
        """Load rows into the staging tables, in their order. Whatever the iterator raises is passed on."""

        def noted() -> Iterator[StagedRow]:
            for row in rows:
                self._names.note_all((row.match,))
                self._has_hints |= row.hint is not None
                yield row

        await self._engine.copy(noted(), BATCH, self._counter(lambda _: None))

    async def load_statement(
        self, lines: StatementLines, on_progress: Callable[[int], None] = lambda _: None
    ) -> None:
        """As :meth:`load_lines`, in blocks where file and database can: a third of the time for a million.

        :raises NotPlain: it must be read line by line; :meth:`find_candidates` may say so too. These tables
            are of no use any more.
        """
        if not self._engine.takes_blocks:
            await self.load_lines(lines, on_progress)
            return
        source = lines.quick()
        await self._engine.copy_blocks(self._noted_blocks(source.blocks()), self._counter(on_progress))
        await self.load_lines(source.others(), on_progress)
        self._check = source.check

    def _noted_blocks(self, blocks: Iterable[LineBlock]) -> Iterator[LineBlock]:
        for block in blocks:
            self._names.note_all(block.matches)
            self._has_fees |= block.has_fees
            yield block

    async def load_lines(
        self, lines: Iterable[StatementLine], on_progress: Callable[[int], None] = lambda _: None
    ) -> None:
        """Load a statement, which may have millions of lines, line by line."""

        def noted() -> Iterator[StatementLine]:
            # this loop runs a million times, so it avoids lookups and calls
            seen_before, mask, again = self._names.seen, self._names.mask, self._names.again
            fees = hints = False
            for line in lines:
                name = line.payment_ref or line.ref
                slot = hash(name) & mask
                if seen_before[slot]:
                    again(name)
                else:
                    seen_before[slot] = 1
                if line.fee is not None:
                    fees = True
                if line.order is not None:
                    hints = True
                yield line
            self._has_fees |= fees
            self._has_hints |= hints

        await self._engine.copy_lines(noted(), BATCH, self._counter(on_progress))

    def _counter(self, on_progress: Callable[[int], None]) -> Callable[[int], None]:
        def counted(size: int) -> None:
            self.loaded += size
            on_progress(self.loaded)

        return counted

    async def sums(self, since: datetime, until: datetime) -> dict[tuple[LineKind, str], tuple[int, Decimal]]:
        """Return the number and sum of lines in a window, by kind and currency."""
        window = {"since": self._engine.moment(since), "until": self._engine.moment(until)}
        return {
            (LineKind(kind), currency): (count, self._engine.amount(amount) or Decimal(0))
            for kind, currency, count, amount in await self._engine.rows(sql.SUMS, window)
        }

    async def find_candidates(self, scope: Scope, *, check_books: bool) -> None:
        """Fill the table of candidates with all that the join does not clear.

        :param check_books: also add payments that do not agree within our own books.
        :raises NotPlain: see :meth:`load_statement`.
        """
        if self._check is None:
            await self._find_candidates(scope, check_books=check_books)
            return
        # a thread finds repeated lines while this task waits for the database
        check = asyncio.create_task(asyncio.to_thread(self._check))
        try:
            await self._find_candidates(scope, check_books=check_books)
        except BaseException:
            await asyncio.gather(check, return_exceptions=True)
            raise
        await check

    async def _find_candidates(self, scope: Scope, *, check_books: bool) -> None:
        engine = self._engine
        window = {"since": engine.millis(scope.since), "until": engine.millis(scope.until)}
        statements = sql.candidates(self._provider, full_join=engine.has_full_join)
        for statement in statements + (sql.own_mismatches(self._provider) if check_books else []):
            await engine.run(
                statement, {name: value for name, value in window.items() if f":{name}" in statement}
            )
        if (names := self._names.repeated) is None:
            await engine.run(sql.ALL_REPEATED, {})
        else:
            await engine.fill("possible_duplicate", [(name,) for name in names])
            await engine.run(sql.REPEATED, {})
        await self._resolve()
        await engine.run(sql.NAMED, {})
        await engine.run("ANALYZE candidate_id", {})
        for statement in (*sql.other_names(self._provider), *sql.KEYS):
            await engine.run(statement, {})

    async def _resolve(self) -> None:
        """Find the payment of a line outside the window, or by another reference."""
        engine = self._engine
        await engine.run("ANALYZE candidate", {})
        for statement in sql.resolve(self._provider):
            await engine.run(statement, {})
        if self._has_hints and self._provider == "stripe":
            await engine.run(sql.BY_HINT, {})
        [charges] = await engine.rows(sql.UNKNOWN_CHARGES, {})
        if charges[0]:
            await engine.run(sql.BY_CHARGE, {})
        if self._provider == "kaspi":
            await match_by_discrepancy(engine)
            if self._has_hints:
                await match_by_order(engine)
            await match_by_amount_and_time(engine)

    async def knows_any(self) -> bool:
        """Return whether any line belongs to one of our payments, or could. Call :meth:`find_candidates`
        first."""
        [row] = await self._engine.rows(sql.KNOWS_ANY, {})
        return bool(row[0])

    async def add_candidates(self, payment_ids: Iterable[str]) -> None:
        """Add these payments to the candidates, even if the join clears them."""
        for payment_id in payment_ids:
            await self._engine.run("INSERT INTO candidate VALUES (:id, NULL)", {"id": payment_id})

    async def pages(self, size: int) -> AsyncIterator[tuple[list[Candidate], list[ProviderRecord]]]:
        """Yield the candidates with the provider's records of them, both ordered by key, a page at a time."""
        last = ""
        while True:
            rows = await self._engine.rows(sql.PAGE, {"last": last, "size": size})
            if not rows:
                return
            candidates = [Candidate(*row) for row in rows]
            between = {"first": candidates[0].key, "last": candidates[-1].key}
            lines = await self._engine.rows(sql.LINES, between)
            yield candidates, [self._provider_record(row) for row in lines]
            last = candidates[-1].key

    async def movements(self) -> AsyncIterator[MovementPage]:
        """Yield the movements of the lines that have a fee and a payment of ours, a page at a time. Call
        :meth:`find_candidates` first. The next page is read while the caller stores one."""
        if not self._has_fees:
            return
        engine = self._engine
        await engine.run(sql.fee_lines(self._provider), {})
        [unknown] = await engine.rows(sql.PAYMENT_UNKNOWN, {})
        for statement in sql.other_fee_lines(self._provider) if unknown[0] else []:
            await engine.run(statement, {})
        if self._provider == "kaspi":
            await self._tell_refunds_apart()
        place = 0
        reading = asyncio.ensure_future(engine.movements(place))
        try:
            while (page := await reading) is not None:
                place += 1
                reading = asyncio.ensure_future(engine.movements(place))
                if page.size:
                    yield page
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _tell_refunds_apart(self) -> None:
        """Give each part of a purchase that was refunded in parts a name of its own: all have its number."""
        engine = self._engine
        rows = await engine.rows(sql.refund_parts(self._provider), {})
        first: dict[str, tuple[date | None, Decimal]] = {}
        parts = []
        for seq, ref, at, amount, first_at, first_amount in rows:
            parts.append((seq, ref, almaty_day(engine.time(at)), engine.amount(amount) or Decimal(0)))
            if first_at is not None:
                first[ref] = almaty_day(engine.time(first_at)), engine.amount(first_amount) or Decimal(0)
        names = part_refs((part[1:] for part in parts), first)
        for (seq, ref, *_), name in zip(parts, names, strict=True):
            if name != ref:
                await engine.run(sql.REFUND_PART, {"ref": name, "seq": seq})

    def _row(self, row: Any) -> StagedRow:
        kind, ref, match, stand, at, amount, currency, fee, net, hint, number, dispute, settled_in = row
        read = self._engine.amount
        return StagedRow(
            kind, ref, match, stand, self._engine.time(at),
            read(amount), currency, read(fee), read(net), hint, number, dispute, settled_in,
        )  # fmt: skip

    def _provider_record(self, row: Any) -> ProviderRecord:
        key, candidates, *rest = row
        line = self._row(rest)
        return ProviderRecord(
            key=key,
            ref=line.ref,
            kind=LineKind(line.kind),
            stand=ProviderState(line.stand),
            at=line.at,
            amount=line.amount,
            currency=line.currency,
            payment_ref=line.match if line.match != line.ref else None,
            dispute=DisputeState(line.dispute) if line.dispute else None,
            hint=line.hint,
            candidates=tuple(candidates.split()) if candidates else (),
            number=line.number,
            is_settled_amount=line.settlement_currency is not None
            and line.settlement_currency == line.currency,
        )


@asynccontextmanager
async def open_staging(db: PaymentDatabaseService, provider: str) -> AsyncIterator[Staging]:
    """Open the temporary tables of one run; they are dropped at its end, even after a crash.

    :raises DatabaseUnavailable: the database cannot be reached.
    """
    from procomp_pay.storage.reconciliation.staging_engines import open_engine

    async with open_engine(db) as engine:
        for statement in sql.tables(amount=engine.amount_type, time=engine.time_type, key=engine.key_type):
            await engine.run(statement, {})
        yield Staging(engine, provider)
