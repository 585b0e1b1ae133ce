"""Cleaning, comparing and searching names, categories and addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procomp_pay.domain.errors import Refused
from procomp_pay.domain.names import (
    clean_category,
    clean_email,
    clean_person,
    first_name_and_initial,
    is_placeholder,
    name_and_birth_year,
    placeholder_email,
    same_key,
    search_key,
)


@pytest.mark.parametrize(
    ("typed", "name", "year"),
    [
        ("Асан 2008", "Асан", 2008), (" Асан А. 1998 ", "Асан А.", 1998), ("Асан (2008)", "Асан", 2008),
        ("Асан2008", "Асан2008", None), ("2008", "2008", None), ("Асан 2108", "Асан 2108", None),
        ("K7Q2 2008", "K7Q2 2008", None), ("Асан 12008", "Асан 12008", None),
    ],
)  # fmt: skip
def test_a_year_of_birth_behind_a_name(typed: str, name: str, year: int | None) -> None:
    assert name_and_birth_year(typed) == (name, year)


def test_name_is_cleaned_to_one_line() -> None:
    assert clean_person("  Аида\r\n Серік\u00a0\u200bқызы\t") == "Аида Серік қызы"
    assert clean_person("Мария-Луиза О'Нил") == "Мария-Луиза О'Нил"
    assert clean_person("Андрии\u0306") == "Андрий"  # composed


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "empty"),
        (" \u200b ", "empty"),
        ("=cmd|' /C calc'!A0", "formula"),
        ("@Аида", "formula"),
        ("+Аида", "formula"),
        ("-Аида", "formula"),
        ("12345", "no letter"),
        ("А\x00ида", r"U\+0000"),
        ("А\x1b[31mида", r"U\+001B"),
        ("А\x1cида", r"U\+001C"),
        ("\udcd0Аида", r"U\+DCD0"),
        ("?айрат", "lost a letter"),
        ("Қайра\ufffd", "lost a letter"),
        ("А" * 201, r"longer than 200 characters \(201\)"),
    ],
)
def test_invalid_name_is_refused(name: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        clean_person(name)


def test_longest_name_is_accepted() -> None:
    assert clean_person("А" * 200) == "А" * 200


@given(st.text(max_size=60))
def test_cleaned_name_is_printable_and_stable(text: str) -> None:
    try:
        name = clean_person(text)
    except Refused:
        return
    assert name.isprintable()
    assert name[0] not in "=+-@ "
    assert clean_person(name) == name


@pytest.mark.parametrize(
    ("text", "category"),
    [("-60 кг", "-60 кг"), ("+100", "+100"), (" U-18 ", "U-18"), ("", None), (None, None), (" — ", None)],
)
def test_weights_are_categories_and_a_dash_is_none(text: str | None, category: str | None) -> None:
    assert clean_category(text) == category


@pytest.mark.parametrize("text", ["=1+1", "@sum", "x" * 101, "a\x07b"])
def test_invalid_category_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        clean_category(text)


@pytest.mark.parametrize("text", ["a.b+c@example.kz", "A@Example.KZ", "_x@sub.xn--80ak6aa92e.com"])
def test_addresses_are_stored_in_lower_case(text: str) -> None:
    assert clean_email(f" {text} ") == text.lower()


@pytest.mark.parametrize(
    "text",
    ["nomail", "a@b", "a@@b.kz", "a b@c.kz", "a@b..kz", "a.@b.kz", "a..b@c.kz", "=a@b.kz", "иван@почта.рф",
     "a@b.kz, c@d.kz", "x@participants.invalid", "a@-b.kz", "a" * 65 + "@b.kz", "a@" + "b" * 250 + ".kz"],
)  # fmt: skip
def test_invalid_address_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        clean_email(text)


def test_placeholder_address_cannot_be_entered() -> None:
    placeholder = placeholder_email("cABC")
    assert placeholder == "cabc@participants.invalid"
    assert is_placeholder(placeholder)
    assert not is_placeholder("kairat@example.kz")
    with pytest.raises(Refused):
        clean_email(placeholder)


def test_same_key_ignores_case_and_spaces_only() -> None:
    assert same_key("ҚАЙРАТ  асанов") == same_key("Қайрат Асанов ")
    assert same_key("Қайрат") != same_key("Кайрат")
    assert same_key(None) == same_key(" ")


@pytest.mark.parametrize(
    ("typed", "name"),
    [("қайрат", "ҚАЙРАТ"), ("кайрат", "Қайрат"), ("петр", "Пётр"), ("алексеи", "Алексей"), ("омир", "Өмір"),
     ("усен", "Үсен"), ("jose", "José"), ("нурлан", "Нұрлан"), ("гани", "Ғани"), ("асел", "Әсел")],
)  # fmt: skip
def test_search_finds_a_name_typed_on_a_russian_keyboard(typed: str, name: str) -> None:
    assert search_key(typed) == search_key(name)


@pytest.mark.parametrize(
    ("full_name", "shown"),
    [
        ("Қайрат Нұрланов", "Қайрат Н."),
        ("Нурланов Кайрат Асанович", "Кайрат Н."),
        ("НУРЛАНОВА АЙГЕРИМ", "АЙГЕРИМ Н."),
        ("Nurlanov Kairat", "Kairat N."),
        ("Аида С.", "А. С."),
        ("Ева Ким", "Ева К."),
        ("Ким Анна", "Анна К."),
        ("KIM ANNA", "ANNA K."),
        ("Ким Анна Сергеевна", "Анна К."),
        ("Анна Сергеевна Ким", "Анна К."),
        ("Анна Сергеевна", "Анна С."),
        ("Нурлан Аида Серікқызы", "Аида Н."),
        ("Аида Серікқызы", "Аида С."),
        ("Серікұлы Ерлан", "Ерлан С."),
        ("Нұрлан Аида Серік қызы", "Аида Н."),
        ("Аида Серік қызы", "Аида С."),
        ("Мамедов Али Гасан оглы", "Али М."),
        ("Anna Sergeevna Pak", "Anna P."),
        ("Шевченко Тарас", "Тарас Ш."),
        ("Данияр Достоевский", "Данияр Д."),
        ("Мария Петрович", "Мария П."),
        ("Петрова-Водкина Мария", "Мария П."),
        ("Анна-Мария Иванова", "Анна-Мария И."),
        ("Иванов А.", "А. И."),
        ("Серік Аида", "С. А."),
        ("Smith Anna Jane", "S. A."),
        ("Петров Иванов", "П. И."),
        ("Айгерім", "Айгерім"),
        ("", ""),
    ],
)
def test_what_strangers_may_read_of_a_name(full_name: str, shown: str) -> None:
    assert first_name_and_initial(full_name) == shown
