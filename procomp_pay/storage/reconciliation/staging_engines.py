"""Access the staging tables: PostgreSQL by COPY, SQLite as a separate file."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

from procomp_pay.config import platform_map
from procomp_pay.domain.errors import DatabaseUnavailable
from procomp_pay.storage.database.chunks import chunks
from procomp_pay.storage.reconciliation import staging_sql as sql
from procomp_pay.storage.reconciliation.staging_rows import MovementPage

if TYPE_CHECKING:
    import psycopg

    from procomp_pay.domain.reconciliation.statement_line import LineBlock, StatementLine
    from procomp_pay.storage.database.service import PaymentDatabaseService
    from procomp_pay.storage.reconciliation.staging_rows import StagedRow

_PARAMETER = re.compile(r":([a-z]+)\b")
#: Blocks of 8 kB in a page of movements on PostgreSQL, about 10,000 rows; and rows of one on SQLite, where
#: other writers wait for it.
_PAGE_BLOCKS, _PAGE_ROWS = 128, 500
_AWKWARD = re.compile(r"[\\\t\n\r]")


class Engine(Protocol):
    """A connection with temporary tables."""

    amount_type: str
    time_type: str
    key_type: str
    has_full_join: bool
    takes_blocks: bool

    def later(self, time: str, minutes: int) -> str:
        """Return SQL for a time so many minutes after another."""

    async def run(self, statement: str, values: dict[str, Any]) -> None: ...

    async def rows(self, statement: str, values: dict[str, Any]) -> list[Any]: ...

    async def copy(
        self, rows: Iterable[StagedRow], batch: int, on_progress: Callable[[int], None]
    ) -> None: ...

    async def copy_lines(
        self, lines: Iterable[StatementLine], batch: int, on_progress: Callable[[int], None]
    ) -> None: ...

    async def copy_blocks(self, blocks: Iterable[LineBlock], on_progress: Callable[[int], None]) -> None:
        """Only where ``takes_blocks``."""

    async def fill(self, table: str, rows: Collection[tuple[str, ...]]) -> None:
        """Fill a temporary table whose columns are texts."""

    async def movements(self, place: int) -> MovementPage | None:
        """Return a page of movements, of which the payment is known, by its place; ``None`` after the last
        one."""

    def millis(self, at: datetime) -> Any:
        """Return a time as the platform's tables store it."""

    def moment(self, at: datetime) -> Any:
        """Return a time as the temporary tables store it."""

    def time(self, stored: Any) -> datetime: ...

    def amount(self, stored: Any) -> Decimal | None: ...


@asynccontextmanager
async def open_engine(db: PaymentDatabaseService) -> AsyncIterator[Engine]:
    """Open a connection for temporary tables, which end with its transaction.

    :raises DatabaseUnavailable: the database cannot be reached.
    """
    path = db.sqlite_path()
    if path is None:
        import psycopg

        from procomp_pay.storage.database.postgresql import LONGEST_S

        async with db.dedicated() as connection:
            raw = await connection.get_raw_connection()
            driver: Any = raw.driver_connection
            driver.limit_s = LONGEST_S
            try:
                # the server spills gigabytes to the disk, but keeps a million lines in memory: otherwise each
                # query would read them from the disk
                await driver.execute("SET LOCAL work_mem = '64MB'")
                if not db.is_pooled:  # PgBouncer's session may have had temporary tables before
                    await driver.execute("SET LOCAL temp_buffers = '256MB'")
                await driver.execute("SET LOCAL statement_timeout = 0")
                await driver.execute("SET LOCAL jit = off")  # compiling takes longer than these few queries
                # thousands of rows among millions are looked up by index, which is fast on today's disks
                await driver.execute("SET LOCAL random_page_cost = 1.1")
                yield _Postgres(driver)
            except psycopg.OperationalError as error:
                raise DatabaseUnavailable(
                    f"The connection to {db.describe()} was lost", next_step="run it again"
                ) from error
        return
    try:
        connected = sqlite3.connect("", isolation_level=None, uri=True, check_same_thread=False)
    except sqlite3.Error as error:  # pragma: no cover - no room for temporary files
        raise DatabaseUnavailable(f"No temporary database can be created: {error}") from error
    with closing(connected) as lite:
        lite.execute("PRAGMA temp_store = FILE")
        lite.execute("ATTACH ? AS books", (f"{path.resolve().as_uri()}?mode=ro",))
        yield _Sqlite(lite)


def _text(statement: str) -> bytes:
    """Return SQL as the driver takes it, with the platform's names."""
    return platform_map.current().sql(_PARAMETER.sub(r"%(\1)s", statement)).encode()


