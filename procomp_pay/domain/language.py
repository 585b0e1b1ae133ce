"""The languages of texts for people."""

from __future__ import annotations

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
