"""Finding names in Cyrillic and Latin, without Kazakh letters, and typed in the wrong keyboard layout."""

from __future__ import annotations

import itertools
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procomp_pay.domain.name_search import (
    KEY_VERSION,
    Meant,
    fragments,
    matches,
    meant,
    name_keys,
    nearest,
    stored_keys,
)


def found(typed: str, *names: str) -> list[str]:
    """Return the names that match, the best first."""
    return [names[match.number] for match in sorted(matches(names, typed))]


@pytest.mark.parametrize(
    ("name", "spellings"),
    [
        ("Қайрат Нұрланов", "Қайрат қайрат КАЙРАТ kairat Qairat kayrat Kayrat nurlanov нурланов"),
        ("Әйгерім Әлиева", "aigerim Aygerim айгерим Aliyeva Alieva алиева"),
        ("Шыңғыс Досаев", "shyngys Shingis Şyñğys шынгыс шингис Dossayev Dosaev"),
        ("Қожахмет Сергеев", "Kozhakhmet Kozhahmet Qojaxmet кожахмет Sergeev Sergeyev"),
        ("Ержан Жұмабаев", "Yerzhan Erzhan Erjan ержан Zhumabayev Jumabaev жумабаев"),
        ("Юлия Хасенова", "yulia Yuliya Iulia Julia julia Khasenova Hasenova"),
        ("Ғалым Фёдоров", "Galym Ghalym галым Fedorov Fyodorov федоров фёдоров"),
        ("Жамиля Наталья", "Zhamilya Dzhamilya Jamilia Джамиля Natalya Natalia Nataliya"),
        ("Асхат Максимов", "askhat Ashat Maximov Maksimov максимов"),
        ("Сергей О'Нил", "Sergey Sergei Sergej serg onil онил О'Нил"),
        ("Дмитрий Анна-Мария", "Dmitriy Dmitry Dmitrii Anna Мария anna-maria"),
        ("Aisulu Bekova", "айсулу Айсұлу бекова бекова"),
        ("Щукина Ляззат", "Shchukina Lyazzat Liazzat Lyazat"),
        ("Андрии\u0306 Ко\u0308к", "андрий andriy көк"),
    ],
)
def test_name_is_found_in_each_usual_spelling(name: str, spellings: str) -> None:
    for typed in spellings.split():
        assert found(typed, name, "Бөтен Біреу") == [name], typed


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("rfbhfn", "Қайрат Асанов"),
        ("RFBHFN", "Қайрат Асанов"),
        ("rfbhfn fcfy", "Қайрат Асанов"),
        ("0fbhfn", "Қайрат Асанов"),  # Kazakh layout: the digit row has its letters
        ("лфшкфе", "Kairat Asanov"),
        ("лфшкфе", "Қайрат Асанов"),
        (";fyfh", "Жанар Ким"),
        ("'kmvbhf", "Эльмира Ким"),
        (",jkfn", "Болат Ким"),
    ],
)
def test_name_typed_in_the_wrong_keyboard_layout_is_found(typed: str, name: str) -> None:
    assert found(typed, name, "Бөтен Біреу") == [name]


def test_whole_words_come_first_then_beginnings_then_parts() -> None:
    names = ["Асқайрат Ким", "Қайратов Ким", "Ким Қайрат"]
    assert found("kairat", *names) == ["Ким Қайрат", "Қайратов Ким", "Асқайрат Ким"]


def test_same_letters_come_before_the_same_sounds_and_those_before_the_other_layout() -> None:
    assert found("kairat", "Қайрат", "Kairat") == ["Kairat", "Қайрат"]
    assert found("asel", "Фыуд", "Әсел") == ["Әсел", "Фыуд"]


def test_every_word_must_fit_in_any_order() -> None:
    names = ["Қайрат Асанов", "Қайрат Нұрланов", "Асан Нұрланов"]
    assert found("asan kai", *names) == ["Қайрат Асанов"]
    assert found("қайрат", *names) == ["Қайрат Асанов", "Қайрат Нұрланов"]


@pytest.mark.parametrize(
    "name", ["Айша", "Жұлдыз", "Хадиша", "Чингиз", "Алиев", "Сергеев", "Максим", "Досаев"]
)
def test_name_stays_found_while_it_is_typed_in_latin(name: str) -> None:
    spelled = {
        "Айша": "aisha", "Жұлдыз": "zhuldyz", "Хадиша": "khadisha", "Чингиз": "chingiz", "Алиев": "aliyev",
        "Сергеев": "sergeyev", "Максим": "maksim", "Досаев": "dosayev",
    }[name]  # fmt: skip
    for length in range(2, len(spelled) + 1):
        assert found(spelled[:length], name) == [name], spelled[:length]


def test_typed_name_means_itself_before_what_may_follow() -> None:
    assert meant(["Номер13", "Номер1", "Номер 1і"], "номер13") == Meant([0], is_whole=True)
    assert meant(["Айсұлу", "Айша"], "ais") == Meant([0], is_whole=False)
    assert meant(["Айша"], "ais") == Meant([0], is_whole=False)
    assert meant(["Асан Али", "Асан Алиев"], "али асан") == Meant([0], is_whole=True)
    assert meant(["Асан", "Асан Алиев"], "асан") == Meant([0, 1], is_whole=False)


def test_one_letter_is_a_beginning() -> None:
    assert found("k", "Асқар", "Қайрат") == ["Қайрат"]


def test_nothing_typed_finds_all_and_a_sign_finds_none() -> None:
    assert found(" ", "Б", "А") == ["А", "Б"]
    assert found(" - ", "Б", "А") == []
    assert matches([], "kairat") == []


def test_nearest_names_of_a_typing_error() -> None:
    names = ["Қайрат Нұрланов", "Әсел Серікова", "Қайсар Нұрланов", "Тимур Ким"]
    assert nearest(names, "кайрад нурлонов")[0] == 0
    assert nearest(names, "kairad")[0] == 0
    assert nearest(names, "xyz") == []
    assert nearest([], "kairat") == []


@given(st.lists(st.text(max_size=30), max_size=5))
def test_any_name_has_one_key_and_is_found_by_itself(names: list[str]) -> None:
    assert len(name_keys(names)) == len(names)
    for number, name in enumerate(names):
        assert number in {match.number for match in matches(names, name)} or not name_keys([name])[0].strip()


@given(st.lists(st.text(max_size=30), max_size=5), st.text(max_size=8))
def test_stored_key_of_a_name_has_a_fragment_of_each_typed_word(names: list[str], typed: str) -> None:
    keys = stored_keys(names)
    for part in (typed, *(name[:4] for name in names)):
        for match in matches(names, part):
            key = keys[match.number]
            assert all(any(text in key for text in texts) for texts in fragments(part)), part


def test_version_of_stored_keys_is_raised_when_a_key_changes() -> None:
    """Raise KEY_VERSION and change the checksum here: stored keys of an older version are made anew."""
    letters = [chr(number) for number in (*range(0x20, 0x250), *range(0x400, 0x530))]
    words = ["".join(pair) for pair in itertools.product("abcdehjkqstvwxyzшщжяхйь", repeat=3)]
    text = "".join(stored_keys([*letters, *words]))
    assert (KEY_VERSION, zlib.crc32(text.encode())) == (1, 1828866294)
