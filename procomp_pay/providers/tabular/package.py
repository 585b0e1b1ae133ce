"""Open a workbook's ZIP package safely: bounded, without macros, and with its parts found by any spelling.

ECMA-376 part 2: part names are the same in any case. Some programs write ``\\`` between folders.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO
from xml.parsers import expat

from procomp_pay.domain.errors import InvalidFile
from procomp_pay.domain.text import N_
from procomp_pay.providers.tabular.rules import FileRules

SAVE_AS_XLSX = N_("open it in Excel or LibreOffice and save it again as .xlsx")
UNPACK = N_("unpack it, and give the file in it")
_MOST_PARTS = 1000
#: Bytes of one cell's text and of one row: more than a spreadsheet program writes.
_LONGEST_TEXT = 262_144
_LONGEST_ROW = 4_194_304
#: Bytes of a part that is read whole: the list of sheets, relationships, styles.
_LARGEST_SMALL_PART = 20_000_000
_BLOCK = 65_536
_OVERLAP = 64
_ROW = re.compile(rb"<(?:\w+:)?(?:row|si)[\s>/]")
_SHEET = re.compile(r"xl/worksheets/[^/]+\.xml")
#: What reading a broken ZIP archive or broken XML raises.
_BROKEN = (
    zipfile.BadZipFile, zlib.error, OSError, ValueError, NotImplementedError, EOFError, LookupError,
    ArithmeticError, AttributeError, TypeError, expat.ExpatError,
)  # fmt: skip
#: An element's name and attributes, without their namespaces, and the name of its parent.
Element = tuple[str, dict[str, str], str]


def damaged() -> InvalidFile:
    """Return the error for a workbook that is not as its format says."""
    return InvalidFile(N_("The file is no XLSX workbook, or is damaged"), next_step=SAVE_AS_XLSX)


@contextmanager
def refusing_damage() -> Iterator[None]:
    """Turn whatever a broken archive or broken XML raises into :class:`InvalidFile`."""
    try:
        yield
    except _BROKEN:
        raise damaged() from None
    except RuntimeError:  # zipfile's error for an encrypted part
        raise InvalidFile(
            N_("The workbook is protected by a password"), next_step=N_("save it without the password")
        ) from None


class Package:
    """The parts of a workbook.

    :param file: opened for reading bytes; its owner closes it.
    :raises InvalidFile: no workbook, damaged, too large unpacked, with macros, or protected.
    """

    def __init__(self, file: BinaryIO, rules: FileRules) -> None:
        file.seek(0)
        with refusing_damage():
            self._archive = zipfile.ZipFile(file)
            names = [_spelling(name) for name in self._archive.namelist()]
            self._parts = dict(zip(names, self._archive.infolist(), strict=True))
        if len(names) > _MOST_PARTS:
            raise InvalidFile(N_("The workbook has too many parts"), next_step=SAVE_AS_XLSX)
        self._check_sizes(rules)
        self._check_kind()
        if len(self._parts) < len(names):
            raise damaged()  # two parts of one name: programs differ in which of them they read

    def __contains__(self, name: str) -> bool:
        return _spelling(name) in self._parts

    def elements(self, name: str) -> list[Element]:
        """Return the elements of a small part in their order; a part that is missing has none.

        :raises InvalidFile: damaged, or too large for such a part.
        """
        part = self._parts.get(_spelling(name))
        if part is None:
            return []
        if part.file_size > _LARGEST_SMALL_PART:
            raise damaged()
        elements: list[Element] = []
        parents = [""]

        def start(tag: str, attributes: dict[str, str]) -> None:
            plain = {local(key): value for key, value in attributes.items()}
            elements.append((local(tag), plain, parents[-1]))
            parents.append(local(tag))

        parser = new_parser(start, lambda _tag: parents.pop())
        with refusing_damage():
            parser.Parse(self._archive.read(part).lstrip(), True)
        return elements

    def blocks(self, name: str) -> Iterator[bytes]:
        """Yield a large part in blocks of 64 kB.

        :raises InvalidFile: damaged, or a text or row in it is too long.
        """
        with refusing_damage(), self._archive.open(self._parts[_spelling(name)]) as stream:
            yield from _measured(stream)

    def relations(self, name: str) -> dict[str, tuple[str, str]]:
        """Return what a part refers to: by id the kind (``worksheet``) and the part's name."""
        folder, _, base = _spelling(name).rpartition("/")
        relations: dict[str, tuple[str, str]] = {}
        for tag, attributes, _ in self.elements(f"{folder}/_rels/{base}.rels".lstrip("/")):
            if tag == "Relationship" and attributes.get("TargetMode") != "External":
                # the transitional and the strict format have other addresses before the same last word
                kind = attributes.get("Type", "").rpartition("/")[2]
                relations[attributes.get("Id", "")] = (kind, _resolve(folder, attributes.get("Target", "")))
        return relations

    def _check_sizes(self, rules: FileRules) -> None:
        sheets = sum(part.file_size for name, part in self._parts.items() if _SHEET.fullmatch(name))
        others = sum(part.file_size for part in self._archive.infolist()) - sheets
        if sheets > rules.most_in_sheets or others > rules.most_in_others:
            raise InvalidFile(
                N_("The workbook is too large: %(size)s MB unpacked", size=(sheets + others) // 1_000_000),
                next_step=N_("save its sheet alone, without pictures and formatting, or a part of its rows"),
            )

    def _check_kind(self) -> None:
        names = self._parts.keys()
        if any(name.endswith("vbaproject.bin") for name in names):
            raise InvalidFile(
                N_("The workbook holds macros"),
                next_step=N_("save it as .xlsx without macros"),
            )
        if "xl/workbook.bin" in names:
            raise InvalidFile(N_("The file is a binary workbook (.xlsb)"), next_step=SAVE_AS_XLSX)
        if "content.xml" in names and "mimetype" in names:
            raise InvalidFile(N_("The file is an OpenDocument sheet"), next_step=SAVE_AS_XLSX)
        if "[content_types].xml" not in names:
            raise InvalidFile(
                N_("The file is a ZIP archive and no workbook"),
                next_step=UNPACK,
            )


def local(name: str) -> str:
    """Return a name of XML without its prefix."""
    return name.rpartition(":")[2]


def new_parser(start: Callable[[str, dict[str, str]], Any], end: Callable[[str], Any]) -> expat.XMLParserType:
    """Return a parser that refuses a document type, with which a small file can unpack to a huge text."""
    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.buffer_text = True
    return parser


def _refuse_doctype(*_declared: Any) -> None:
    raise damaged()


def _spelling(name: str) -> str:
    return name.replace("\\", "/").lstrip("/").lower()


def _resolve(folder: str, target: str) -> str:
    """Return a relationship's target as a part's name."""
    if target.startswith("/"):
        return _spelling(target)
    parts = folder.split("/") if folder else []
    for step in target.replace("\\", "/").split("/"):
        if step == "..":
            parts = parts[:-1]
        elif step != ".":
            parts.append(step)
    return _spelling("/".join(parts))


def _measured(stream: Any) -> Iterator[bytes]:
    """Yield blocks whose texts and rows are measured first, so that a parser never holds a huge one."""
    since_tag = since_row = 0
    tail = b""
    is_first = True
    while block := stream.read(_BLOCK):
        if is_first:
            # some programs write an empty line before the XML declaration
            block, is_first = block.lstrip(), False
        if b"\x00" in block:
            # UTF-16: no program writes sheets in it, and nothing here would see through it
            raise damaged()
        first, last = block.find(b"<"), block.rfind(b"<")
        since_tag += first if first >= 0 else len(block)
        if since_tag > _LONGEST_TEXT:
            raise _too_long(N_("A cell of the workbook is longer than any that is read"))
        since_tag = len(block) - last if last >= 0 else since_tag
        both = tail + block
        starts = [match.start() for match in _ROW.finditer(both)]
        since_row = len(both) - starts[-1] if starts else since_row + len(block)
        if since_row > _LONGEST_ROW:
            raise _too_long(N_("A row of the workbook is longer than any that is read"))
        tail = both[-_OVERLAP:]
        yield block


def _too_long(why: str) -> InvalidFile:
    return InvalidFile(why, next_step=SAVE_AS_XLSX)
