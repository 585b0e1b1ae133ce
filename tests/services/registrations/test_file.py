"""Lists of participants as people save them, and everything that can be wrong with them."""

from __future__ import annotations

import io
import zipfile
from datetime import date, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from procomp_pay.domain.errors import Refused
from procomp_pay.domain.names import clean_person
from procomp_pay.services.registrations import file as participant_file
from procomp_pay.services.registrations.file import Roster, RosterRow, read_roster
from tests.support.raw_workbooks import STRICT, TRANSITIONAL, Rows, raw_workbook

HEAD = "name,category,email\n"


@pytest.fixture
def save(tmp_path: Path) -> Any:
    def write(content: str | bytes, name: str = "roster.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def workbook(*rows: list[Any], title: str = "Лист1", more: dict[str, list[list[Any]]] | None = None) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = title
    for row in rows:
        sheet.append(row)
    for name, lines in (more or {}).items():
        other = book.create_sheet(name)
        for line in lines:
            other.append(line)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def cells(roster: Roster) -> list[tuple[int, str, str, str]]:
    assert not [row.problem for row in roster.rows if row.problem]
    return [(row.line, row.name, row.category, row.email) for row in roster.rows]


def problems(roster: Roster) -> list[tuple[int, str]]:
    return [(row.line, row.problem) for row in roster.rows if row.problem]


# Headers


@pytest.mark.parametrize(
    "header",
    ["name,category,email", "ФИО,Категория,Почта", "Аты-жөні,Санат,Пошта",
     "Ф.И.О. участника,Весовая категория,E-mail", "Қатысушының аты-жөні,Жас санаты,Пошта",
     "FULL_NAME,Weight category,E-Mail address", "Толық аты,Салмақ санаты,Электрондық пошта",
     "Участник,Категория (вес),Эл. почта"],
)  # fmt: skip
def test_headers_are_found_in_three_languages(save: Any, header: str) -> None:
    assert cells(read_roster(save(f"{header}\nҚайрат,-60,k@example.kz\n"))) == [
        (2, "Қайрат", "-60", "k@example.kz")
    ]


def test_columns_in_any_order_and_ignored_columns_are_listed(save: Any) -> None:
    roster = read_roster(
        save("№,Почта,Округ,Санат,Email тренера,ФИО\n1,k@example.kz,Барс,-60,t@x.kz,Қайрат\n")
    )
    assert cells(roster) == [(2, "Қайрат", "-60", "k@example.kz")]
    assert roster.ignored == ["№", "Округ", "Email тренера"]
    assert roster.used == {"name": "ФИО", "category": "Санат", "e-mail": "Почта"}


@pytest.mark.parametrize(
    ("header", "line", "name"),
    [("Фамилия,Имя,Отчество", "Асанов,Қайрат,Ерланұлы", "Асанов Қайрат Ерланұлы"),
     ("Имя,Фамилия", "Қайрат,Асанов", "Асанов Қайрат"), ("Тегі,Аты", "Асанов,Қайрат", "Асанов Қайрат"),
     ("first name,last name", "Kairat,Asanov", "Asanov Kairat"), ("Имя,Клуб", "Қайрат,Барс", "Қайрат")],
)  # fmt: skip
def test_name_is_joined_from_its_parts(save: Any, header: str, line: str, name: str) -> None:
    assert read_roster(save(f"{header}\n{line}\n")).rows[0].name == name


def test_only_a_name_column_below_a_title(save: Any) -> None:
    roster = read_roster(save("Кубок Алматы 2026\n\nФИО\nҚайрат\n\n   \nАида\n"))
    assert cells(roster) == [(4, "Қайрат", "", ""), (7, "Аида", "", "")]


def test_missing_name_column_lists_the_headers(save: Any) -> None:
    with pytest.raises(Refused, match="“Клуб”, “Вес”") as refused:
        read_roster(save("Клуб,Вес\nБарс,60\n"))
    assert "ФИО" in str(refused.value.next_step)


def test_two_headers_of_one_role_are_refused(save: Any) -> None:
    with pytest.raises(Refused, match="“Весовая категория” and “Возрастная категория”"):
        read_roster(save("ФИО,Весовая категория,Возрастная категория\nҚайрат,-60,U18\n"))


# CSV


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "kz1048"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_encodings_delimiters_and_line_ends(save: Any, encoding: str, delimiter: str, end: str) -> None:
    text = end.join(delimiter.join(item) for item in (["ФИО", "Санат"], ["Қайрат Әсетұлы", "-60 кг"]))
    if delimiter == "\t":
        text += end + "Шың, Өмір; Үсен\t, ; ,"
    first = read_roster(save(text.encode(encoding))).rows[0]
    assert (first.line, first.name, first.category) == (2, "Қайрат Әсетұлы", "-60 кг")


def test_windows_1251_is_recognised(save: Any) -> None:
    roster = read_roster(save("ФИО;Категория\nПётр Щукин;до 60 кг\n".encode("cp1251")))
    assert cells(roster) == [(2, "Пётр Щукин", "до 60 кг", "")]
    assert roster.kind == "CSV (Windows Cyrillic, ;)"


def test_quoted_commas_quotes_and_line_breaks_keep_the_line_numbers(save: Any) -> None:
    roster = read_roster(save(HEAD + '"Асанов,\nҚайрат","-60 ""A""",\r\nАида,,\n'))
    assert cells(roster) == [(2, "Асанов,\nҚайрат", '-60 "A"', ""), (4, "Аида", "", "")]


def test_excel_sep_line_sets_the_delimiter(save: Any) -> None:
    assert cells(read_roster(save("sep=;\r\nФИО;Санат\r\nҚайрат;-60\r\n"))) == [(3, "Қайрат", "-60", "")]


def test_line_with_too_many_cells_is_bad_and_others_are_read(save: Any) -> None:
    roster = read_roster(save(HEAD + "Аида,,,,,\n"))
    assert cells(roster) == [(2, "Аида", "", "")]  # empty ones are no harm
    wide = read_roster(save(HEAD + "Асанов, Қайрат,-60,k@x.kz\nАида,,\n"))
    assert problems(wide) == [(2, "the line has 4 cells and the header 3: put a text with commas in quotes")]
    assert wide.rows[1] == RosterRow(3, "Аида")


def test_wrong_quotes_are_reported_with_their_line(save: Any) -> None:
    inside = read_roster(save(HEAD + '"Клуб "Барс"",,\nАида,,\n'))
    assert [line for line, _ in problems(inside)] == [2]
    assert inside.rows[1].name == "Аида"
    opened = read_roster(save(HEAD + 'Аида,,\n"Бота,,\nВера,,\n'))
    assert opened.rows[0].name == "Аида"
    assert problems(opened) == [
        (3, "a quote is opened here and never closed: everything below it would be one cell")
    ]


def test_nul_affects_its_line_only(save: Any) -> None:
    roster = read_roster(save(HEAD + "А\x00ида,,\nБота,,\n"))
    assert [row.name for row in roster.rows] == ["А\x00ида", "Бота"]


def test_huge_cell_affects_its_line_only(save: Any) -> None:
    roster = read_roster(save(HEAD + "А" * 200_000 + ",,\nБота,,\n"))
    assert [line for line, _ in problems(roster)] == [2]
    assert roster.rows[-1].name == "Бота"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b"  \n\r\n", "is empty"),
        (b"\xef\xbb\xbf", "nothing in it"),
        (HEAD, "no participant below"),
        (HEAD + ",,\n;\n", None),
        (b"\xd0\xcf\x11\xe0" + b"\x00" * 100, r"old \.xls"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\xff", "NUL"),
        (b"PK\x03\x04 nothing", "damaged"),
        (",,,\n,,,\n", "nothing in it"),
        ('"never closed', "Line 1: a quote"),
        ("\n".join(f"x{n},y" for n in range(50)), "No column with the participants' names"),
    ],
)
def test_unusable_file_is_refused_with_a_reason(save: Any, content: Any, why: str | None) -> None:
    if why is None:
        assert read_roster(save(content)).rows[0].name == ";"
        return
    with pytest.raises(Refused, match=why) as refused:
        read_roster(save(content))
    assert refused.value.next_step


