"""Find the columns of a list of participants by their headers in English, Russian and Kazakh."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time
from decimal import Decimal
from enum import StrEnum
from itertools import chain, zip_longest

from procomp_pay.domain.errors import Refused
from procomp_pay.domain.names import search_key
from procomp_pay.domain.text import N_
from procomp_pay.providers.tabular.cells import Cell, Unusable, undo_wrong_decoding

SAMPLE = N_("a file begins so: name,category,email")
#: Above the headers may be a title.
HEADER_WITHIN = 10


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the file.

    :param problem: why it cannot be split into cells; then it has none.
    """

    number: int
    cells: list[Cell]
    problem: str | None = None

    @property
    def texts(self) -> list[str]:
        return [as_text(cell) for cell in self.cells]

    @property
    def is_empty(self) -> bool:
        return self.problem is None and not any(not isinstance(c, str) or c.strip() for c in self.cells)


@dataclass(slots=True)
class Table:
    """The headers, and the rows below them.

    :param broken: lines above the headers that could not be split.
    """

    headers: list[str]
    columns: dict[Column, int]
    rows: Iterator[Line]
    broken: list[Line]


def find_headers(lines: Iterator[Line]) -> Table:
    """Find the row of headers, or the two rows of them.

    :raises Refused: no row has a name column, or two headers mean the same.
    """
    candidates: list[list[str]] = []
    broken: list[Line] = []
    for line in lines:
        if line.problem is not None:
            broken.append(line)
            continue
        headers = _headers(line)
        if not any(headers):
            continue
        headers, columns = _below(candidates[-1] if candidates else [], headers)
        if columns is not None:
            return _with_second_row(Table(headers, columns, lines, broken))
        candidates.append(headers)
        if len(candidates) >= HEADER_WITHIN:
            break
    if broken and not candidates:
        raise Refused(
            N_("Line %(number)s: %(problem)s", number=broken[0].number, problem=broken[0].problem),
            next_step=SAMPLE,
        )
    if not candidates:
        raise Refused(N_("The file has nothing in it"), next_step=SAMPLE)
    raise _no_names(candidates)


def _no_names(candidates: list[list[str]]) -> Refused:
    undone = [undo_wrong_decoding(headers) for headers in candidates]
    if any(headers is not None and count_headers(headers) for headers in undone):
        return Refused(
            N_("The text was read in a wrong encoding before it was saved: its letters are lost"),
            next_step=N_("save it again from the original, as CSV UTF-8 or XLSX"),
        )
    seen_headers = ", ".join(f"“{header[:40]}”" for header in candidates[0][:20] if header)
    return Refused(
        N_(
            "No column with the participants' names was found. The headers are: %(names)s",
            names=seen_headers,
        ),
        next_step=N_("call the column “name”, “ФИО” or “Аты-жөні”, the others “category” and “email”"),
    )


def _headers(line: Line) -> list[str]:
    return [" ".join(text.split()) for text in line.texts]


def _below(above: list[str], headers: list[str]) -> tuple[list[str], dict[Column, int] | None]:
    """Return headers below group titles: ``ФИО`` below ``Тренер`` is not the participant's name."""
    if sum(1 for title in above if title) > 1:
        joined = join_headers(above, headers, fill=count_headers(above) > 1)
        columns = find_columns(joined) if count_headers(headers) else None
        if columns is not None:
            return joined, columns
    return headers, find_columns(headers)


def _with_second_row(table: Table) -> Table:
    """Take in a second row of headers: below group titles, with hints in brackets, with numbers."""
    for line in table.rows:
        if line.is_empty:
            continue
        cells = _headers(line)
        joined = _joined(table, cells) if line.problem is None else None
        if joined is not None:
            table.headers, table.columns = joined
        elif line.problem is not None or not _explains_headers(cells):
            table.rows = chain([line], table.rows)
            break
    return table


def _joined(table: Table, cells: list[str]) -> tuple[list[str], dict[Column, int]] | None:
    """Return the headers of both rows; ``None`` where the second one is not headers."""
    if not count_headers(cells):
        return None
    headers = join_headers(table.headers, cells, fill=True)
    columns = find_columns(headers)
    if columns is None or not (len(columns) > len(table.columns) or find_columns(cells) is not None):
        return None
    return headers, columns


