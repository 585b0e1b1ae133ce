"""Split CSV text into cells, in any usual encoding and with any usual delimiter."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import BinaryIO

from procomp_pay.domain.errors import InvalidFile
from procomp_pay.domain.text import N_
from procomp_pay.providers.tabular.cells import Broken
from procomp_pay.providers.tabular.encoding import scan_encoding
from procomp_pay.providers.tabular.rules import FileRules

#: The delimiters that are tried, the usual ones first.
DELIMITERS = (",", ";", "\t", "|", "^")


class UnclosedQuote(InvalidFile):
    """A quotation mark opens a cell that the file never closes: it may have been cut there."""


class CsvFile:
    """A text file that is read with one delimiter or another.

    :param file: opened for reading bytes; its owner closes it.
    :param encoding: the encoding that the user named.
    :raises InvalidFile: as :func:`~procomp_pay.providers.tabular.encoding.scan_encoding` does.
    """

    def __init__(self, file: BinaryIO, rules: FileRules, *, encoding: str | None = None) -> None:
        self._file = file
        self.rules = rules
        self.scan = scan_encoding(file, rules, encoding=encoding)
        #: The delimiter of Excel's own first line ``sep=;``, where there is one.
        self.named_delimiter = self._sep_line()

    def open_text(self) -> io.TextIOWrapper:
        """Open the text at its start; detach it after use, or it closes the file."""
        self._file.seek(self.scan.start)
        return io.TextIOWrapper(self._file, encoding=self.scan.encoding, newline="")

    def describe(self, delimiter: str) -> str:
        """Return what the file is read as: ``CSV (UTF-8, ;)``."""
        name = "tab" if delimiter == "\t" else delimiter
        return f"CSV ({self.scan.encoding_name}, {name})"

    def rows(self, delimiter: str, broken: Broken) -> Iterator[tuple[int, list[str]]]:
        """Yield rows with the 1-based line on which each begins. Empty lines are left out.

        :raises UnclosedQuote: at the end of the file, with the line where the quoted cell begins.
        """
        text = self.open_text()
        try:
            yield from self._split(text, delimiter, broken)
        finally:
            text.detach()

    def _split(
        self, text: io.TextIOWrapper, delimiter: str, broken: Broken
    ) -> Iterator[tuple[int, list[str]]]:
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        above = 0
        if self.named_delimiter is not None:
            text.readline()
            above = 1
        line = above + 1
        while True:
            try:
                for row in reader:
                    if row:
                        yield line, row
                    line = reader.line_num + above + 1
            except csv.Error as error:
                if "unexpected end" in str(error):
                    raise UnclosedQuote(
                        N_(
                            "a quoted field begins here and never ends: the file ends in the middle of this "
                            "line: it was cut, and more lines may be missing"
                        ),
                        next_step=self.rules.save_again,
                        line=line,
                    ) from None
                broken(line, _why(str(error), line, reader.line_num + above))
                line = reader.line_num + above + 1
            else:
                return

    def _sep_line(self) -> str | None:
        text = self.open_text()
        try:
            first = text.read(16).partition("\n")[0].rstrip("\r").strip('"')
        finally:
            text.detach()
            self._file.seek(0)
        return first[4] if len(first) == 5 and first.lower().startswith("sep=") else None


def _why(error: str, line: int, until: int) -> str:
    if "field limit" in error:
        return N_(
            "a cell is longer than %(most)s characters: a quotation mark may be missing",
            most=csv.field_size_limit(),
        )
    what = (
        N_("a quotation mark is inside a quoted cell and not doubled")
        if "expected after" in error
        else N_("the line cannot be split into cells")
    )
    return N_("%(what)s (up to line %(until)s)", what=what, until=until) if until > line else what
