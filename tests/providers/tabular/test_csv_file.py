"""CSV files of many programs: encoding, delimiter, quotes."""

from __future__ import annotations

import codecs
import io

import pytest

from procomp_pay.domain.errors import InvalidFile
from procomp_pay.providers.tabular.csv_file import CsvFile, UnclosedQuote
from procomp_pay.providers.tabular.rules import FileRules

RULES = FileRules("save it again", "save it as XLSX", 10_000_000, 10_000_000)


def rows(content: bytes, delimiter: str = ";") -> list[tuple[int, list[str]]]:
    text = CsvFile(io.BytesIO(content), RULES)
    return list(text.rows(text.named_delimiter or delimiter, lambda _line, _why: None))


@pytest.mark.parametrize(
    ("marks", "encoding"),
    [
        (codecs.BOM_UTF8 * 2, "utf-8"),
        (codecs.BOM_UTF16_LE * 2, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ],
)
def test_byte_order_marks_are_not_text(marks: bytes, encoding: str) -> None:
    assert rows(marks + 'sep=^\n"Имя;"^б\n'.encode(encoding)) == [(2, ["Имя;", "б"])]
    assert rows(marks + '"Имя\n";б\n'.encode(encoding)) == [(1, ["Имя\n", "б"])]


@pytest.mark.parametrize(
    ("text", "encoding", "unsure"),
    [
        ("ФИО;Әсел", "kz1048", False),
        ("ФИО;Қайрат", "kz1048", False),  # the same byte in both encodings
        ("ФИО;Ғани", "kz1048", True),
        ("Аты-жөні;Ғани", "kz1048", False),
        ("ФИО;Әсел", "ptcp154", True),
        ("ФИО;Өмір Үсен", "ptcp154", True),
        ("ФИО;скидка 5 ‰ ± 1", "cp1251", False),
    ],
)
def test_kazakh_letters_are_told_from_those_of_another_encoding(
    text: str, encoding: str, unsure: bool
) -> None:
    scan = CsvFile(
        io.BytesIO(f"{text};Асель Тестова, Болат Тестов, Жанна Петрова\n".encode(encoding)), RULES
    ).scan
    assert (scan.encoding, scan.is_guess, scan.kazakh_is_unsure) == ("kz1048", True, unsure)


def test_all_kazakh_letters_of_windows_are_accepted() -> None:
    letters = "ӘәҒғҚқҢңӨөҰұҮүҺһІі"
    assert rows(letters.encode("kz1048")) == [(1, [letters])]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("ФИО;Имя\n".encode() + "Асель\n".encode("cp1251"), "damaged"),
        ("ФИО".encode()[:-1], "middle of a letter"),
        (b"a;\x98\xc0\n", "neither UTF-8"),
        (b"\xff\xfea\x00b", "UTF-16"),
        (b"\x89PNG\x00\xff", "NUL"),
    ],
)
def test_unproven_encoding_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(InvalidFile, match=why):
        rows(content)


def test_a_broken_row_is_reported_and_the_rows_around_it_are_read() -> None:
    broken: list[tuple[int, str]] = []
    text = CsvFile(io.BytesIO(b'a\n"b" c\n\nd\n'), RULES)
    assert list(text.rows(";", lambda line, why: broken.append((line, why)))) == [(1, ["a"]), (4, ["d"])]
    assert broken == [(2, "a quotation mark is inside a quoted cell and not doubled")]


def test_a_quote_that_is_never_closed_names_its_line() -> None:
    with pytest.raises(UnclosedQuote) as raised:
        rows(b'a\n"b\nc\n')
    assert raised.value.line == 2
