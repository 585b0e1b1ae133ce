"""One quick look through a text file's bytes, before any of it is believed.

It finds the encoding for certain, lines too long to be a statement's, and an end inside a quoted field;
memory is one block, whatever the file holds.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from procomp_pay.domain.errors import InvalidStatement
from procomp_pay.providers.statements.table import EXPORT_AGAIN

#: The longest line, in bytes. One block is as long, so that a longer line is never read whole.
LONGEST_LINE = 65_536
_SAVE_AGAIN = f"{EXPORT_AGAIN}; a spreadsheet can save it as CSV UTF-8 or XLSX"
#: From so many good characters beyond ASCII on, a bad one is damage and not another encoding.
_SURELY_UTF8 = 4


@dataclass(frozen=True, slots=True)
class Survey:
    """What is certain of the bytes.

    :param encoding: Python's name; ``kz1048`` stands for Windows Cyrillic with Kazakh letters or without.
    :param is_guess: neither the bytes nor a mapping prove the encoding: the heads must.
    :param odd_quotes: the number of quotation marks is odd.
    :param ends_clean: the last line has its end.
    """

    encoding: str
    is_guess: bool
    odd_quotes: bool
    ends_clean: bool


class _Lines:
    """Follows line ends, quotation marks and NULs through blocks of an ASCII-compatible text."""

    def __init__(self) -> None:
        self.quotes = 0
        self.line = 1
        self._since = 0
        self._last = b"\n"

    def take(self, block: bytes) -> None:
        if b"\x00" in block:
            raise InvalidStatement("The file is no text: it has NUL bytes", next_step=_SAVE_AGAIN)
        self.quotes += block.count(b'"')
        ends = [place for place in (block.find(b"\n"), block.find(b"\r")) if place >= 0]
        if self._since + (min(ends) if ends else len(block)) > LONGEST_LINE:
            raise InvalidStatement(
                f"the line is longer than {LONGEST_LINE // 1024} kB: this is no statement",
                next_step=EXPORT_AGAIN,
                line=self.line,
            )
        self.line += block.count(b"\n")
        last = max(block.rfind(b"\n"), block.rfind(b"\r"))
        self._since = len(block) - last - 1 if last >= 0 else self._since + len(block)
        self._last = block[-1:]

    @property
    def ends_clean(self) -> bool:
        return self._last in (b"\n", b"\r")


def survey(file: BinaryIO, *, encoding: str | None) -> Survey:
    """Look through the whole file; it is left at its start.

    :param encoding: what a mapping says.
    :raises InvalidStatement: no text, a line too long, or an encoding that cannot be told.
    """
    start = file.read(4)
    file.seek(0)
    chosen, is_guess = encoding, False
    if chosen is None and start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        chosen = "utf-16"
    lines = _Lines()
    if chosen == "utf-16":
        for block in _recoded(_blocks(file), chosen):
            lines.take(block)
    else:
        doubt = _Doubt(chosen or "utf-8")
        for block in _blocks(file):
            lines.take(block)
            doubt.take(block, lines)
        chosen, is_guess = doubt.settle(given=encoding is not None)
    file.seek(0)
    return Survey(chosen, is_guess, lines.quotes % 2 == 1, lines.ends_clean)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(LONGEST_LINE):
        yield block


def _recoded(blocks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for block in blocks:
            text = decoder.decode(block).encode()
            for place in range(0, len(text), LONGEST_LINE):
                yield text[place : place + LONGEST_LINE]
        decoder.decode(b"", final=True)
    except UnicodeError:
        raise InvalidStatement(
            "The file begins as UTF-16 text and does not go on as such: it is damaged or cut",
            next_step=EXPORT_AGAIN,
        ) from None


#: What Windows Cyrillic text has beyond ASCII: letters, ё, № « », dashes, quotes, no-break space, Kazakh.
_CYRILLIC = bytes([*range(0xC0, 0x100), 0xA8, 0xB8, 0xB9, 0xAB, 0xBB, 0xA0, 0x85, 0x91, 0x92, 0x93, 0x94])
_CYRILLIC += bytes(
    [0x96, 0x97, 0xB0, *b"\x8d\x8e\x8f\x9d\x9e\x9f\xa1\xa2\xa3\xaa\xaf\xb2\xb3\xba\xbc\xbd\xbe\xbf"]
)
#: The one byte that stands for nothing there.
_UNDEFINED = b"\x98"
_ASCII = bytes(range(0x80))


class _Doubt:
    """UTF-8 as long as every byte fits; once one does not, whether it can be Windows Cyrillic."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._failed_at: int | None = None
        self._good = 0
        self._foreign = 0
        self._odd = 0
        self._is_undefined = False

    def take(self, block: bytes, lines: _Lines) -> None:
        if self._failed_at is None:
            try:
                text = self._decoder.decode(block)
            except UnicodeDecodeError as error:
                bad = error.object[: error.start]
                self._good += sum(1 for c in bad.decode(self._encoding) if c > "\x7f")
                # counted from the block's end, since `lines` has taken the whole of it
                self._failed_at = lines.line - bytes(error.object)[error.start :].count(b"\n")
            else:
                if self._good < _SURELY_UTF8 and not text.isascii():
                    self._good += sum(1 for c in text if c > "\x7f")
                return
        foreign = block.translate(None, _ASCII)
        self._foreign += len(foreign)
        self._is_undefined = self._is_undefined or _UNDEFINED in foreign
        self._odd += len(foreign.translate(None, _CYRILLIC))

    def settle(self, *, given: bool) -> tuple[str, bool]:
        """The encoding, and whether it is still for the heads to prove."""
        if self._failed_at is None:
            try:
                self._decoder.decode(b"", final=True)
            except UnicodeDecodeError:
                raise InvalidStatement(
                    "The file ends in the middle of a letter: it is cut", next_step=EXPORT_AGAIN
                ) from None
            return ("utf-8-sig" if self._encoding == "utf-8" else self._encoding), False
        if given or self._good >= _SURELY_UTF8:
            raise InvalidStatement(
                f"the text is {self._encoding} up to here and then is not: the file is damaged",
                next_step=EXPORT_AGAIN,
                line=self._failed_at,
            )
        if self._odd * 20 > self._foreign or self._is_undefined:
            raise InvalidStatement(
                "the file is neither UTF-8 nor Windows Cyrillic (cp1251) text",
                next_step=f"{_SAVE_AGAIN}; or name the encoding in a mapping",
                line=self._failed_at,
            )
        return "kz1048", True