class _Postgres:
    amount_type, time_type, key_type = "NUMERIC(12, 2)", "TIMESTAMPTZ", 'TEXT COLLATE "C"'
    has_full_join = takes_blocks = True

    def __init__(self, driver: psycopg.AsyncConnection[Any]) -> None:
        self._driver = driver
        self._seq = 0
        self._money: object = None
        self._money_text = ""

    async def run(self, statement: str, values: dict[str, Any]) -> None:
        await self._driver.execute(_text(statement), values or None)

    async def rows(self, statement: str, values: dict[str, Any]) -> list[Any]:
        return await (await self._driver.execute(_text(statement), values or None)).fetchall()

    async def copy(self, rows: Iterable[StagedRow], batch: int, on_progress: Callable[[int], None]) -> None:
        await self._send(map(self._text, rows), batch, on_progress)

    async def copy_lines(
        self, lines: Iterable[StatementLine], batch: int, on_progress: Callable[[int], None]
    ) -> None:
        await self._send(map(self._line_text, lines), batch, on_progress)

    async def copy_blocks(self, blocks: Iterable[LineBlock], on_progress: Callable[[int], None]) -> None:
        async with self._driver.cursor() as cursor, cursor.copy(_COPY_BLOCKS) as sink:
            for block in blocks:
                await sink.write(_block_text(block))
                self._seq = max(self._seq, block.numbers[-1])
                on_progress(len(block.numbers))

    async def _send(self, texts: Iterator[str], batch: int, on_progress: Callable[[int], None]) -> None:
        async with self._driver.cursor() as cursor, cursor.copy("COPY line FROM STDIN") as sink:
            for lines in chunks(texts, batch):
                await sink.write("".join(lines))
                on_progress(len(lines))

    async def fill(self, table: str, rows: Collection[tuple[str, ...]]) -> None:
        async with self._driver.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN".encode()) as sink:
            await sink.write("".join("\t".join(map(_escaped, row)) + "\n" for row in rows))
        await self.run(f"ANALYZE {table}", {})

    async def movements(self, place: int) -> MovementPage | None:
        first, last = place * _PAGE_BLOCKS, (place + 1) * _PAGE_BLOCKS
        [[size]] = await self.rows("SELECT pg_relation_size('pg_temp.fee_line') / 8192", {})
        if first >= size:
            return None
        arrays = ", ".join(f"CAST(array_agg({column}) AS TEXT)" for column in sql.MOVEMENT)
        where = f"ctid >= '({first},0)' AND ctid < '({last},0)' AND payment_id IS NOT NULL"
        [row] = await self.rows(f"SELECT count(*), {arrays} FROM fee_line WHERE {where}", {})  # noqa: S608
        return MovementPage(row[0], row[1:])

    def _text(self, row: StagedRow) -> str:
        """Return a row in COPY's text format."""
        self._seq += 1
        kind, ref, match, stand, at, amount, currency, fee, net, hint, number, dispute, settled_in = row
        if _AWKWARD.search(ref) or _AWKWARD.search(match):
            ref, match = _escaped(ref), _escaped(match)
        return (
            f"{self._seq}\t{kind}\t{ref}\t{match}\t{stand}\t{at.isoformat()}\t"
            f"{_null(amount)}\t{currency or _NULL}\t{_null(fee)}\t{_null(net)}\t"
            f"{_NULL if hint is None else _escaped(hint)}\t{number}\t{dispute or _NULL}\t"
            f"{settled_in or _NULL}\n"
        )

    def _line_text(self, line: StatementLine) -> str:
        """Return a statement's line in COPY's text format, as fast as possible: there may be millions."""
        ref, fee, net, payment_ref = line.ref, line.fee, line.net, line.payment_ref
        if (money := line.money) is not self._money:  # readers reuse the object of an equal amount
            self._money, self._money_text = money, f"{money.amount!s}\t{money.currency}"
        match = payment_ref or ref
        if not (ref.isidentifier() and match.isidentifier()):  # the fastest check, sufficient for most
            ref, match = _escaped(ref), _escaped(match)
        self._seq += 1
        return (
            f"{self._seq}\t{line.kind._value_}\t{ref}\t{match}\tpaid\t{line.at!s}\t{self._money_text}\t"
            f"{_NULL if fee is None else fee}\t{_NULL if net is None else net}\t"
            f"{line.order or _NULL}\t{line.number}\t\\N\t{line.settlement_currency or _NULL}\n"
        )

    def later(self, time: str, minutes: int) -> str:
        return f"({time} + INTERVAL '{minutes} minutes')"

    def millis(self, at: datetime) -> Any:
        return at.astimezone(UTC).replace(tzinfo=None)

    def moment(self, at: datetime) -> Any:
        return at

    def time(self, stored: Any) -> datetime:
        time: datetime = stored
        return time.astimezone(UTC)

    def amount(self, stored: Any) -> Decimal | None:
        return None if stored is None else Decimal(stored)


