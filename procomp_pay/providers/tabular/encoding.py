"""Find a text file's encoding before its text is read, in one pass with the memory of one block.

The encoding is proven or the file is refused. The same pass finds lines that are too long and NULs.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from procomp_pay.domain.errors import InvalidFile
from procomp_pay.domain.text import N_
from procomp_pay.providers.tabular.rules import FileRules

_BLOCK = 65_536
#: After this many valid characters beyond ASCII an invalid one is damage and not another encoding.
_SURELY_UTF8 = 4
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_NAMES = {"kz1048": "Windows Cyrillic", "utf-16-le": "utf-16", "utf-16-be": "utf-16", "utf-8": "UTF-8"}


@dataclass(frozen=True, slots=True)
class EncodingScan:
    """Facts about a text file's bytes.

    :param encoding: Python's name. ``kz1048`` is Windows Cyrillic with or without Kazakh letters.
    :param start: the byte after the byte order marks; some programs write two.
    :param is_guess: the encoding still has to be proven, by headers that are known words.
    :param kazakh_is_unsure: the Kazakh letters could be those of another Cyrillic encoding (PTCP154).
    :param ends_clean: the last line has a line end.
    """

    encoding: str
    start: int
    is_guess: bool
    kazakh_is_unsure: bool
    ends_clean: bool

    @property
    def encoding_name(self) -> str:
        """The encoding for a message: ``UTF-8``, ``Windows Cyrillic``."""
        return _NAMES.get(self.encoding, self.encoding)


class _Lines:
    """Follow line ends and NULs through blocks of an ASCII-compatible text."""

    def __init__(self, rules: FileRules) -> None:
        self._rules = rules
        self.line = 1
        self.has_nul = False
        self._since = 0
        self._last = b"\n"

    def take(self, block: bytes) -> None:
        longest = self._rules.longest_line
        if b"\x00" in block:
            self.has_nul = True
            if longest is not None:
                raise not_text(self._rules)
        ends = [position for position in (block.find(b"\n"), block.find(b"\r")) if position >= 0]
        if longest is not None and self._since + (min(ends) if ends else len(block)) > longest:
            raise InvalidFile(
                N_("the line is longer than %(most)s kB: this is another kind of file", most=longest // 1024),
                next_step=self._rules.save_again,
                line=self.line,
            )
        self.line += block.count(b"\n")
        last = max(block.rfind(b"\n"), block.rfind(b"\r"))
        self._since = len(block) - last - 1 if last >= 0 else self._since + len(block)
        self._last = block[-1:]

    @property
    def ends_clean(self) -> bool:
        return self._last in (b"\n", b"\r")


def not_text(rules: FileRules) -> InvalidFile:
    """Return the error for a file with NUL bytes."""
    return InvalidFile(N_("The file is no text: it has NUL bytes"), next_step=_or_as_utf8(rules))


def scan_encoding(file: BinaryIO, rules: FileRules, *, encoding: str | None = None) -> EncodingScan:
    """Look through the whole file and leave it at its start.

    :param encoding: the encoding that the user named.
    :raises InvalidFile: no text, a line that is too long, or an encoding that cannot be proven.
    """
    chosen, start = _by_mark(file, encoding)
    lines, is_guess, unsure = _Lines(rules), False, False
    file.seek(start)
    if chosen in _UTF16.values():
        for block in _recoded(_blocks(file), chosen, rules):
            lines.take(block)
    else:
        check = _Check(chosen, rules)
        for block in _blocks(file):
            lines.take(block)
            check.take(block, lines)
        chosen, is_guess = check.result(given=encoding is not None, lines=lines)
        unsure = is_guess and check.kazakh_is_unsure
    file.seek(0)
    return EncodingScan(chosen, start, is_guess, unsure, lines.ends_clean)


def _by_mark(file: BinaryIO, given: str | None) -> tuple[str, int]:
    """Return the encoding to try first, and where its text starts behind all byte order marks."""
    file.seek(0)
    beginning = file.read(64)
    chosen, mark = given or "utf-8", codecs.BOM_UTF8
    if given in (None, "utf-16"):
        order_mark = beginning[:2]
        if order_mark in _UTF16:
            chosen, mark = _UTF16[order_mark], order_mark
        elif given == "utf-16":
            chosen, mark = "utf-16-le", codecs.BOM_UTF16_LE
    start = 0
    if chosen in ("utf-8", *_UTF16.values()):
        while beginning.startswith(mark, start):
            start += len(mark)
    return chosen, start


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block


def _recoded(blocks: Iterator[bytes], encoding: str, rules: FileRules) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for block in blocks:
            text = decoder.decode(block).encode()
            for position in range(0, len(text), _BLOCK):
                yield text[position : position + _BLOCK]
        decoder.decode(b"", final=True)
    except UnicodeError:
        raise InvalidFile(
            N_("The file begins as UTF-16 text and does not go on as such: it is damaged or cut"),
            next_step=rules.save_again,
        ) from None


def _or_as_utf8(rules: FileRules) -> str:
    return N_("%(again)s; a spreadsheet can save it as CSV UTF-8 or XLSX", again=rules.save_again)


#: Bytes beyond ASCII in Windows Cyrillic text: letters, ё, № « », dashes, quotes, no-break space, Kazakh.
_CYRILLIC = bytes([*range(0xC0, 0x100), 0xA8, 0xB8, 0xB9, 0xAB, 0xBB, 0xA0, 0x85, 0x91, 0x92, 0x93, 0x94])
_CYRILLIC += bytes(
    [0x96, 0x97, 0xB0, *b"\x8d\x8e\x8f\x9d\x9e\x9f\xa1\xa2\xa3\xa5\xaa\xaf\xb2\xb3\xb4\xba\xbc\xbd\xbe\xbf"]
)
#: The one byte that has no character in it.
_UNDEFINED = b"\x98"
_ASCII = bytes(range(0x80))
#: Kazakh letters of KZ-1048 that PTCP154 has elsewhere: Ұ ұ Ә Ө Ү ө ә Ң ң ү.
_KZ1048_ONLY = re.compile(rb"[\xa1\xa2\xa3\xa5\xaf\xb4\xbc\xbd\xbe\xbf]")
#: Kazakh letters of PTCP154 beside another letter; KZ-1048 has signs and Serbian letters there.
_PTCP154_ONLY = re.compile(
    rb"[\xc0-\xff][\x81\x83\x87\x89\x8c\x9c\xa4\xa6\xb1\xb5]|[\x81\x83\x87\x89\x8c\x9c\xa4\xa6\xb1\xb5][\xc0-\xff]"
)
#: Ғ and ғ of KZ-1048, Ә and ә of PTCP154.
_EITHER = re.compile(rb"[\xaa\xba]")


class _Check:
    """Check one encoding byte by byte; where UTF-8 fails, collect what speaks for Windows Cyrillic."""

    def __init__(self, encoding: str, rules: FileRules) -> None:
        self._encoding = encoding
        self._rules = rules
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._failed_at: int | None = None
        self._good = 0
        self._foreign = 0
        self._odd = 0
        self._is_undefined = False
        self._has_kz1048 = self._has_ptcp154 = self._has_either = False

    @property
    def kazakh_is_unsure(self) -> bool:
        """Return whether nothing tells KZ-1048 from PTCP154, or the letters are those of PTCP154."""
        return self._has_ptcp154 or (self._has_either and not self._has_kz1048)

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
        self._has_kz1048 = self._has_kz1048 or _KZ1048_ONLY.search(foreign) is not None
        self._has_ptcp154 = self._has_ptcp154 or _PTCP154_ONLY.search(block) is not None
        self._has_either = self._has_either or _EITHER.search(foreign) is not None

    def result(self, *, given: bool, lines: _Lines) -> tuple[str, bool]:
        """Return the encoding, and whether known headers still have to prove it."""
        again = self._rules.save_again
        if self._failed_at is None:
            try:
                self._decoder.decode(b"", final=True)
            except UnicodeDecodeError:
                raise InvalidFile(
                    N_("The file ends in the middle of a letter: it is cut"), next_step=again
                ) from None
            return self._encoding, False
        if given or self._good >= _SURELY_UTF8:
            raise InvalidFile(
                N_(
                    "the text is %(encoding)s up to here and then is not: the file is damaged",
                    encoding=_NAMES.get(self._encoding, self._encoding),
                ),
                next_step=again,
                line=self._failed_at,
            )
        if lines.has_nul:
            raise not_text(self._rules)
        if self._odd * 20 > self._foreign or self._is_undefined:
            raise InvalidFile(
                N_("the file is neither UTF-8 nor Windows Cyrillic (cp1251) text"),
                next_step=_or_as_utf8(self._rules),
                line=self._failed_at,
            )
        return "kz1048", True
