"""Texts that are written in English and told in the reader's language where they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class Text(str):
    """A text in English that knows its template and its values, so that a terminal can translate it.

    It is a ``str``: what is stored, logged or sent to a client stays English.
    """

    template: str
    values: Mapping[str, object]


def N_(template: str, **values: object) -> str:  # noqa: N802 - gettext's own name
    """Return a text that is translated where it is shown, with its values filled in: ``%(name)s``."""
    text = Text(template % values if values else template)
    text.template, text.values = template, values
    return text


def joined(parts: Sequence[str], between: str = ", ") -> str:
    """Return texts as one, each of which is translated where it is shown."""
    names = [f"part{number}" for number in range(len(parts))]
    return N_(between.join(f"%({name})s" for name in names), **dict(zip(names, parts, strict=True)))
