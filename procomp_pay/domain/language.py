"""The languages of texts for people."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Language(StrEnum):
    """A language that texts for people are written in."""

    RUSSIAN = "ru"
    KAZAKH = "kk"
    ENGLISH = "en"


def preferred(accept_language: str | None) -> Language | None:
    """Return the supported language that ``Accept-Language`` prefers; ``None`` if it names none."""
    candidates = []
    for number, part in enumerate((accept_language or "").split(",")[:20]):
        tag, _, weight = part.strip().partition(";")
        try:
            quality = float(weight.strip().removeprefix("q=")) if weight else 1.0
        except ValueError:
            continue
        known = next(
            (language for language in Language if language == tag.partition("-")[0].strip().lower()), None
        )
        if known is not None and quality > 0:
            candidates.append((-quality, number, known))
    return min(candidates)[2] if candidates else None


def of_terminal(environ: Mapping[str, str]) -> Language:
    """Return the language of a terminal: ``PROCOMP_LANGUAGE``, else its locale, else English.

    A language that has no catalogue gives English.
    """
    names = ("PROCOMP_LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")
    name = next(filter(None, (environ.get(name, "").strip() for name in names)), "")
    code = name.lower().replace("-", "_").partition(".")[0].partition("_")[0]
    return next((language for language in Language if language == code), Language.ENGLISH)