_NULL = "\\N"
#: The defaults of the omitted columns fit every line of a statement's blocks.
_COPY_BLOCKS = "COPY line (seq, ref, match, at, kind, amount, currency, fee, net) FROM STDIN"


def _block_text(block: LineBlock) -> str:
    """Return a block in COPY's text format; nothing in it needs escaping."""
    shared = {
        index: f"{values.kind.value}\t{values.money.amount}\t{values.money.currency.value}"
        f"\t{_null(values.fee)}\t{_null(values.net)}\n"
        for index, values in ((index, block.shared[index]) for index in set(block.words))
    }
    columns = zip(block.numbers, block.refs, block.matches, block.times, block.words, strict=True)
    return "".join([f"{n}\t{ref}\t{match}\t{at}\t{shared[index]}" for n, ref, match, at, index in columns])


def _null(amount: Decimal | None) -> str:
    return _NULL if amount is None else str(amount)


def _escaped(text: str) -> str:
    return _AWKWARD.sub(lambda match: {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"}[match[0]], text)


_INSERT = "INSERT INTO line VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class _Sqlite:
    amount_type, time_type, key_type = "INTEGER", "TEXT", "TEXT"
    has_full_join = False  # not before SQLite 3.39
    takes_blocks = False  # each row is inserted by itself anyway

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._seq = 0

    async def run(self, statement: str, values: dict[str, Any]) -> None:
        self._connection.execute(statement, values)

    async def rows(self, statement: str, values: dict[str, Any]) -> list[Any]:
        return self._connection.execute(statement, values).fetchall()

    async def copy(self, rows: Iterable[StagedRow], batch: int, on_progress: Callable[[int], None]) -> None:
        for lines in chunks(self._tuples(rows), batch):
            self._connection.execute("BEGIN")
            self._connection.executemany(_INSERT, lines)
            self._connection.execute("COMMIT")
            on_progress(len(lines))

    async def copy_lines(
        self, lines: Iterable[StatementLine], batch: int, on_progress: Callable[[int], None]
    ) -> None:
        await self.copy(map(_of_line, lines), batch, on_progress)

    async def copy_blocks(self, blocks: Iterable[LineBlock], on_progress: Callable[[int], None]) -> None:
        raise NotImplementedError

    async def fill(self, table: str, rows: Collection[tuple[str, ...]]) -> None:
        marks = ", ".join("?" for _ in next(iter(rows), ("",)))
        self._connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608

    async def movements(self, place: int) -> MovementPage | None:
        where = "rowid > :first AND rowid <= :last AND payment_id IS NOT NULL"
        between = {"first": place * _PAGE_ROWS, "last": (place + 1) * _PAGE_ROWS}
        [[size]] = await self.rows("SELECT coalesce(max(rowid), 0) FROM fee_line", {})
        if between["first"] >= size:
            return None
        columns = ", ".join(sql.MOVEMENT)
        rows = await self.rows(f"SELECT {columns} FROM fee_line WHERE {where}", between)  # noqa: S608
        read = self.amount
        values = [
            (*row[:4], read(row[4]), read(row[5]), read(row[6]), row[7], self.time(row[8])) for row in rows
        ]
        return MovementPage(len(values), list(zip(*values, strict=True)))

    def _tuples(self, rows: Iterable[StagedRow]) -> Iterator[tuple[Any, ...]]:
        for row in rows:
            self._seq += 1
            yield (
                self._seq, row.kind, row.ref, row.match, row.stand, self.moment(row.at),
                _cents(row.amount), row.currency, _cents(row.fee), _cents(row.net), row.hint, row.number,
                row.dispute, row.settlement_currency,
            )  # fmt: skip

    def later(self, time: str, minutes: int) -> str:
        return f"datetime({time}, '{minutes:+} minutes')"

    def millis(self, at: datetime) -> Any:
        return at.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="milliseconds")

    def moment(self, at: datetime) -> Any:
        return at.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")

    def time(self, stored: Any) -> datetime:
        return datetime.fromisoformat(stored).replace(tzinfo=UTC)

    def amount(self, stored: Any) -> Decimal | None:
        return None if stored is None else Decimal(stored).scaleb(-2)


def _of_line(line: StatementLine) -> StagedRow:
    """Return the row of a statement's line. The money moved, because it is in a statement."""
    from procomp_pay.storage.reconciliation.staging_rows import StagedRow

    money = line.money
    return StagedRow(
        line.kind.value, line.ref, line.payment_ref or line.ref, "paid", line.at,
        money.amount, str(money.currency), line.fee, line.net, line.order, line.number,
        None, line.settlement_currency,
    )  # fmt: skip


def _cents(amount: Decimal | None) -> int | None:
    return None if amount is None else int(amount.scaleb(2))
