"""Names, categories and e-mail addresses as they come from people: made clean, compared, searched.

Names are Kazakh, Russian and Latin. Comparing happens here and not in SQL, because ``lower()`` and ``LIKE``
know ASCII alone on SQLite, and on PostgreSQL whatever the database's locale knows.
"""

from __future__ import annotations

import re
import unicodedata

from procomp_pay.domain.errors import Refused

LONGEST_NAME = 200
LONGEST_CATEGORY = 100
LONGEST_EMAIL = 254

#: RFC 2606 reserves the TLD: no mail can ever go there.
PLACEHOLDER_DOMAIN = "participants.invalid"

#: Kazakh letters as somebody with a Russian keyboard types them. ``й`` and ``ё`` lose their marks below.
_PLAIN = str.maketrans("әғқңөұүһі", "агкноуухи")
_NOTHING = frozenset({"-", "–", "—"})
_EMAIL = re.compile(
    r"[a-z0-9_][a-z0-9.!#$%&'*+/=?^_`{|}~-]{0,63}@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]"
)


def clean_name(text: str, what: str = "name") -> str:
    """A name as it is kept: one line, single spaces, no invisible characters.

    :param what: what it is, for the error.
    :raises Refused: empty, over 200 characters, without a letter, with a control character, a formula,
        or with a letter that was lost on the way (``?``).
    """
    cleaned = _one_line(text, what, LONGEST_NAME)
    if not cleaned:
        raise Refused(f"the {what} is empty")
    if cleaned[0] in "=+-@":
        raise Refused(f"the {what} {_short(cleaned)} begins with {cleaned[0]!r}, as a formula does")
    if not any(c.isalpha() for c in cleaned):
        raise Refused(f"the {what} {_short(cleaned)} has no letter")
    return cleaned


def clean_person(text: str) -> str:
    """A person's full name.

    :raises Refused: as :func:`clean_name`, and where ``?`` shows that a letter was lost.
    """
    cleaned = clean_name(text)
    if "?" in cleaned or "\N{REPLACEMENT CHARACTER}" in cleaned:
        raise Refused(
            f"the name {_short(cleaned)} lost a letter when the file was saved: save it as CSV UTF-8 or XLSX"
        )
    return cleaned


def clean_category(text: str | None) -> str | None:
    """A category, such as ``-60 кг``; ``None`` for nothing or a dash.

    :raises Refused: over 100 characters, a control character, or a formula.
    """
    cleaned = _one_line(text or "", "category", LONGEST_CATEGORY)
    if not cleaned or cleaned in _NOTHING:
        return None
    if cleaned[0] in "=@":  # + and - are weights
        raise Refused(f"the category {_short(cleaned)} begins with {cleaned[0]!r}, as a formula does")
    return cleaned


def clean_email(text: str | None) -> str | None:
    """An e-mail address in lower case; ``None`` for nothing or a dash.

    :raises Refused: not an address, or one in the reserved ``.invalid``.
    """
    cleaned = _one_line(text or "", "e-mail", LONGEST_EMAIL).lower()
    if not cleaned or cleaned in _NOTHING:
        return None
    if not _EMAIL.fullmatch(cleaned) or ".." in cleaned or ".@" in cleaned:
        raise Refused(f"{_short(cleaned)} is not an e-mail address")
    if cleaned.endswith(".invalid"):
        raise Refused(f"{_short(cleaned)} is not an e-mail address: nothing under .invalid takes mail")
    return cleaned


def placeholder_email(participant_id: str) -> str:
    """The address of the user that stands for a participant without e-mail: one user for each.

    The platform's ``"User"`` needs an address and a unique one. When the person gives an address later,
    this user is theirs alone and can be given it.
    """
    return f"{participant_id}@{PLACEHOLDER_DOMAIN}".lower()


def is_placeholder(email: str) -> bool:
    """Whether an address is ours and takes no mail: nothing is ever sent there, and nobody sees it."""
    return email.lower().endswith(".invalid")


def same_key(text: str | None) -> str:
    """Equal for the same name or category written with other case, spaces or composition of letters."""
    return " ".join(unicodedata.normalize("NFKC", text or "").casefold().split())


def search_key(text: str) -> str:
    """As :func:`same_key` and blind to marks: ``кайрат`` finds ``Қайрат``, ``петр`` finds ``Пётр``."""
    folded = unicodedata.normalize("NFKD", text).casefold().translate(_PLAIN)
    return " ".join("".join(c for c in folded if not unicodedata.combining(c)).split())


def _one_line(text: str, what: str, most: int) -> str:
    visible = "".join(c for c in unicodedata.normalize("NFC", text) if unicodedata.category(c) != "Cf")
    # not split(): that would take \x1c to \x1f and \x85 for spaces
    spaced = "".join(" " if c in "\t\n\r" or unicodedata.category(c)[0] == "Z" else c for c in visible)
    line = re.sub(" +", " ", spaced).strip(" ")
    for c in line:
        if not c.isprintable():
            raise Refused(f"the {what} has a control character (U+{ord(c):04X})")
    if len(line) > most:
        raise Refused(f"the {what} {_short(line)} is longer than {most} characters ({len(line)})")
    return line


def _short(text: str) -> str:
    return f"“{text[:40]}…”" if len(text) > 40 else f"“{text}”"


#: Cyrillic capitals that nobody can tell from the Latin ones on paper.
LATIN_FOR = str.maketrans("АВЕЅЗІЈКМНОРСТУХҮҺҚ", "ABES3IJKMHOPCTYXYHK")


#: Letters that can only have been a digit where there are digits alone.
DIGIT_FOR = str.maketrans("OОІIL|З", "0011113")


def upper(text: str) -> str:
    """Upper case, wide forms made narrow; spaces, hyphens and what cannot be seen taken out."""
    plain = unicodedata.normalize("NFKC", text)
    return "".join(c for c in plain.upper() if not _is_gap(c))


def _is_gap(c: str) -> bool:
    # Z: spaces, also no-break ones; Cf: zero-width; Pd: hyphens and dashes
    return unicodedata.category(c) in ("Zs", "Zl", "Zp", "Cf", "Pd") or c in "\t\r\n"
