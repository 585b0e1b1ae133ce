"""Read a provider's statement line by line, in flat memory.

- A file whose layout, encoding or completeness is in doubt is refused with
  :class:`~procomp_pay.domain.errors.InvalidFile`. It is read once for that before the first line is returned.
- A line that cannot be read for certain is skipped, with its reason in :attr:`Statement.summary`.
  Commands that use the lines then exit with code 6. No line is dropped silently.
- An operation that appears twice with the same content is reported and counted once.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast
from zoneinfo import ZoneInfo

from procomp_pay.domain.errors import InvalidStatement
from procomp_pay.domain.reconciliation.statement_line import NotPlain, StatementLine
from procomp_pay.domain.reconciliation.statement_summary import StatementPeriod, StatementSummary
from procomp_pay.domain.text import N_
from procomp_pay.providers.statements.csv.fast_reader import FastReader
from procomp_pay.providers.statements.csv.table import CsvTable
from procomp_pay.providers.statements.first_pass import FirstPassResult, first_pass
from procomp_pay.providers.statements.layout.mapping_file import ColumnMapping, read_mapping
from procomp_pay.providers.statements.layout.model import PROVIDERS, STRIPE, Layout
from procomp_pay.providers.statements.line_reader import LineReader
from procomp_pay.providers.statements.period import day_zone, period_in_name
from procomp_pay.providers.statements.table import EXPORT_AGAIN, RULES, Table
from procomp_pay.providers.tabular.file_type import cannot_open, is_workbook, not_a_file

#: Called with the bytes done and the bytes in all; the file is read twice.
Progress = Callable[[int, int], None]


class Statement:
    """An open statement; use it as a context manager. Each iteration reads the file again.

    :ivar summary: the summary of the last iteration, complete at its end.
    """

    def __init__(
        self, file: BinaryIO, name: str, table: Table, progress: Progress | None, *, looks: bool = True
    ) -> None:
        self._file = file
        self._name = name
        self._table = table
        self._progress = progress
        self._stamp = _stamp(file)
        self._looked: FirstPassResult | None = None
        self._passed = 0
        if looks:
            self._look_through()
        self.summary = StatementSummary(notes=list(table.notes))

    def _look_through(self) -> FirstPassResult:
        if self._looked is None:
            self._looked = first_pass(self._table, self._step)
            self._passed = self._table.bytes_total
        return self._looked

    @property
    def layout(self) -> Layout:
        """The provider, and the role of each column."""
        return self._table.layout

    @property
    def provider(self) -> str:
        """``kaspi`` or ``stripe``."""
        return self._table.layout.provider

    @property
    def owner(self) -> str | None:
        """The BIN or IIN of the merchant, twelve digits; ``None`` if the file does not name one."""
        return self._table.owner

    @property
    def period(self) -> StatementPeriod | None:
        """The period that the file itself, or its name, says that it covers; ``None`` if neither does."""
        if self.provider == STRIPE:
            return period_in_name(self._name, self.day_zone)
        return self._table.period

    @property
    def day_zone(self) -> ZoneInfo:
        """The zone of the report's days. Do not use it during an iteration."""
        first = next(self._table.rows(lambda _line, _why: None), None)
        return day_zone(self.layout, first[1] if first else ())

    @property
    def kind(self) -> str:
        """The format: ``CSV (UTF-8, ;)``."""
        return self._table.kind

    @property
    def sha256(self) -> str:
        """Hash the file, in hexadecimal. Do not use it during an iteration."""
        self._file.seek(0)
        return hashlib.file_digest(cast(Any, self._file), "sha256").hexdigest()

    @property
    def rows(self) -> int:
        """The number of rows below the headers, of any kind."""
        return self._look_through().rows

    @property
    def bytes_total(self) -> int:
        """The size of the file in bytes."""
        return self._table.bytes_total

    @property
    def bytes_read(self) -> int:
        """The number of bytes that the present iteration has read."""
        return self._table.bytes_read

    def __iter__(self) -> Iterator[StatementLine]:
        """Yield the lines, in the file's order.

        :raises InvalidStatement: the file was changed meanwhile.
        """
        known = self._look_through()
        self.summary = StatementSummary(notes=list(self._table.notes))
        yield from LineReader(self._table, known, self.summary, self._step)
        self._check_same()

    def quick(self) -> FastReader:
        """Return a reader that yields the lines in blocks; use none of them before the last one was read.

        :raises NotPlain: the statement has to be iterated instead, as a workbook always has.
        """
        if not isinstance(self._table, CsvTable):
            raise NotPlain
        self.summary = StatementSummary(notes=list(self._table.notes))
        return FastReader(self._table, self.summary, self._step, self._check_same)

    def _check_same(self) -> None:
        if _stamp(self._file) != self._stamp:
            raise InvalidStatement(N_("The file was changed while it was read"), next_step=N_("run it again"))

    def _step(self) -> None:
        if self._progress is not None:
            self._progress(self._passed + self._table.bytes_read, 2 * self._table.bytes_total)

    def close(self) -> None:
        """Close the file."""
        self._table.close()

    def __enter__(self) -> Statement:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_statement(
    path: Path,
    *,
    provider: str | None = None,
    mapping: Path | None = None,
    progress: Progress | None = None,
    looks: bool = True,
) -> Statement:
    """Open a statement and check the whole file. Its format is known by its content, not by its name.

    :param provider: ``kaspi`` or ``stripe``; a file of the other one is refused.
    :param mapping: a mapping file, for a layout that is not known.
    :param progress: called now and then with the progress.
    :param looks: ``False`` leaves the check of all rows to the reading, which may then refuse the file at its
        end: for callers that use no line before.
    :raises InvalidFile: it cannot be read for certain; nothing of it is used.
    """
    if provider is not None and provider not in PROVIDERS:
        raise InvalidStatement(
            N_("Statements of %(provider)s are not supported", provider=provider[:20]),
            next_step=N_("use kaspi or stripe"),
        )
    mapped = read_mapping(mapping) if mapping is not None else None
    if mapped is not None and provider not in (None, mapped.provider):
        raise InvalidStatement(
            N_(
                "The mapping is for statements of %(provider)s, but --provider is %(other)s",
                provider=mapped.provider,
                other=provider,
            ),
            next_step=N_("leave --provider out"),
        )
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its writer
            raise not_a_file(path)
        file = path.open("rb")
    except OSError as error:
        raise cannot_open(path, error) from None
    try:
        return Statement(file, path.name, _table(file, provider, mapped), progress, looks=looks)
    except BaseException:
        file.close()
        raise


def _table(file: BinaryIO, provider: str | None, mapped: ColumnMapping | None) -> Table:
    about = os.fstat(file.fileno())
    if about.st_size == 0:
        raise InvalidStatement(N_("The file is empty (0 bytes)"), next_step=EXPORT_AGAIN)
    if is_workbook(file, RULES):
        # openpyxl is imported for workbooks only
        from procomp_pay.providers.statements.xlsx_table import XlsxTable

        return XlsxTable(file, about.st_size, provider=provider, mapped=mapped)
    return CsvTable(file, about.st_size, provider=provider, mapped=mapped)


def _stamp(file: BinaryIO) -> tuple[int, int]:
    about = os.fstat(file.fileno())
    return about.st_size, about.st_mtime_ns