def test_sheet_of_a_csv_file_is_refused(save: Any) -> None:
    with pytest.raises(Refused, match="no sheets"):
        read_roster(save(HEAD + "Аида,,\n"), sheet="Лист1")


def test_unreadable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be read"):
        read_roster(tmp_path)


def test_file_size_and_line_count_are_limited(save: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="larger than 10 MB"):
        read_roster(save(HEAD + "А,,\n" * 2_500_000))
    assert participant_file.MOST_ROWS == 20_000
    monkeypatch.setattr(participant_file, "MOST_ROWS", 200)
    lines = "".join(f"Спортсмен {n},,\n" for n in range(200))
    assert len(read_roster(save(HEAD + lines)).rows) == 200
    with pytest.raises(Refused, match="more than 200 lines"):
        read_roster(save(HEAD + lines + "Аида,,\n"))


# XLSX


def test_workbook_is_recognised_by_its_content(save: Any) -> None:
    content = workbook(["Почта", "ФИО", "Санат"], ["k@example.kz", "Қайрат", "-60 кг"], [None, "Аида"])
    for name in ("roster.xlsx", "roster.csv"):
        roster = read_roster(save(content, name))
        assert cells(roster) == [(2, "Қайрат", "-60 кг", "k@example.kz"), (3, "Аида", "", "")]
    assert roster.kind == "XLSX (sheet “Лист1”)"


