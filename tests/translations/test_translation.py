"""The catalogue of texts for people."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.extract import extract
from babel.messages.pofile import read_po

import procomp_pay
from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.language import of_terminal
from procomp_pay.domain.text import N_
from procomp_pay.services.notifications.emails.email import CARD_DAYS
from procomp_pay.translations import Translation

PACKAGE = Path(procomp_pay.__file__).parent
#: Methods of a translation, which templates take under these names, and the functions ``_`` and ``N_``.
METHODS = {"text": None, "counted": (1, 2)}
FUNCTIONS = {"_", "N_"}
#: What values of a template may look like.
VALUES = {"n": "3", "money": "20.00 USD"}


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
        elif name == "counted" and len(texts) == 2:
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


@pytest.mark.parametrize("language", ["ru", "kk"])
def test_a_text_is_told_alike_before_and_after_it_was_stored(language: str) -> None:
    translation = Translation(language)
    texts: dict[str, set[str]] = {}
    for message in filter(lambda message: isinstance(message, str) and "%(" in message, written()):
        names = re.findall(r"%\((\w+)\)s", str(message))
        values = {name: VALUES.get(name, f"x{number}") for number, name in enumerate(names)}
        if "%(" in str(message) and not re.search(r"%\(\w+\)d", str(message)):
            told = {name: translation.shown(value) for name, value in values.items()}
            texts.setdefault(str(message) % values, set()).add(translation.text(str(message), **told))
    letters = {text: len(re.sub(r"20\.00 USD|x\d|[^a-zA-Z]", "", text)) for text in texts}
    wrong = {
        text: translation.shown(text)
        for text, told in texts.items()
        if letters[text] >= 8 and translation.shown(text) not in told
    }
    assert not wrong


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        ("discrepancy d1: AMOUNT_MISMATCH", "расхождение d1: сумма не совпадает"),
        (
            "Kaspi does not know this purchase (Kaspi code -1601)",
            "Kaspi не знает этой покупки (код Kaspi: -1601)",
        ),
        ("not compared: 12 lines of other days", "не сверялось: строк за другие дни: 12"),
        (
            "Stripe gave no usable answer (HTTP 500), after 3 pages (1,200 balance transactions)",
            "Stripe не дал понятного ответа (HTTP 500), прочитано страниц: 3 (движения по балансу: 1,200)",
        ),
        ("Stripe refused: Charge ch_1 was refunded.", "Stripe отказал: Charge ch_1 was refunded."),
        ("24000.00 KZT", "24\u00a0000\u00a0₸"),
        # what a person wrote, and names
        ("injured, moved to Aktobe", "injured, moved to Aktobe"),
        ("Aida's payments", "Aida's payments"),
        ("Paid", "Paid"),
        ("", ""),
    ],
)
def test_a_sentence_that_was_stored(stored: str, told: str) -> None:
    assert Translation("ru").shown(stored) == told
    assert Translation("en").shown(stored) == stored


def test_a_kind_in_a_sentence_is_told_in_words() -> None:
    sentence = N_(
        "A discrepancy about payment %(payment)s is open: %(kind)s",
        payment="c1",
        kind=DiscrepancyKind.STATUS_MISMATCH,
    )
    assert Translation("ru").shown(sentence) == "По платежу c1 открыто расхождение: состояние не совпадает"
    typed = N_("A discrepancy about payment %(payment)s is open: %(kind)s", payment="PAID", kind="OPEN")
    assert Translation("ru").shown(typed) == "По платежу PAID открыто расхождение: OPEN"


@pytest.mark.parametrize("won", ["won", "The dispute was won.", "dispute won", "DISPUTE-WON"])
def test_a_won_dispute_is_not_called_a_lost_one_in_kazakh(won: str) -> None:
    told = Translation("kk").text(won).lower()
    assert "ұтт" in told
    assert "ұтыл" not in told


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
