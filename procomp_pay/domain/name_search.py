"""Find names however they are typed: in Cyrillic or Latin, without Kazakh letters, or in the wrong layout.

A name is compared by its key: its sounds in Latin letters, where ``Қайрат``, ``Кайрат``, ``Qairat`` and
``Kayrat`` are the same. Sounds that Latin spells in several ways are capitals: ``C`` is ч, ``J`` ж, ``W`` ш
and щ, ``X`` х and һ. Keys are only compared, never shown.
"""

from __future__ import annotations

import heapq
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

_SEPARATOR = "\x1e"

_CYRILLIC = {
    "а": "a", "ә": "a", "б": "b", "в": "v", "г": "g", "ғ": "g", "д": "d", "е": "e", "ё": "e", "є": "e",
    "э": "e", "ж": "J", "з": "z", "и": "i", "й": "y", "і": "i", "ї": "i", "ы": "i", "к": "k", "қ": "k",
    "л": "l", "м": "m", "н": "n", "ң": "n", "о": "o", "ө": "o", "п": "p", "р": "r", "с": "s", "т": "t",
    "у": "u", "ұ": "u", "ү": "u", "ў": "u", "ф": "f", "х": "X", "һ": "X", "ц": "ts", "ч": "C", "ш": "W",
    "щ": "W", "ъ": "", "ь": "", "ю": "yu", "я": "ya",
}  # fmt: skip
#: Latin letters whose accent changes the sound; of the others the accent is dropped.
_LATIN = {"ş": "W", "š": "W", "ș": "W", "ç": "C", "č": "C", "ž": "J", "ı": "i", "ß": "s", "ŋ": "n", "ø": "o"}
_SEVERAL = [
    ("shch", "W"), ("sch", "W"), ("kh", "X"), ("zh", "J"), ("sh", "W"), ("ch", "C"), ("gh", "g"), ("ph", "f"),
    ("th", "t"), ("ck", "k"), ("c", "k"), ("q", "k"), ("w", "v"), ("h", "X"), ("x", "X"), ("j", "J"),
    ("dJ", "J"), ("tC", "C"), (" ye", " e"), ("yo", "e"),
    ("aye", "ae"), ("eye", "ee"), ("iye", "ie"), ("oye", "oe"), ("uye", "ue"), ("y", "i"),
    *((2 * c, c) for c in "abdefgiklmnoprstuvzCJWX"),
]  # fmt: skip

#: The same keys of a keyboard in the Latin and the Russian layout.
_KEYS = str.maketrans("qwertyuiop[]asdfghjkl;'zxcvbnm,.`{}:\"<>~", "йцукенгшщзхъфывапролджэячсмитьбюёхъжэбюё")
_RUSSIAN_KEYS = str.maketrans(
    "йцукенгшщзхъфывапролджэячсмитьбюё", "qwertyuiop[]asdfghjkl;'zxcvbnm,.`"
)  # fmt: skip
#: The row of digits, which has Kazakh letters in the Kazakh layout.
_KAZAKH_KEYS = str.maketrans("2345890=", "әіңғүұқһ")


@cache
def _letters() -> dict[int, str]:
    """Return what stands for each character in a key."""
    letters = {}
    for number in (*range(0x20, 0x590), *range(0x1E00, 0x2070)):
        c = chr(number)
        if c in _CYRILLIC or c in _LATIN:
            letters[number] = _CYRILLIC.get(c, _LATIN.get(c, c))
            continue
        plain = "".join(p for p in unicodedata.normalize("NFKD", c) if not unicodedata.combining(p))
        if c in _SPACES or unicodedata.category(c)[0] == "Z":
            letters[number] = " "
        elif c in _NOTHING or unicodedata.category(c) in ("Mn", "Cf"):
            letters[number] = ""
        else:
            letters[number] = "".join(_CYRILLIC.get(p, p) for p in plain) or c
    return letters | {ord(c): " " for c in "\t\n\r\v\f"} | {ord(_SEPARATOR): _SEPARATOR}


#: Signs between words, and signs that are left out.
_SPACES = "-–—.,()/;:"
_NOTHING = "'’ʼʻ‘`´\"“”„«»"


def name_keys(names: Iterable[str]) -> list[str]:
    """Return the key of each name, with a space before and after each word. All are made at once, as one
    text, which is five times as fast as one by one."""
    text = "".join(f" {name.replace(_SEPARATOR, ' ')} {_SEPARATOR}" for name in names)
    text = text.casefold().translate(_letters())
    for spelling, sound in _SEVERAL:
        text = text.replace(spelling, sound)
    return text.split(_SEPARATOR)[:-1]


#: The version of stored keys. Raise it with every change of what a name's key is.
KEY_VERSION = 1


def stored_keys(names: Sequence[str]) -> list[str]:
    """Return the key of each name as it is stored: those of its words, one after the other."""
    words = list(set(" ".join(names).split()))
    keys = dict(zip(words, name_keys(words), strict=True))
    return ["".join(keys[word] for word in name.split()) for name in names]


def fragments(typed: str) -> list[list[str]]:
    """Return for each typed word the texts of which a name that :func:`matches` has at least one in its
    stored key; none if nothing is typed."""
    return [
        [_part(text) for text, _ in readings] for word in _typed_words(typed) if (readings := _readings(word))
    ]


class Match(NamedTuple):
    """How well a name fits what was typed; the least fits best.

    :param place: the sum over the typed words: 0 for a whole word of the name, 1 for its beginning, 2 inside.
    :param reading: 0 as typed, 1 with letters read in another way or as the other layout gives them, 2 only
        if the last letter is half of one: ``s`` of ``sh``.
    :param other_letters: found by its sounds only.
    :param number: the index of the name.
    """

    place: int
    reading: int
    other_letters: bool
    name: str
    number: int


