"""Clean, compare and search names, categories and e-mail addresses as people write them.

Names are Kazakh, Russian and Latin. They are compared here and not in SQL, because ``lower()`` and ``LIKE``
handle ASCII only on SQLite, and depend on the database's locale on PostgreSQL.
"""

from __future__ import annotations

import re
import unicodedata

from procomp_pay.domain.errors import Refused
from procomp_pay.domain.text import N_

LONGEST_NAME = 200
LONGEST_CATEGORY = 100
LONGEST_EMAIL = 254

#: RFC 2606 reserves the top-level domain: no mail can be delivered there.
PLACEHOLDER_DOMAIN = "participants.invalid"

#: Kazakh letters as they are typed on a Russian keyboard. ``й`` and ``ё`` lose their marks below.
_PLAIN = str.maketrans("әғқңөұүһі", "агкноуухи")
#: Words that end like surnames and no given name; in rosters the surname often comes first. The last ones are
#: whole words, the most frequent surnames of Kazakhstan's Koreans.
_SURNAME = re.compile(
    r"\w{3,}(?:[оеё]ва?|[цс]к(?:ий|ая|ой)|енко|швили|[oe]va?|sk(?:iy|y|aya|aia)|enko|shvili)"
    r"|ким|пак|цой|ли|тен|хегай|огай|kim|pak|park|tsoy|tsoi|choi|li|lee",
    re.IGNORECASE,
)
#: A patronymic, which follows the given name. As a word of its own its ending follows the father's name.
_PATRONYMIC = re.compile(
    r"\w{3,}(?:[ео]вич|[ео]вна|ична|[ұу]лы|[қк]ызы|o?[ue]vich|[oe]vna|ichna|uly|[kq]yzy)", re.IGNORECASE
)
_CHILD_OF = re.compile(r"[ұу]лы|[қк]ызы|оглы|кизи|uly|ulu|[kq]yzy|ogl[iy]|qizi", re.IGNORECASE)
_NOTHING = frozenset({"-", "–", "—"})
_BORN = re.compile(r"(.*[^\W\d][.]?)[\s,(]+((?:19|20)[0-9]{2})\)?")
_EMAIL = re.compile(
    r"[a-z0-9_][a-z0-9.!#$%&'*+/=?^_`{|}~-]{0,63}@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]"
)


def clean_name(text: str, field: str = N_("name")) -> str:
    """Return a name as it is stored: one line, single spaces, no invisible characters.

    :param field: the kind of name, for the error.
    :raises Refused: empty, over 200 characters, without a letter, with a control character, or a formula.
    """
    cleaned = _one_line(text, field, LONGEST_NAME)
    if not cleaned:
        raise Refused(N_("the %(field)s is empty", field=field))
    if cleaned[0] in "=+-@":
        raise _like_a_formula(cleaned, field)
    if not any(c.isalpha() for c in cleaned):
        raise Refused(N_("the %(field)s %(text)s has no letter", field=field, text=_short(cleaned)))
    return cleaned


def clean_person(text: str) -> str:
    """Return a participant's full name as it is stored.

    :raises Refused: as :func:`clean_name`, or ``?`` shows that a letter was lost.
    """
    cleaned = clean_name(text)
    if "?" in cleaned or "\N{REPLACEMENT CHARACTER}" in cleaned:
        raise Refused(
            N_(
                "the name %(text)s lost a letter when it was saved: save the file as CSV UTF-8 or XLSX",
                text=_short(cleaned),
            )
        )
    return cleaned


def payment_description(tournament_name: str, full_name: str) -> str:
    """Return what a payment is for, as the provider shows it, in at most 200 characters."""
    return f"{tournament_name}: {full_name}"[:200]


def first_name_and_initial(full_name: str) -> str:
    """Return as much of a person's name as strangers may read: ``Қайрат Н.``

    The given name is the word before a patronymic, else the one beside a word that is known as a surname.
    Where neither tells it, the surname might be shown in full: then it is initials alone, ``Қ. Н.``
    """
    words = full_name.split()
    if len(words) < 2:
        return full_name
    given, surname = _given_and_surname(words)
    return f"{given} {surname[0].upper()}." if given else f"{words[0][0].upper()}. {words[1][0].upper()}."


def _given_and_surname(words: list[str]) -> tuple[str | None, str]:
    """Return the given name, ``None`` if it is not certain, and the surname, or a patronymic in its place."""
    for at, word in enumerate(words):
        is_two_words = bool(_CHILD_OF.fullmatch(word))
        before = at - 2 if is_two_words else at - 1
        if before >= 0 and (is_two_words or _PATRONYMIC.fullmatch(word)):
            others = words[:before] or words[at + 1 :] or words[before + 1 :]
            if len(words) > 2 or not _is_surname(words[before]):
                return words[before], others[0]
            break
    first, second = words[:2]
    if _PATRONYMIC.fullmatch(first):  # Kazakh surnames are made so too
        return second, first
    if _is_surname(first) == _is_surname(second):
        return None, first
    return (second, first) if _is_surname(first) else (first, second)


def _is_surname(word: str) -> bool:
    return any(_SURNAME.fullmatch(part) for part in word.split("-"))


