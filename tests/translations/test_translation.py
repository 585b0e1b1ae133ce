"""The catalogue of texts for people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.extract import extract
from babel.messages.pofile import read_po

import procomp_pay
from procomp_pay.services.notifications.emails.email import CARD_DAYS
from procomp_pay.translations import Translation, preferred_language

PACKAGE = Path(procomp_pay.__file__).parent
#: Templates take the two methods of a translation under these names; the desk has one function, and a mark.
METHODS = {"text": None, "counted": (1, 2), "_": None, "N_": None}
IMPORTS = ("procomp_pay.translations import", "procomp_pay.cli.desk.wording import")


def written() -> Iterator[str | tuple[str, ...]]:
    """Yield the texts of every module that imports the catalogue, and of every template."""
    for path in PACKAGE.rglob("*.*"):
        if path.suffix == ".py" and any(each in path.read_text("utf-8") for each in IMPORTS):
            method = "python"
        elif path.suffix in (".html", ".j2", ".txt"):
            method = "jinja2.ext:babel_extract"
        else:
            continue
        with path.open("rb") as source:
            for _, message, _, _ in extract(method, source, METHODS, options={"silent": "false"}):
                yield tuple(message) if isinstance(message, tuple | list) else message


@pytest.mark.parametrize("language", ["ru", "kk"])
def test_every_text_is_translated(language: str) -> None:
    path = PACKAGE / "translations" / "locale" / language / "LC_MESSAGES" / "procomp_pay.po"
    with path.open("rb") as source:
        catalogue = read_po(source, locale=language, abort_invalid=True)
    known = {message.id: message for message in catalogue if message.id}
    assert set(written()) == set(known)
    for message in known.values():
        words = message.string if isinstance(message.string, tuple) else (message.string,)
        assert all(words), message.id
        assert not list(message.check(catalogue)), "with the same values in it"
        assert not message.fuzzy


def test_russian_counts_in_three_forms() -> None:
    forms = [
        Translation("ru").counted(
            "The money goes back to the card; the bank may need up to %(n)d working day.",
            "The money goes back to the card; the bank may need up to %(n)d working days.",
            n,
        )
        for n in (1, 2, 5, 11, 21, CARD_DAYS)
    ]
    days = [(1, "рабочего дня"), (2, "рабочих дней"), (5, "рабочих дней"), (11, "рабочих дней")]
    days += [(21, "рабочего дня"), (10, "рабочих дней")]
    assert [form.rpartition(" до ")[2] for form in forms] == [f"{n} {words}." for n, words in days]


@pytest.mark.parametrize(
    ("environ", "language"),
    [
        ({}, "en"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LANG": "ru_RU.UTF-8"}, "ru"),
        ({"LANG": "ru_RU.UTF-8", "LC_MESSAGES": "kk_KZ"}, "kk"),
        ({"LANG": "ru_RU.UTF-8", "LC_ALL": "POSIX"}, "en"),
        ({"LANG": "ru_RU.UTF-8", "LC_ALL": ""}, "ru"),
        ({"LANG": "ru_RU.UTF-8", "PROCOMP_LANGUAGE": " KK "}, "kk"),
        ({"LANG": "ru_RU.UTF-8", "PROCOMP_LANGUAGE": "de"}, "en"),
        ({"LANG": "ru-RU"}, "ru"),
        ({"LANG": "rue"}, "en"),
    ],
)
def test_language_of_a_terminal(environ: dict[str, str], language: str) -> None:
    assert preferred_language(environ) == language