def test_first_sheet_or_the_named_one_is_read(save: Any) -> None:
    path = save(workbook(["ФИО"], ["Аида"], more={"Дети": [["ФИО"], ["Бота"]]}))
    assert read_roster(path).rows[0].name == "Аида"
    assert read_roster(path, "Дети").rows[0].name == "Бота"
    with pytest.raises(Refused, match="Взрослые") as refused:
        read_roster(path, "Взрослые")
    assert "“Лист1”, “Дети”" in str(refused.value.next_step)


@pytest.mark.parametrize(
    ("value", "text"), [(60, "60"), (60.0, "60"), (-66.5, "-66.5"), (1e21, "1" + "0" * 21), (True, "True")]
)
def test_numbers_become_text_without_trailing_zeros(save: Any, value: Any, text: str) -> None:
    assert read_roster(save(workbook(["ФИО", "Санат"], ["Аида", value]))).rows[0].category == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(date(2026, 10, 12), "2026-10-12"), (datetime(2026, 10, 12, 9, 30), "2026-10-12 09:30")],  # noqa: DTZ001
)
def test_category_stored_as_a_date_is_bad(save: Any, value: Any, text: str) -> None:
    roster = read_roster(
        save(workbook(["ФИО", "Санат", "Дата"], ["Аида", value, value], ["Бота", "-60", value]))
    )
    assert problems(roster) == [
        (2, f"the category became a date ({text}), as 10-12 does: make the column Text and type it")
    ]
    assert roster.rows[1].category == "-60"


def test_formulas_are_read_by_their_result(save: Any) -> None:
    path = save(workbook(["ФИО", "Санат"], ["=A1", "x"], ["Аида", "=1/0"]))
    assert [line for line, _ in problems(read_roster(path))] == [2, 3]
    assert "formula without its result" in problems(read_roster(path))[0][1]
    result = (b"<f>A1</f><v />", b"<f>A1</f><v>7a</v>", b'<c r="A2"', b'<c r="A2" t="str"')
    with_results = _patched(path.read_bytes(), *result)
    read = read_roster(save(with_results)).rows[0]
    assert (read.name, read.problem) == ("7a", None)


def test_spreadsheet_error_is_bad(save: Any) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["ФИО"])
    sheet["A2"] = "#REF!"
    out = io.BytesIO()
    book.save(out)
    assert problems(read_roster(save(out.getvalue()))) == [
        (2, "the name is an error of the spreadsheet: #REF!")
    ]


def test_notes_beside_a_workbook_table_are_ignored(save: Any) -> None:
    path = save(workbook(["ФИО"], ["Аида", None, "оплатит позже"]))
    assert cells(read_roster(path)) == [(2, "Аида", "", "")]


def test_wrong_sheet_dimension_is_ignored(save: Any) -> None:
    wrong = (b'<dimension ref="A1:A3"', b'<dimension ref="A1:A1"')
    content = _patched(workbook(["ФИО"], ["Аида"], ["Бота"]), *wrong)
    assert [row.name for row in read_roster(save(content)).rows] == ["Аида", "Бота"]


