"""Texts in the clerk's language: ``PROCOMP_LANGUAGE``, else the terminal's locale.

In English nothing is looked up and nothing is imported for it: most commands have to start quickly.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from procomp_pay.domain.language import Language, of_terminal
from procomp_pay.domain.text import N_


def language() -> Language:
    """Return the clerk's language."""
    return of_terminal(os.environ)


def _(message: str, **values: object) -> str:
    """Return a text in the clerk's language with its values filled in."""
    return translated(N_(message, **values))


def in_words(code: str, words: Mapping[str, str]) -> str:
    """Return a stored code in the clerk's language; in English, or where it is not known, as it is."""
    return code if language() is Language.ENGLISH else _(words.get(code, code))


def counted(one: str, many: str, n: int) -> str:
    """Return a text with ``%(n)d`` in it in the clerk's language, in the plural form for the number."""
    if language() is Language.ENGLISH:
        return (one if n == 1 else many) % {"n": n}
    from procomp_pay.translations import Translation

    return Translation(language()).counted(one, many, n)


def translated(text: str) -> str:
    """Return a text that was marked with :func:`N_`, or was stored as its English, in the clerk's language;
    any other as it is."""
    if language() is Language.ENGLISH:
        return str(text)
    from procomp_pay.translations import Translation

    return Translation(language()).shown(text)
