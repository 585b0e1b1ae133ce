"""The catalogue of texts for people."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.extract import extract
from babel.messages.pofile import read_po

import procomp_pay
from procomp_pay.domain.language import of_terminal
from procomp_pay.services.notifications.emails.email import CARD_DAYS
from procomp_pay.translations import Translation

PACKAGE = Path(procomp_pay.__file__).parent
#: Methods of a translation, which templates take under these names, and the functions ``_`` and ``N_``.
METHODS = {"text": None, "counted": (1, 2)}
FUNCTIONS = {"_", "N_"}


def written() -> Iterator[str | tuple[str, ...]]:
    """Yield the texts of every module and of every template."""
    for path in PACKAGE.rglob("*.*"):
        if path.suffix == ".py":
            yield from in_module(path.read_text("utf-8"))
        elif path.suffix in (".html", ".j2", ".txt"):
            with path.open("rb") as source:
                for _, message, _, _ in extract("jinja2.ext:babel_extract", source, METHODS):
                    yield tuple(message) if isinstance(message, tuple | list) else message


def in_module(source: str) -> Iterator[str | tuple[str, ...]]:
    """Yield the texts of a module, also those in f-strings, which Babel's own reader passes over, and the
    heads of tables."""
    translates = "procomp_pay.translations import Translation" in source
    has_tables = "cli.reports.cells" in source and "columns(" in source
    for node in ast.walk(ast.parse(source)):
        if has_tables and isinstance(node, ast.Constant) and "|" in str(node.value):
            yield from filter(None, (head.lstrip("-=") for head in str(node.value).split("|")))
        if not isinstance(node, ast.Call):
            continue
        texts = [each.value for each in node.args if isinstance(each, ast.Constant)]
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if texts and (name in FUNCTIONS or (translates and name == "text")):
            yield str(texts[0])
        elif texts and translates and name == "counted":
            yield str(texts[0]), str(texts[1])


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
    assert of_terminal(environ) == language