def test_broken_workbook_is_refused(save: Any) -> None:
    whole = workbook(["ФИО"], ["Аида"])
    for broken, why in (
        (whole[: len(whole) // 2], "damaged"),
        (_patched(whole, b"<sheetData>", b"<sheetData><row><c"), "damaged"),
        (_patched(whole, b'<row r="2"', b'<row r="two"'), "damaged"),
        (_zip({"word/document.xml": b"<x/>"}), "ZIP archive and no workbook"),
        (_zip({"[Content_Types].xml": b"<Types"}), "no workbook"),
    ):
        with pytest.raises(Refused, match=why) as refused:
            read_roster(save(broken))
        assert refused.value.next_step


def test_zip_bomb_is_not_unpacked(save: Any) -> None:
    with pytest.raises(Refused, match="too large"):
        read_roster(save(_zip({"xl/worksheets/sheet1.xml": b"0" * 70_000_000})))


def test_xml_entities_are_refused(save: Any) -> None:
    bomb = b'<!DOCTYPE b [<!ENTITY a "' + b"a" * 1000 + b'">'
    for n in range(8):
        name, inner = chr(98 + n).encode(), b"&" + chr(97 + n).encode() + b";"
        bomb += b"<!ENTITY " + name + b' "' + inner * 10 + b'">'
    content = _patched(workbook(["ФИО"], ["Аида"]), b"<sheetData>", b"<sheetData>&i;")
    content = _patched(content, b"<worksheet", bomb + b"]><worksheet")
    with pytest.raises(Refused, match="damaged"):
        read_roster(save(content))


def test_distant_row_number_is_refused(save: Any) -> None:
    content = _patched(workbook(["ФИО"], ["Аида"], ["Бота"]), b'<row r="3"', b'<row r="999999999"')
    with pytest.raises(Refused, match="more rows than a sheet can have"):
        read_roster(save(content))


# The same reader as for statements


def names(roster: Roster) -> list[tuple[str, str, str]]:
    assert not problems(roster)
    return [(row.name, row.category, row.email) for row in roster.rows if row.other is None]


@pytest.mark.parametrize("state", ["hidden", "veryHidden"])
def test_hidden_first_sheet_is_read_only_if_named(save: Any, state: str) -> None:
    sheets: dict[str, Rows] = {"2025": [["ФИО"], ["Прошлый Год"]], "2026": [["ФИО"], ["Аида"]]}
    path = save(raw_workbook(sheets, states={"2025": state}))
    roster = read_roster(path)
    assert (cells(roster), roster.notes) == ([(2, "Аида", "", "")], ["the hidden sheet “2025” was not read"])
    assert cells(read_roster(path, "2025")) == [(2, "Прошлый Год", "", "")]
    with pytest.raises(Refused, match="hidden"):
        read_roster(save(raw_workbook({"2025": [["ФИО"], ["Аида"]]}, states={"2025": state})))


def test_escaped_line_breaks_in_names_are_decoded(save: Any) -> None:
    path = save(raw_workbook({"1": [["ФИО", "Санат"], ["Асель_x000D_\n Тестова", "-52 кг_x000D_"]]}))
    assert names(read_roster(path)) == [("Асель\r\n Тестова", "-52 кг\r", "")]
    assert clean_person("Асель\r\n Тестова") == "Асель Тестова"


@pytest.mark.parametrize("namespaces", [TRANSITIONAL, STRICT])
def test_workbooks_of_other_programs(save: Any, namespaces: tuple[str, str]) -> None:
    content = raw_workbook(
        {"1": [["ФИО", "Санат"], ["Аида", "-52"]]},
        namespaces=namespaces,
        spelling=lambda name: name.replace("sharedStrings", "SharedStrings"),
    )
    assert names(read_roster(save(content))) == [("Аида", "-52", "")]


@pytest.mark.parametrize("delimiter", ["|", "^"])
@pytest.mark.parametrize("mark", ["", "\ufeff", "\ufeff\ufeff"])
def test_rare_delimiters_and_a_second_byte_order_mark(save: Any, delimiter: str, mark: str) -> None:
    text = f"{mark}ФИО{delimiter}Санат\nАида{delimiter}-52\n"
    assert names(read_roster(save(text))) == [("Аида", "-52", "")]


def test_ambiguous_letters_are_refused(save: Any) -> None:
    for text, encoding, why in (
        ("ФИО;Санат\nӘсел Тестова;-52\n", "ptcp154", "Kazakh letters"),
        ("ФИО;Санат\nӨмір Үсен;-52\n", "ptcp154", "neither UTF-8"),
        ("name;category\nПётр;-60\n", "cp1251", "nothing shows which letters"),
        ("ФИО;Категория\nПётр;-60\n".encode().decode("cp1251", "ignore"), "utf-8", "letters are lost"),
        ("ФИО;Категория\nПётр;-60\n", "koi8-r", "No column"),
    ):
        with pytest.raises(Refused, match=why):
            read_roster(save(text.encode(encoding)))
    assert names(read_roster(save("ФИО;Санат\nӘсел Өмір;-52\n".encode("kz1048"))))[0][0] == "Әсел Өмір"


def test_other_files_are_called_by_their_name(save: Any) -> None:
    for content, why in ((b"%PDF-1.7", "PDF"), (b"<html><table>", "web page"), (b'{"a": 1}', "JSON")):
        with pytest.raises(Refused, match=why):
            read_roster(save(content))


# Two rows of headers


@pytest.mark.parametrize(
    ("table", "person"),
    [
        (["Участник;;Контакты", "ФИО;Категория;Почта", "Аида;-52;a@x.kz"], ("Аида", "-52", "a@x.kz")),
        (["№;Участник;;Контакты;", ";ФИО;Категория;Телефон;Почта", "1;Аида;-52;7;a@x.kz"],
         ("Аида", "-52", "a@x.kz")),
        (["ФИО;Категория;Контакты;", ";;Телефон;Почта", "Аида;-52;7;a@x.kz"], ("Аида", "-52", "a@x.kz")),
        (["№;Спортсмен;;Категория", ";Фамилия;Имя;", "1;Серік;Аида;-52"], ("Серік Аида", "-52", "")),
        (["№;Данные;;Категория;Почта", ";Фамилия;Имя;;", "1;Серік;Аида;-52;a@x.kz"],
         ("Серік Аида", "-52", "a@x.kz")),
        (["Тренер;;Участник;", "ФИО;Телефон;ФИО;Категория", "Болат;7;Аида;-52"], ("Аида", "-52", "")),
        (["Тренер;;Дети;", "ФИО;Телефон;Имя;Категория", "Болат;7;Аида;-52"], ("Аида", "-52", "")),
        (["Тренер;Болат", "ФИО;Категория", "Аида;-52"], ("Аида", "-52", "")),
        (["ФИО;Категория", "(полностью);(вес)", "Аида;-52"], ("Аида", "-52", "")),
        (["№;ФИО;Категория", "1;2;3", "1;Аида;-52"], ("Аида", "-52", "")),
        (["ФИО;Категория", "ФИО;Категория", "Аида;-52"], ("Аида", "-52", "")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_workbook", [True, False])
def test_two_rows_of_headers(save: Any, table: list[str], person: tuple[str, ...], is_workbook: bool) -> None:
    lines = [line.split(";") for line in table]
    content: Any = "\n".join(table)
    if is_workbook:
        content = raw_workbook({"1": [[cell or None for cell in line] for line in lines]})
    assert names(read_roster(save(content))) == [person]


def test_first_participant_is_not_a_second_header_row(save: Any) -> None:
    roster = read_roster(save("ФИО;Категория\nАида;Категория А\nБота;1\n"))
    assert names(roster) == [("Аида", "Категория А", ""), ("Бота", "1", "")]


# Lines below the table


@pytest.mark.parametrize(
    ("line", "description"),
    [
        (";Итого: 2 участника;", "total"), ("Всего;2;", "total"), (";Барлығы 2;", "total"),
        (";TOTAL;2", "total"),        (";Количество участников: 2;", "total"),
        (";Тренер: Болатов Б.;", "signature"), ("Главный судья;_______;Ахметов", "signature"),
        (";Бас төреші ______;", "signature"), (";Judge: A. Smith;", "signature"), (";;Секретарь Иванова",
         "signature"), (";Дата: 01.05.2026;", "signature"), ("№;ФИО;Категория", "headers again"),
    ],
)  # fmt: skip
def test_totals_and_signatures_are_not_participants(save: Any, line: str, description: str) -> None:
    roster = read_roster(save(f"№;ФИО;Категория\n1;Аида;-52\n{line}\n2;Бота;-60\n"))
    assert names(roster) == [("Аида", "-52", ""), ("Бота", "-60", "")]
    assert [(row.line, description in str(row.other)) for row in roster.rows if row.other] == [(3, True)]


@pytest.mark.parametrize(
    "name", ["Judge Aaron", "Coach Ali", "Date Masamune", "Дата Туташхиа", "Тотальный Ян"]
)
def test_people_with_such_names_are_participants(save: Any, name: str) -> None:
    assert names(read_roster(save(f"ФИО;Категория\n{name};-60\n"))) == [(name, "-60", "")]


def _patched(content: bytes, *pairs: bytes) -> bytes:
    """Return a workbook with bytes of its first sheet replaced."""
    parts: dict[str, bytes] = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in archive.namelist():
            parts[name] = archive.read(name)
    sheet = parts["xl/worksheets/sheet1.xml"]
    for old, new in zip(pairs[::2], pairs[1::2], strict=True):
        assert old in sheet, sheet
        sheet = sheet.replace(old, new, 1)
    return _zip(parts | {"xl/worksheets/sheet1.xml": sheet})


def _zip(parts: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return out.getvalue()