def _explains_headers(cells: list[str]) -> bool:
    """Return whether a row explains the headers: ``(полностью)``, or the columns' numbers 1, 2, 3."""
    filled = [cell for cell in cells if cell]
    if filled and all(cell.startswith("(") and cell.endswith(")") for cell in filled):
        return True
    return len(filled) > 1 and filled == [str(number) for number in range(1, len(filled) + 1)]


def as_text(cell: Cell) -> str:
    """Return a cell as a person would write it: ``60`` and not ``60.0``, a day without ``00:00:00``."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Unusable):
        return ""
    if isinstance(cell, Decimal):
        return str(int(cell)) if cell == cell.to_integral_value() else format(cell, "f")
    if isinstance(cell, datetime):
        return cell.date().isoformat() if cell.time() == time() else cell.isoformat(" ", "minutes")
    return str(cell)


class Column(StrEnum):
    """The role of a column. A name is in one column, or in those of surname and given name."""

    NAME = "name"
    SURNAME = "surname"
    GIVEN = "given name"
    PATRONYMIC = "patronymic"
    CATEGORY = "category"
    EMAIL = "e-mail"
    CLUB = "club"
    COACH = "coach"
    PHONE = "phone"
    BIRTH = "birth year"


#: What is kept where it is given. A file may have several such columns: the first is taken.
DETAILS = frozenset({Column.CLUB, Column.COACH, Column.PHONE, Column.BIRTH})


def _words(text: str) -> frozenset[str]:
    return frozenset(_key(word) for word in text.split(","))


def _key(header: str) -> str:
    """Return a header without accents, case and punctuation, with single spaces."""
    words = " ".join("".join(c if c.isalnum() else " " for c in search_key(header)).split())
    return words.replace("ф и о", "фио")


#: Headers of each column, normalised by :func:`_key`.
_EXACT: dict[Column, frozenset[str]] = {
    Column.NAME: _words(
        "name,full name,fullname,full_name,participant,athlete,competitor,fio,ФИО,Ф.И.О.,Ф И О,участник,"
        "спортсмен,фамилия имя,имя фамилия,фамилия имя отчество,фамилия и имя,имя и фамилия,аты-жөні,"
        "аты жөні,толық аты,толық аты-жөні,тегі аты,қатысушы,спортшы,А.Ж.Т.,АЖТ,participant name"
    ),
    Column.SURNAME: _words("surname,last name,lastname,family name,фамилия,тегі"),
    Column.GIVEN: _words("first name,firstname,given name,имя,аты,есімі"),
    Column.PATRONYMIC: _words("patronymic,middle name,отчество,әкесінің аты"),
    Column.CATEGORY: _words(
        "category,weight category,age category,division,class,категория,весовая категория,"
        "возрастная категория,категория участника,санат,санаты,салмақ санаты,жас санаты,салмағы"
    ),
    Column.EMAIL: _words(
        "email,e-mail,mail,email address,e-mail address,почта,эл. почта,эл почта,электронная почта,емейл,"
        "имейл,адрес электронной почты,пошта,электрондық пошта,эл. пошта,поштасы,электрондық пошта мекенжайы"
    ),
    Column.CLUB: _words(
        "club,team,club name,клуб,команда,спортивный клуб,название клуба,клуб команда,секция,"
        "спорт клубы,спорттық клуб,клубы,командасы"
    ),
    Column.COACH: _words(
        "coach,trainer,coach name,тренер,тренеры,личный тренер,фио тренера,тренер фио,ф и о тренера,"
        "жаттықтырушы,жаттықтырушысы,бапкер,бапкері"
    ),
    Column.PHONE: _words(
        "phone,phone number,mobile,mobile phone,telephone,tel,телефон,тел,номер телефона,контактный телефон,"
        "мобильный телефон,моб. телефон,сотовый телефон,телефон участника,телефон родителя,телефон родителей,"
        "телефоны,телефон нөмірі,телефон номері,ұялы телефон,байланыс телефоны"
    ),
    Column.BIRTH: _words(
        "birth year,year of birth,born,birthday,birth date,birthdate,date of birth,dob,год рождения,г.р.,гр,"
        "дата рождения,день рождения,туған жылы,туған күні,туған күн,т.ж."
    ),
}
#: Parts of other headers that are accepted too.
_SIMILAR: dict[Column, re.Pattern[str]] = {
    Column.NAME: re.compile(r"\b(фио|fio|full ?name|аты жони)\b"),
    Column.CATEGORY: re.compile(r"\b(categor|категори|санат)"),
    Column.EMAIL: re.compile(r"\b(e ?mail|почт|пошт)"),
}
#: Words for other people and clubs, whose names and addresses may have columns too.
_OTHERS = tuple(
    _key(word)
    for word in (
        "тренер", "coach", "trainer", "жаттықтырушы", "бапкер", "судья", "төреші", "judge", "referee",
        "parent", "родител", "представител", "секретар", "руководител", "врач", "клуб", "club",
    )
)  # fmt: skip


def find_columns(headers: list[str]) -> dict[Column, int] | None:
    """Return the place of each column; ``None`` if there is no name column, so it is not the header row.

    :raises Refused: two headers mean the same.
    """
    keys = [_key(header) for header in headers]
    columns: dict[Column, int] = {}
    for column in Column:
        indices = [i for i, key in enumerate(keys) if key in _EXACT[column]]
        indices = indices or [i for i in _similar(column, keys) if i not in columns.values()]
        if len(indices) > 1 and column not in DETAILS:
            both = " and ".join(f"“{headers[i]}”" for i in indices[:3])
            raise Refused(
                N_("%(both)s could each be the %(column)s column", both=both, column=column),
                next_step=N_("rename or delete all but one of them"),
            )
        if indices:
            columns[column] = indices[0]
    return _with_name(columns)


def _similar(column: Column, keys: list[str]) -> list[int]:
    words = _SIMILAR.get(column)
    return [
        i
        for i, key in enumerate(keys)
        if words and words.search(key) and not any(word.startswith(_OTHERS) for word in key.split())
    ]


def _with_name(columns: dict[Column, int]) -> dict[Column, int] | None:
    """Decide where the name is: ``Имя`` beside ``Фамилия`` is the given name, alone it is the name."""
    parts = (Column.SURNAME, Column.GIVEN, Column.PATRONYMIC)
    if Column.NAME not in columns and Column.SURNAME not in columns and Column.GIVEN in columns:
        columns[Column.NAME] = columns[Column.GIVEN]
    if Column.NAME in columns:
        return {column: index for column, index in columns.items() if column not in parts}
    return columns if Column.SURNAME in columns and Column.GIVEN in columns else None


def join_headers(upper: list[str], lower: list[str], *, fill: bool) -> list[str]:
    """Return the headers of two rows: ``Тренер`` merged over ``ФИО`` and ``Телефон`` gives ``Тренер: ФИО``.

    :param fill: take the upper header where there is none below it, as for cells merged over both rows.
    """
    headers: list[str] = []
    group = ""
    for above, below in zip_longest(upper, lower, fillvalue=""):
        group = above or group  # a merged cell has its text in its first column
        if not below:
            headers.append(above if fill else "")
        else:
            headers.append(f"{group}: {below}" if _is_others(group) else below)
    return headers


def count_headers(cells: list[str]) -> int:
    """Return how many cells are well-known headers."""
    return sum(1 for cell in cells if any(_key(cell) in headers for headers in _EXACT.values()))


def _is_others(group: str) -> bool:
    return any(word.startswith(_OTHERS) for word in _key(group).split())


#: First words of lines below the table that are not participants.
_TOTALS = _words(
    "итого,всего,общее,количество,кол-во,участников,барлығы,жиыны,жалпы,қатысушылар,total,grand total"
)
_SIGNATURES = _words(
    "тренер,тренеры,судья,секретарь,представитель,директор,руководитель,президент,врач,подпись,примечание,"
    "главный тренер,старший тренер,главный судья,главный секретарь,главный врач,жаттықтырушы,бапкер,төреші,"
    "хатшы,директор,төраға,дәрігер,қолы,ескерту,бас төреші,бас хатшы,бас жаттықтырушы,аға жаттықтырушы"
)
#: Words that are also names: they mark a signature only before a colon or a line to sign on.
_ALSO_NAMES = re.compile(
    r"(coach|trainer|header coach|judge|chief judge|referee|chief referee|secretary|director|doctor|"
    r"signature|signed|date|note|дата|күні)\b[^:_]{0,20}(:|__)",
    re.I,
)


def describe_other_line(text: str) -> str | None:
    """Return what a line below the table is, by how it begins; ``None`` for a participant."""
    key = _key(text)
    if any(key == word or key.startswith(f"{word} ") for word in _TOTALS):
        return N_("a total, not a participant")
    if any(key == word or key.startswith(f"{word} ") for word in _SIGNATURES) or _ALSO_NAMES.match(
        text.strip()
    ):
        return N_("a signature or note, not a participant")
    return None
