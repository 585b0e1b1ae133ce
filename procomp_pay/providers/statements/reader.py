"""Read a provider's statement line by line, in flat memory.

What is refused and what is passed over:

- **Refused before the first line**, with :class:`~procomp_pay.domain.errors.InvalidStatement`: a file whose
  layout, encoding or wholeness is in doubt. It is looked through once for that before a line is handed out.
- **Skipped with a reason**, in :attr:`Statement.tally`: a single line that cannot be read for certain.
  Whoever uses the lines ends with exit code 6 if there is one; none is dropped silently.
- **Told and counted once**: the same operation with the same content again.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

from procomp_pay.domain.errors import InvalidStatement
from procomp_pay.domain.reconciliation.statement_line import NotPlain, StatementLine
from procomp_pay.providers.statements.csv.fast_reader import FastReader
from procomp_pay.providers.statements.csv.table import CsvTable
from procomp_pay.providers.statements.first_pass import FirstPassResult, first_pass
from procomp_pay.providers.statements.layout.mapping_file import ColumnMapping, read_mapping
from procomp_pay.providers.statements.layout.model import PROVIDERS, Layout
from procomp_pay.providers.statements.line_reader import LineReader
from procomp_pay.providers.statements.summary import StatementSummary
from procomp_pay.providers.statements.table import EXPORT_AGAIN, RULES, Table, cannot_open
from procomp_pay.providers.tabular.file_type import is_workbook

#: Told how far the reading has come: bytes done and bytes of all; a CSV is gone through twice.
Progress = Callable[[int, int], None]


class Statement:
    """A statement that is open; use it as a context manager. Each iteration reads it anew.

    :ivar tally: what was seen, whole at the end of an iteration.
    """

    def __init__(
        self, file: BinaryIO, table: Table, progress: Progress | None, *, looks: bool = True
    ) -> None:
        self._file = file
        self._table = table
        self._progress = progress
        self._stamp = _stamp(file)
        self._looked: FirstPassResult | None = None
        self._passed = 0
        if looks:
            self._look_through()
        self.tally = StatementSummary(notes=list(table.notes))

    def _look_through(self) -> FirstPassResult:
        if self._looked is None:
            self._looked = first_pass(self._table, self._step)
            self._passed = self._table.bytes_total
        return self._looked

    @property
    def layout(self) -> Layout:
        """Whose statement it is, and which column says what."""
        return self._table.layout

    @property
    def provider(self) -> str:
        """``kaspi`` or ``stripe``."""
        return self._table.layout.provider

    @property
    def owner(self) -> str | None:
        """The BIN or IIN of the merchant, twelve digits; ``None`` where the file does not name one."""
        return self._table.owner

    @property
    def kind(self) -> str:
        """What the file was read as: ``CSV (UTF-8, ;)``."""
        return self._table.kind

    @property
    def sha256(self) -> str:
        """Of the file, in hexadecimal: the same for the same export given twice. Not to be asked while the
        lines are read."""
        self._file.seek(0)
        return hashlib.file_digest(cast(Any, self._file), "sha256").hexdigest()

    @property
    def rows(self) -> int:
        """Rows below the header, of whatever sort."""
        return self._look_through().rows

    @property
    def bytes_total(self) -> int:
        """The size of the file."""
        return self._table.bytes_total

    @property
    def bytes_read(self) -> int:
        """How far the present iteration has come."""
        return self._table.bytes_read

    def __iter__(self) -> Iterator[StatementLine]:
        """The lines, in the file's order.

        :raises InvalidStatement: the file was changed meanwhile.
        """
        known = self._look_through()
        self.tally = StatementSummary(notes=list(self._table.notes))
        yield from LineReader(self._table, known, self.tally, self._step)
        self._check_same()

    def quick(self) -> FastReader:
        """The lines the quick way, for one who judges nothing before the last of them.

        :raises NotPlain: iterate instead; a workbook always says so.
        """
        if not isinstance(self._table, CsvTable):
            raise NotPlain
        self.tally = StatementSummary(notes=list(self._table.notes))
        return FastReader(self._table, self.tally, self._step, self._check_same)

    def _check_same(self) -> None:
        if _stamp(self._file) != self._stamp:
            raise InvalidStatement("The file was changed while it was read", next_step="run it again")

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
    """Open a statement and look through it once; its content says what it is, not its name.

    :param provider: ``kaspi`` or ``stripe``; a file of the other one is refused.
    :param mapping: a mapping file, for a layout that is not known.
    :param progress: told how far it has come, now and then.
    :param looks: ``False`` leaves the look at every row to the reading, which then may refuse the file at its
        end: for one who judges nothing before.
    :raises InvalidStatement: it cannot be read for certain; nothing of it is used.
    """
    if provider is not None and provider not in PROVIDERS:
        raise InvalidStatement(f"There are no statements of {provider[:20]!r}", next_step="kaspi or stripe")
    mapped = read_mapping(mapping) if mapping is not None else None
    if mapped is not None and provider not in (None, mapped.provider):
        raise InvalidStatement(
            f"The mapping is for statements of {mapped.provider}, and --provider says {provider}",
            next_step="leave --provider out",
        )
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its writer
            raise InvalidStatement(
                f"{path.name} is no file", next_step="save the statement as a file, and give that"
            )
        file = path.open("rb")
    except OSError as error:
        raise cannot_open(path, error) from None
    try:
        return Statement(file, _table(file, provider, mapped), progress, looks=looks)
    except BaseException:
        file.close()
        raise


def _table(file: BinaryIO, provider: str | None, mapped: ColumnMapping | None) -> Table:
    about = os.fstat(file.fileno())
    if about.st_size == 0:
        raise InvalidStatement("The file is empty (0 bytes)", next_step=EXPORT_AGAIN)
    if is_workbook(file, RULES):
        # a workbook's parser is loaded for a workbook alone
        from procomp_pay.providers.statements.xlsx_table import XlsxTable

        return XlsxTable(file, about.st_size, provider=provider, mapped=mapped)
    return CsvTable(file, about.st_size, provider=provider, mapped=mapped)


def _stamp(file: BinaryIO) -> tuple[int, int]:
    about = os.fstat(file.fileno())
    return about.st_size, about.st_mtime_ns
