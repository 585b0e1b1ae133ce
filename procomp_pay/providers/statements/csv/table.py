"""CSV as providers and spreadsheets write it: any usual encoding and delimiter, a title above the head."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

from procomp_pay.domain.errors import InvalidStatement
from procomp_pay.providers.statements.csv.blocks import Block, blocks
from procomp_pay.providers.statements.csv.encoding import Survey, survey
from procomp_pay.providers.statements.layout.headers import MOST_COLUMNS, Meaning
from procomp_pay.providers.statements.layout.mapping_file import Mapped
from procomp_pay.providers.statements.layout.recognise import HEAD_WITHIN, STRIPE, Layout, recognise
from procomp_pay.providers.statements.owner import owner_of
from procomp_pay.providers.statements.table import EXPORT_AGAIN, Broken, Row, unknown

_DELIMITERS = (",", ";", "\t", "|")
#: What says so by itself if it was cut, or does not matter.
_MAY_BE_CUT = (Meaning.DESCRIPTION, Meaning.TYPE, Meaning.STATUS, Meaning.CURRENCY)
_TWO_DECIMALS = re.compile(r"[.,]\d\d$", re.A)
_CUT = "the file ends in the middle of this line: it was cut, and more lines may be missing"


class CsvTable:
    """A CSV statement.

    :param file: opened for reading bytes; closed by :meth:`close`.
    :raises InvalidStatement: as ``survey`` does, or an unknown layout.
    """

    def __init__(self, file: BinaryIO, size: int, *, provider: str | None, mapped: Mapped | None) -> None:
        self._file = file
        self.bytes_total = size
        self.notes: list[str] = []
        self._seen: Survey = survey(file, encoding=mapped.encoding if mapped else None)
        self._sep = self._sep_line()
        self._delimiter, self.layout = self._recognise(provider, mapped)
        self._prove_encoding()
        name = {"\t": "tab"}.get(self._delimiter, self._delimiter)
        encoding = {"utf-8-sig": "UTF-8", "kz1048": "Windows Cyrillic"}.get(
            self._seen.encoding, self._seen.encoding
        )
        self.kind = f"CSV ({encoding}, {name})"

    @property
    def bytes_read(self) -> int:
        """How far the file was read, in steps of a block."""
        return min(self._file.tell(), self.bytes_total)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def rows(self, broken: Broken) -> Iterator[Row]:
        """The rows below the head; one that cannot be split into cells is told to ``broken``."""
        rows = self._all(self._delimiter, broken)
        for number, _ in rows:
            if number >= self.layout.row:
                break
        return rows

    def blocks(self) -> Iterator[Block]:
        """The rows below the head, many at a time.

        :raises NotPlain: only :meth:`rows` can split them.
        """
        self._file.seek(0)
        text = io.TextIOWrapper(self._file, encoding=self._seen.encoding, newline="")
        try:
            yield from blocks(text, self._delimiter, self.layout)
        finally:
            text.detach()

    @property
    def ends_clean(self) -> bool:
        """The last line has its end."""
        return self._seen.ends_clean

    def check_whole(self, last: Row | None) -> int | None:
        """The last line, where it has no end and its last cell counts and could go on.

        :raises InvalidStatement: the last line has no end and not all of its cells.
        """
        if self._seen.ends_clean or last is None:
            return None
        number, cells = last
        if len(cells) < len(self.layout.heads):
            raise InvalidStatement(_CUT, next_step=EXPORT_AGAIN, line=number)
        self.notes.append("the last line has no line end: make sure that the file is whole")
        ends = {place: meaning for meaning, place in self.layout.columns.items()}.get(len(cells) - 1)
        if ends is None or ends in _MAY_BE_CUT:
            return None
        is_amount = ends in (Meaning.AMOUNT, Meaning.FEE, Meaning.NET)
        return None if is_amount and _TWO_DECIMALS.search(str(cells[-1])) else number

    def _all(self, delimiter: str, broken: Broken) -> Iterator[Row]:
        self._file.seek(0)
        text = io.TextIOWrapper(self._file, encoding=self._seen.encoding, newline="")
        try:
            yield from self._split(text, delimiter, broken)
        finally:
            text.detach()  # else it would close the file with itself

    def _split(self, text: io.TextIOWrapper, delimiter: str, broken: Broken) -> Iterator[Row]:
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        above = 0
        if self._sep is not None:
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
                    raise InvalidStatement(
                        f"a quoted field begins here and never ends: {_CUT}",
                        next_step=EXPORT_AGAIN,
                        line=line,
                    ) from None
                broken(line, _why(str(error), line, reader.line_num + above))
                line = reader.line_num + above + 1
            else:
                return

    def _sep_line(self) -> str | None:
        """The delimiter that Excel's own first line ``sep=;`` names."""
        text = self._file.read(64).decode(self._seen.encoding, "ignore")
        self._file.seek(0)
        first = text.lstrip("\ufeff").partition("\n")[0].rstrip("\r").strip('"')
        return first[4] if len(first) == 5 and first.lower().startswith("sep=") else None

    def _recognise(self, provider: str | None, mapped: Mapped | None) -> tuple[str, Layout]:
        given = (mapped.delimiter if mapped else None) or self._sep
        widest: list[list[str]] = []
        for delimiter in (given,) if given else _DELIMITERS:
            seen: list[list[str]] = []
            for number, cells in self._top(delimiter):
                layout = recognise(cells, number, provider=provider, mapped=mapped)
                if layout is not None:
                    self.owner = owner_of(seen)
                    return delimiter, layout
                seen.append(cells)
            if max(map(len, seen), default=0) > max(map(len, widest), default=0):
                widest = seen
        if not widest:
            raise InvalidStatement("The file has nothing in it", next_step=EXPORT_AGAIN)
        if self._is_mojibake(widest):
            raise InvalidStatement(
                "The text was read in a wrong encoding before it was saved: its letters are lost",
                next_step=EXPORT_AGAIN,
            )
        raise unknown(widest, provider=provider, mapping=mapped.name if mapped else None)

    def _top(self, delimiter: str) -> Iterator[tuple[int, list[str]]]:
        def ignore(_line: int, _why: str) -> None: ...

        try:
            for number, row in islice(self._all(delimiter, ignore), HEAD_WITHIN):
                yield number, [str(cell) for cell in row[:MOST_COLUMNS]]
        except InvalidStatement:
            return  # with another delimiter the quotation marks may fall elsewhere

    def _is_mojibake(self, rows: list[list[str]]) -> bool:
        """Heads that turn into known ones once the wrong decoding is undone: ``РќРѕРјРµСЂ`` is ``Номер``."""
        for row in rows:
            try:
                undone = [cell.encode("cp1251").decode() for cell in row]
            except UnicodeError:
                continue
            if undone != row and recognise(undone, 0, provider=None, mapped=None) is not None:
                return True
        return False

    def _prove_encoding(self) -> None:
        """Windows Cyrillic is believed only where known Cyrillic heads stand in it.

        :raises InvalidStatement: nothing shows that the letters are the right ones.
        """
        heads = [self.layout.heads[place] for place in self.layout.columns.values()]
        if self._seen.is_guess and (self.layout.provider == STRIPE or all(head.isascii() for head in heads)):
            raise InvalidStatement(
                "The file is not UTF-8, and nothing shows which letters are meant",
                next_step=f'{EXPORT_AGAIN}, or name the encoding in a mapping: encoding = "cp1251"',
            )


def _why(error: str, line: int, until: int) -> str:
    lines = f" (up to line {until})" if until > line else ""
    if "expected after" in error:
        return f"a quoted text does not end where its cell ends{lines}"
    if "field limit" in error:
        return f"a quotation mark opens a text without end{lines}"
    return f"the line cannot be split into cells{lines}"