def matches(names: Sequence[str], typed: str) -> list[Match]:
    """Return the names that have all typed words, in any order; all names if nothing is typed. Unsorted."""
    words = [readings for word in _typed_words(typed) if (readings := _readings(word))]
    if not words and typed.strip():
        return []  # signs only
    if not words:
        return [Match(0, 0, False, name.casefold(), number) for number, name in enumerate(names)]
    shown = [word.casefold() for word in _typed_words(typed)]
    known = set(" ".join(names).split())
    keys = list(zip(known, name_keys(known), strict=True))
    fitting = [_fits(readings, keys) for readings in words]
    rarest = min(fitting, key=len).keys()
    found = []
    for number, name in enumerate(names):
        parts = name.split()
        if rarest.isdisjoint(parts):
            continue
        place = reading = 0
        for fits in fitting:
            best = min([fits[part] for part in parts if part in fits], default=None)
            if best is None:
                break
            place += best[0]
            reading = max(reading, best[1])
        else:
            plain = name.casefold()
            found.append(Match(place, reading, not all(word in plain for word in shown), plain, number))
    return found


class Meant(NamedTuple):
    """What a typed name may mean.

    :param numbers: the indexes of the names, the best first: none, the one, or several to choose from.
    :param is_whole: the whole name was typed, not a part of it.
    """

    numbers: list[int]
    is_whole: bool


def meant(names: Sequence[str], typed: str) -> Meant:
    """Return the names that somebody may mean. A whole name means itself, though others have its words too;
    a single word does not: it may be somebody's first name."""
    found = sorted(matches(names, typed))
    found = [match for match in found if match.reading < _HALF_TYPED] or found
    words = _typed_words(typed.casefold())
    count = len(words)
    whole = [
        match
        for match in found
        if match.place == 0
        and match.reading < _HALF_TYPED
        and len(have := _typed_words(match.name)) == count
        and len(set(have)) == len(set(words))
    ]
    if len(whole) > 1 or (whole and (count > 1 or len(found) == 1)):
        return Meant([match.number for match in whole], is_whole=True)
    return Meant([match.number for match in found], is_whole=False)


def nearest(names: Sequence[str], typed: str) -> list[int]:
    """Return the indexes of the three names that look most like the typed one, if any does: for a typing
    error."""
    wanted = [_pairs(f" {reading} ") for word in _typed_words(typed) for reading, _ in _readings(word)[:1]]
    if not wanted:
        return []
    known = set(" ".join(names).split())
    pairs = dict(zip(known, map(_pairs, name_keys(known)), strict=True))
    alike = [
        {word: score for word, have in pairs.items() if (score := _alike(want, have)) > _ALIKE}
        for want in wanted
    ]
    best: list[tuple[float, str, int]] = []
    for number, name in enumerate(names):
        words = name.split()
        score = sum(max((scores.get(word, 0.0) for word in words), default=0.0) for scores in alike)
        if score:
            best.append((-score, name, number))
    return [number for _, _, number in heapq.nsmallest(3, best)]


#: Less alike than this are two different names.
_ALIKE = 0.5


def _pairs(key: str) -> set[str]:
    return {key[n : n + 2] for n in range(len(key) - 1)}


def _alike(one: set[str], other: set[str]) -> float:
    """Return Dice's coefficient: 1 for the same, 0 for nothing in common."""
    return 2 * len(one & other) / (len(one) + len(other))


def _typed_words(typed: str) -> list[str]:
    return typed.replace("-", " ").split()


def _readings(word: str) -> list[tuple[str, int]]:
    """Return the keys that a typed word may stand for, each with its ``reading``; none for a mere sign."""
    word = word.casefold()
    if not name_keys([word])[0].strip():
        return []
    ways = [word, word.replace("j", "y"), word.replace("sh", "skh"), word.replace("x", "ks")]
    ways += [word.replace("ks", "kh"), word.replace("кс", "х"), word.translate(_KEYS)]
    ways += [word.translate(_RUSSIAN_KEYS)]
    if any("a" <= c <= "z" for c in word):
        ways.append(word.translate(_KAZAKH_KEYS).translate(_KEYS))
    readings: dict[str, int] = {}
    for number, key in enumerate(name_keys(ways)):
        if text := key.strip():
            readings.setdefault(text, min(number, 1))
    for text in list(readings):
        for other in _HALF.get(text[-1], ()):
            readings.setdefault(text[:-1] + other, _HALF_TYPED)
        if len(text) > 2 and text[-1] == "i":
            readings.setdefault(text[:-1], _HALF_TYPED)
    return list(readings.items())


#: The ``reading`` of a word whose last letter is half of one.
_HALF_TYPED = 2
#: What a letter becomes when the next one is typed: ``s`` and ``h``.
_HALF = {"s": "W", "z": "J", "k": "XC", "d": "J", "t": "C"}


def _part(text: str) -> str:
    """Return what a key must have. One letter is the beginning of a word: inside it is in every name."""
    return text if len(text) > 1 else f" {text}"


def _fits(readings: list[tuple[str, int]], keys: list[tuple[str, str]]) -> dict[str, tuple[int, int]]:
    """Return the words of names that a typed word fits, each with its best place and reading."""
    fits: dict[str, tuple[int, int]] = {}
    for text, reading in readings:
        whole, beginning = f" {text} ", f" {text}"
        part = _part(text)
        for word, key in [pair for pair in keys if part in pair[1]]:
            fit = (0 if whole in key else 1 if beginning in key else 2), reading
            fits[word] = min(fit, fits.get(word, fit))
    return fits
