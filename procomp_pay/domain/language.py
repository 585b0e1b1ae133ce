"""The languages of e-mails to participants."""

from __future__ import annotations

from enum import StrEnum


class Language(StrEnum):
    """The languages of letters to participants."""

    RUSSIAN = "ru"
    KAZAKH = "kk"
    ENGLISH = "en"


def preferred(accept_language: str | None) -> Language | None:
    """The one of our languages that an ``Accept-Language`` likes best; ``None`` where it names none."""
    wishes = []
    for number, part in enumerate((accept_language or "").split(",")[:20]):
        tag, _, weight = part.strip().partition(";")
        try:
            quality = float(weight.strip().removeprefix("q=")) if weight else 1.0
        except ValueError:
            continue
        known = next((each for each in Language if each == tag.partition("-")[0].strip().lower()), None)
        if known is not None and quality > 0:
            wishes.append((-quality, number, known))
    return min(wishes)[2] if wishes else None