def clean_category(text: str | None) -> str | None:
    """Return a category as it is stored, such as ``-60 кг``; ``None`` for nothing or a dash.

    :raises Refused: over 100 characters, a control character, or a formula.
    """
    cleaned = _one_line(text or "", N_("category"), LONGEST_CATEGORY)
    if not cleaned or cleaned in _NOTHING:
        return None
    if cleaned[0] in "=@":  # + and - are weights
        raise Refused(
            N_(
                "the category %(text)s begins with %(sign)s like a formula",
                text=_short(cleaned),
                sign=repr(cleaned[0]),
            )
        )
    return cleaned


def clean_detail(text: str | None, field: str) -> str | None:
    """Return a club, a coach or a phone number as it is stored; ``None`` for nothing or a dash.

    :raises Refused: over 100 characters, a control character, or a formula.
    """
    cleaned = _one_line(text or "", field, LONGEST_CATEGORY)
    if not cleaned or cleaned in _NOTHING:
        return None
    if cleaned[0] in "=@" or (cleaned[0] in "+-" and not cleaned[1:2].isdigit()):
        raise _like_a_formula(cleaned, field)
    return cleaned


def clean_phone(text: str | None) -> str | None:
    """Return a phone number as it is stored; ``None`` for nothing or a dash.

    :raises Refused: as :func:`clean_detail`, or it has fewer than five digits.
    """
    cleaned = clean_detail(text, "phone")
    if cleaned is not None and sum(c.isdigit() for c in cleaned) < 5:
        raise Refused(N_("the phone %(text)s has fewer than five digits", text=_short(cleaned)))
    return cleaned


def birth_year(text: str | None) -> int | None:
    """Return the year of a birth year or date, as people write them; ``None`` for nothing or a dash.

    :raises Refused: it has no year of four digits, or several, or one outside 1900 to 2100.
    """
    cleaned = _one_line(text or "", "birth year", LONGEST_CATEGORY)
    if not cleaned or cleaned in _NOTHING:
        return None
    years = {int(word) for word in re.findall(r"(?<!\d)\d{4}(?!\d)", cleaned)}
    if len(years) != 1 or not 1900 <= min(years) <= 2100:
        raise Refused(N_("the birth year %(text)s is not a year such as 2012", text=_short(cleaned)))
    return years.pop()


def name_and_birth_year(typed: str) -> tuple[str, int | None]:
    """Return a name without the year of birth that is typed after it, ``Асан 2008``, and that year."""
    match = _BORN.fullmatch(typed.strip())
    return (match[1], int(match[2])) if match else (typed, None)


def clean_email(text: str | None) -> str | None:
    """Return an e-mail address in lower case; ``None`` for nothing or a dash.

    :raises Refused: not an address, or one under the reserved ``.invalid``.
    """
    cleaned = _one_line(text or "", N_("e-mail"), LONGEST_EMAIL).lower()
    if not cleaned or cleaned in _NOTHING:
        return None
    if not _EMAIL.fullmatch(cleaned) or ".." in cleaned or ".@" in cleaned:
        raise Refused(N_("%(text)s is not an e-mail address", text=_short(cleaned)))
    if cleaned.endswith(".invalid"):
        raise Refused(
            N_(
                "%(text)s is not an e-mail address: nothing under .invalid receives mail",
                text=_short(cleaned),
            )
        )
    return cleaned


def placeholder_email(participant_id: str) -> str:
    """Return the address of the user of a participant without e-mail.

    The platform's ``"User"`` needs a unique address. Each such participant has a user of their own, so that a
    real address can be stored there later.
    """
    return f"{participant_id}@{PLACEHOLDER_DOMAIN}".lower()


def is_placeholder(email: str) -> bool:
    """Return whether an address is a placeholder: nothing is sent to it and it is never shown."""
    return email.lower().endswith(".invalid")


def same_key(text: str | None) -> str:
    """Return a key that is equal for a name or category in other case, spacing or Unicode composition."""
    return " ".join(unicodedata.normalize("NFKC", text or "").casefold().split())


def search_key(text: str) -> str:
    """Return a key as :func:`same_key` does, without accents: ``кайрат`` finds ``Қайрат``."""
    folded = unicodedata.normalize("NFKD", text).casefold().translate(_PLAIN)
    return " ".join("".join(c for c in folded if not unicodedata.combining(c)).split())


def _one_line(text: str, field: str, most: int) -> str:
    visible = "".join(c for c in unicodedata.normalize("NFC", text) if unicodedata.category(c) != "Cf")
    # not split(): that would treat \x1c to \x1f and \x85 as spaces
    spaced = "".join(" " if c in "\t\n\r" or unicodedata.category(c)[0] == "Z" else c for c in visible)
    line = re.sub(" +", " ", spaced).strip(" ")
    for c in line:
        if not c.isprintable():
            raise Refused(
                N_(
                    "the %(field)s has a control character (U+%(number)s)",
                    field=field,
                    number=f"{ord(c):04X}",
                )
            )
    if len(line) > most:
        raise Refused(
            N_(
                "the %(field)s %(line)s is longer than %(most)s characters (%(length)s)",
                field=field,
                line=_short(line),
                most=most,
                length=len(line),
            )
        )
    return line


def _like_a_formula(text: str, field: str) -> Refused:
    return Refused(
        N_(
            "the %(field)s %(text)s begins with %(sign)s like a formula",
            field=field,
            text=_short(text),
            sign=repr(text[0]),
        )
    )


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
