"""Remove secrets from text: values of fields with secret names, text shaped like a secret, known values.

For logs, errors, the audit trail and crash output. It rather hides too much than too little.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote

HIDDEN = "[redacted]"
#: Configured values that are shorter are not hidden: they could be any word, and no real secret is so short.
_SHORTEST_KNOWN = 6
_DEEPEST = 6
#: The longest reason or message that is stored, in characters.
LONGEST_TEXT = 500

_NAMES = (
    r"api[-_ ]?key|api[-_ ]?secret|device[-_ ]?token|client[-_ ]?secret|secret(?:[-_ ]?key)?|password|passwd"
    r"|authorization|proxy-authorization|cookie|set-cookie|(?:access|refresh|id|bearer|qr)?[-_ ]?token"
    r"|(?:stripe|webhook)[-_ ]?signature|signature|private[-_ ]?key|encryption[-_ ]?keys?|credentials?"
    r"|payment[-_ ]?url|payment[-_ ]?link|qr[-_ ]?payload|smtp[-_ ]?url|database[-_ ]?(?:read[-_ ]?)?url"
)
_SECRET_NAME = re.compile(rf"(?:^|[_\W])(?:{_NAMES})$", re.IGNORECASE)
#: ``Api-Key: …``, ``"DeviceToken": "…"``, ``password=…``.
_NAMED = re.compile(
    rf"""(?ix) (?P<name> (?<![a-z]) (?:{_NAMES}) ) (?P<between> ["']? \s* [:=] \s* )
         (?P<value> "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*'
         | (?: (?:bearer|basic|digest) \s+ )? [^\s"',;&}})\]]+ (?: , \s* v\d= [^\s"',;&}})\]]+ )* )"""
)
#: Shapes of secrets, each with marks without which it cannot occur, to skip most texts quickly.
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
#: All marks; a text without any can contain only configured values and card numbers.
_MARKS = re.compile("|".join(re.escape(mark) for marks, _ in _SHAPES for mark in marks) + "|:|=")
_CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-]|\.\d)")


class Redactor:
    """Hide secrets by name and shape, and the secrets of this process by value.

    :param known: the secret values, such as those of the settings.
    """

    def __init__(self, known: Iterable[str] = ()) -> None:
        forms = {
            form for value in known if len(value) >= _SHORTEST_KNOWN for form in (value, quote(value, ""))
        }
        longest_first = sorted(forms, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def text(self, text: str, *, cards: bool = True) -> str:
        """Return the text without its secrets.

        :param cards: hide possible card numbers as well; not for texts in which long numbers are ids.
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
        """Return a document without its secrets, by the names of its fields and by shape."""
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
            return [self.value(item, cards=cards, _depth=depth) for item in value]
        redacted = {}
        for name, item in value.items():
            hidden = is_secret_name(str(name)) and item is not None
            redacted[self._name(str(name))] = (
                HIDDEN if hidden else self.value(item, cards=cards, _depth=depth)
            )
        return redacted

    def _name(self, name: str) -> str:
        """Return a field name without secrets; a short identifier cannot be shaped like one."""
        if not name.isidentifier() or len(name) >= 40:
            return self.text(name)
        return name if self._known is None else self._known.sub(HIDDEN, name)


@lru_cache(maxsize=1024)
def is_secret_name(name: str) -> bool:
    """Return whether a field of this name contains a secret: ``apiKey``, ``JWT_SECRET``, ``Device-Token``."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return _SECRET_NAME.search(spaced) is not None


_plain = Redactor()


def redact(text: str, *, cards: bool = True) -> str:
    """Return the text without everything that is shaped like a secret."""
    return _plain.text(text, cards=cards)


def _without_value(match: re.Match[str]) -> str:
    return match["name"] + match["between"] + HIDDEN


def _without_card(match: re.Match[str]) -> str:
    digits = [int(c) for c in match[0] if c.isdigit()]
    doubled = (d if n % 2 == 0 else d * 2 - 9 * (d > 4) for n, d in enumerate(reversed(digits)))
    return HIDDEN if sum(doubled) % 10 == 0 and len(set(digits)) > 1 else match[0]


#: What no database can store: PostgreSQL has no NUL, and a lone surrogate is no character.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str | None) -> str | None:
    """Return a provider's or a person's text as it is stored: at most 500 characters that exist."""
    return None if text is None else _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text[:LONGEST_TEXT])


def one_line(text: str, *, keep: str = "") -> str:
    """Return the text with every character escaped that could forge a line or control a terminal.

    :param keep: control characters that are not escaped.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _visible(c) for c in text)


def _visible(char: str) -> str:
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char, f"\\u{ord(char):04x}")
