"""Find a roster's columns by what their heads mean, in English, Russian and Kazakh."""

from __future__ import annotations

import re
from enum import StrEnum

from procomp_pay.domain.errors import Refused
from procomp_pay.domain.names import search_key


class Column(StrEnum):
    """What a column holds. A name stands in one column, or in surname and given name."""

    NAME = "name"
    SURNAME = "surname"
    GIVEN = "given name"
    PATRONYMIC = "patronymic"
    CATEGORY = "category"
    EMAIL = "e-mail"


def _words(text: str) -> frozenset[str]:
    return frozenset(_key(each) for each in text.split(","))


def _key(head: str) -> str:
    """A head with marks, case, punctuation and numbers of spaces made equal."""
    words = " ".join("".join(c if c.isalnum() else " " for c in search_key(head)).split())
    return words.replace("ф и о", "фио")


#: Heads as they are written, folded as :func:`_key` does.
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
}
#: What the key of a head has that is none of those.
_ROUGH: dict[Column, re.Pattern[str]] = {
    Column.NAME: re.compile(r"\b(фио|fio|full ?name|аты жони)\b"),
    Column.CATEGORY: re.compile(r"\b(categor|категори|санат)"),
    Column.EMAIL: re.compile(r"\b(e ?mail|почт|пошт)"),
}
#: Somebody else's name or address.
_OTHERS = tuple(
    _key(each) for each in ("тренер", "coach", "жаттықтырушы", "судья", "judge", "parent", "родител", "клуб")
)


def columns_of(heads: list[str]) -> dict[Column, int] | None:
    """Return the position of each column; ``None`` if the row has no name column and so is no header.

    :raises Refused: two heads mean the same.
    """
    keys = [_key(head) for head in heads]
    found: dict[Column, int] = {}
    for column in Column:
        places = [i for i, key in enumerate(keys) if key in _EXACT[column]]
        places = places or [i for i in _roughly(column, keys) if i not in found.values()]
        if len(places) > 1:
            both = " and ".join(f"“{heads[i]}”" for i in places[:3])
            raise Refused(
                f"{both} could each be the {column} column", next_step="rename or delete all but one of them"
            )
        if places:
            found[column] = places[0]
    return _settled(found)


def _roughly(column: Column, keys: list[str]) -> list[int]:
    words = _ROUGH.get(column)
    return [
        i
        for i, key in enumerate(keys)
        if words and words.search(key) and not any(word.startswith(_OTHERS) for word in key.split())
    ]


def _settled(found: dict[Column, int]) -> dict[Column, int] | None:
    """``Имя`` beside ``Фамилия`` is the given name; alone it is the name."""
    parts = (Column.SURNAME, Column.GIVEN, Column.PATRONYMIC)
    if Column.NAME not in found and Column.SURNAME not in found and Column.GIVEN in found:
        found[Column.NAME] = found[Column.GIVEN]
    if Column.NAME in found:
        return {column: place for column, place in found.items() if column not in parts}
    return found if Column.SURNAME in found and Column.GIVEN in found else None
