"""The languages of e-mails to participants, and the choice from ``Accept-Language``."""

from __future__ import annotations

from enum import StrEnum


class Language(StrEnum):
    """A language of e-mails to participants, as an ISO 639-1 code."""

    RUSSIAN = "ru"
    KAZAKH = "kk"
    ENGLISH = "en"


def preferred(accept_language: str | None) -> Language | None:
    """Return the supported language that an ``Accept-Language`` header prefers; ``None`` if it names none."""
    candidates = []
    for number, part in enumerate((accept_language or "").split(",")[:20]):
        tag, _, weight = part.strip().partition(";")
        try:
            quality = float(weight.strip().removeprefix("q=")) if weight else 1.0
        except ValueError:
            continue
        code = tag.partition("-")[0].strip().lower()
        language = next((supported for supported in Language if supported == code), None)
        if language is not None and quality > 0:
            candidates.append((-quality, number, language))
    return min(candidates)[2] if candidates else None
