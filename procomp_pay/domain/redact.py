"""Take secrets out of text: what is known by name, what has the shape of one, and the very values configured.

For logs, errors, the audit trail and crash output. It errs on the side of hiding too much.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

HIDDEN = "[redacted]"
#: A configured value that is shorter could be any word; nothing that guards money is so short.
_SHORTEST_KNOWN = 6
_DEEPEST = 6

_NAMES = (
    r"api[-_ ]?key|api[-_ ]?secret|device[-_ ]?token|client[-_ ]?secret|secret(?:[-_ ]?key)?|password|passwd"
    r"|authorization|proxy-authorization|cookie|set-cookie|(?:access|refresh|id|bearer|qr)?[-_ ]?token"
    r"|(?:stripe|webhook)[-_ ]?signature|signature|private[-_ ]?key|encryption[-_ ]?keys?|credentials?"
    r"|payment[-_ ]?url|payment[-_ ]?link|qr[-_ ]?payload|smtp[-_ ]?url|database[-_ ]?url"
)
_SECRET_NAME = re.compile(rf"(?:^|[_\W])(?:{_NAMES})$", re.IGNORECASE)
#: ``Api-Key: …``, ``"DeviceToken": "…"``, ``password=…``.
_NAMED = re.compile(
    rf"""(?ix) (?P<name> (?<![a-z]) (?:{_NAMES}) ) (?P<between> ["']? \s* [:=] \s* )
         (?P<value> "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*'
         | (?: (?:bearer|basic|digest) \s+ )? [^\s"',;&}})\]]+ (?: , \s* v\d= [^\s"',;&}})\]]+ )* )"""
)
#: Shapes, each behind the marks without which it cannot be there: most lines have none of them.
_SHAPES: tuple[tuple[tuple[str, ...], re.Pattern[str]], ...] = (
    (
        ("private key",),
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
        ),
    ),
    (("_live_", "_test_"), re.compile(r"\b[sr]k_(?:live|test)_\w+")),
    (("whsec_",), re.compile(r"\bwhsec_[\w+/=-]+")),
    (("_secret_",), re.compile(r"\b\w+_secret_\w+")),
    (("eyj",), re.compile(r"\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?")),  # JWT
    (("gaaaa",), re.compile(r"(?<![\w-])gAAAA[\w-]{20,}={0,2}")),  # Fernet's ciphertext
    (("=",), re.compile(r"(?<![\w-])[\w-]{43}=(?![\w=-])")),  # a Fernet key
    (("?s=", "&s="), re.compile(r"(?<=[?&]s=)[\w-]{43}(?![\w-])")),  # a signed link
    (("://",), re.compile(r"(?<=://)[^/@\s:]*:[^/@\s]+@")),  # a password in an address
    (("bearer ", "basic "), re.compile(r"(?i:(?<=bearer )|(?<=basic ))[\w.~+/=-]{16,}")),
    (("v1=", "v0="), re.compile(r"\bv[01]=[0-9a-f]{64}\b")),  # Stripe-Signature
)
#: What is before, or in, everything that is looked for but a known value and a card: most texts have none.
_MARKS = re.compile("|".join(re.escape(mark) for marks, _ in _SHAPES for mark in marks) + "|:|=")
_CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-]|\.\d)")


class Redactor:
    """Knows the secrets of this process beside their shapes.

    :param known: the values themselves, such as those of the settings.
    """

    def __init__(self, known: Iterable[str] = ()) -> None:
        forms = {
            form for value in known if len(value) >= _SHORTEST_KNOWN for form in (value, quote(value, ""))
        }
        longest_first = sorted(forms, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def text(self, text: str, *, cards: bool = True) -> str:
        """The text without its secrets.

        :param cards: also what could be a card's number; not where long numbers are ids.
        """
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        marks = text.lower()
        if _MARKS.search(marks):
            for needed, shape in _SHAPES:
                if any(mark in marks for mark in needed):
                    text = shape.sub(HIDDEN, text)
            text = _NAMED.sub(_without_value, text)
        return _CARD.sub(_without_card, text) if cards else text

    def value(self, value: Any, *, cards: bool = True, _depth: int = 0) -> Any:
        """A document without its secrets: by the names of its fields, and by shape."""
        if isinstance(value, str):
            return self.text(value, cards=cards)
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, bytes | bytearray):
            return f"<{len(value)} bytes>"
        if isinstance(value, Mapping | list | tuple | set | frozenset):
            return "…" if _depth >= _DEEPEST else self._inner(value, cards, _depth + 1)
        return self.text(str(value), cards=cards)

    def _inner(self, value: Any, cards: bool, depth: int) -> Any:
        if not isinstance(value, Mapping):
            return [self.value(each, cards=cards, _depth=depth) for each in value]
        found = {}
        for name, each in value.items():
            hidden = is_secret_name(str(name)) and each is not None
            found[self._name(str(name))] = HIDDEN if hidden else self.value(each, cards=cards, _depth=depth)
        return found

    def _name(self, name: str) -> str:
        """A short word of letters has no shape of a secret."""
        if not name.isidentifier() or len(name) >= 40:
            return self.text(name)
        return name if self._known is None else self._known.sub(HIDDEN, name)


@lru_cache(maxsize=1024)
def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds something secret: ``apiKey``, ``JWT_SECRET``, ``Device-Token``."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return _SECRET_NAME.search(spaced) is not None


_plain = Redactor()


def redact(text: str, *, cards: bool = True) -> str:
    """The text without what has the shape of a secret."""
    return _plain.text(text, cards=cards)


def _without_value(match: re.Match[str]) -> str:
    return match["name"] + match["between"] + HIDDEN


def _without_card(match: re.Match[str]) -> str:
    digits = [int(c) for c in match[0] if c.isdigit()]
    doubled = (d if n % 2 == 0 else d * 2 - 9 * (d > 4) for n, d in enumerate(reversed(digits)))
    return HIDDEN if sum(doubled) % 10 == 0 and len(set(digits)) > 1 else match[0]


def one_line(text: str, *, keep: str = "") -> str:
    """The text with everything that could forge a line, or steer a terminal, made visible.

    :param keep: control characters that stay.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _visible(c) for c in text)


def _visible(char: str) -> str:
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char, f"\\u{ord(char):04x}")
