"""Complete names, codes and tournaments in the shell, from the database.

A shell drops what does not begin with the typed text, and some insert spaces unquoted. So a completion is
the typed text and the rest of a name in the same letters, its words joined by hyphens: ``kai`` becomes
``kairat-nurlanov``, which the search reads as it reads spaces.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path

from procomp_pay.environment import given

#: The most completions that are offered.
_MOST = 50
_SPELLED = str.maketrans({"C": "ch", "J": "zh", "W": "sh", "X": "kh"})

Offers = list[tuple[str, str]]


def complete_participant(incomplete: str) -> Offers:
    """Return participants, those who have not paid first, each with category and tournament."""
    return _quietly(_participants, incomplete)


def complete_payment(incomplete: str) -> Offers:
    """Return the codes of the latest payments, each with name and status, then participants."""
    return _quietly(_payments, incomplete)


def complete_tournament(incomplete: str) -> Offers:
    """Return tournaments, the latest first."""
    return _quietly(_tournaments, incomplete)


def command_being_completed(environ: Mapping[str, str], known: Container[str]) -> str | None:
    """Return the command whose words the shell completes; ``None`` where it completes none, or a command."""
    if not environ.get("_PROCOMP_PAY_COMPLETE", "").startswith("complete_"):
        return None
    line = environ.get("COMP_WORDS") or environ.get("_TYPER_COMPLETE_ARGS") or ""
    _program, _, rest = line.strip(" ").partition(" ")
    command, _, more = f"{rest} ".lstrip(" ").partition(" ")
    is_whole = bool(more.strip()) or line.endswith(" ")
    return command if is_whole and command in known else None


def _quietly(read: Callable[[str], Iterable[tuple[str, str]]], incomplete: str) -> Offers:
    """Return what can be offered; nothing, and no message, if anything is wrong. Signs are left out of names:
    zsh evaluates what it is told."""
    try:
        offers: dict[str, str] = {}
        for value, help_text in read(incomplete):
            offers.setdefault(value, "".join(c if c.isalnum() or c in " .,-+" else " " for c in help_text))
            if len(offers) == _MOST:
                break
        return list(offers.items())
    except Exception:  # the line that is typed must stay as it is
        return []


def _participants(incomplete: str) -> Iterator[tuple[str, str]]:
    from procomp_pay.storage.registrations.completion import participants

    rows = participants(*_database())
    for number, value in _continued([row.full_name for row in rows], incomplete):
        row = rows[number]
        yield value, ", ".join(part for part in (row.full_name, row.category, row.tournament) if part)


def _payments(incomplete: str) -> Iterator[tuple[str, str]]:
    from procomp_pay.domain import payment_code
    from procomp_pay.storage.registrations.completion import payments

    for row in payments(*_database()):
        code = payment_code.shown(row.code)
        if code.startswith(incomplete.upper()):
            yield incomplete + code[len(incomplete) :], f"{row.full_name}, {row.status.lower()}"
    yield from _participants(incomplete)


def _tournaments(incomplete: str) -> Iterator[tuple[str, str]]:
    from procomp_pay.storage.registrations.completion import tournaments

    rows = tournaments(*_database())
    for number, value in _continued([row.name for row in rows], incomplete):
        yield value, rows[number].name


def _continued(names: list[str], incomplete: str) -> Iterator[tuple[int, str]]:
    """Yield the index of each name that has a word with this beginning, and the typed text with the rest of
    the name: in its own letters, or in Latin ones as it sounds."""
    from procomp_pay.domain.name_search import matches, name_keys
    from procomp_pay.domain.names import search_key

    typed, [sounds] = search_key(incomplete), name_keys([incomplete])
    sounds = sounds[1:-1].replace(" ", "-")
    fitting = sorted(match.number for match in matches(names, incomplete.replace("-", " ")))
    for number, key in zip(fitting, name_keys(names[number] for number in fitting), strict=True):
        for text in _turned(_words(names[number])):
            if search_key(text).startswith(typed):
                yield number, incomplete + text[len(incomplete) :]
                break
        else:
            for text in _turned(key.split()):
                if text.startswith(sounds):
                    yield number, incomplete + text[len(sounds) :].translate(_SPELLED)
                    break


def _words(name: str) -> list[str]:
    return "".join(c for c in name.replace("-", " ") if c.isalnum() or c == " ").split()


def _turned(words: list[str]) -> Iterator[str]:
    """Yield the words joined by hyphens, beginning with each of them in turn."""
    for n in range(len(words)):
        yield "-".join([*words[n:], *words[:n]])


def _database() -> tuple[str, str | None]:
    """Return the database's URL, and the file with the platform's names, as the settings do, without their
    import."""
    values = given()
    url = values.get("database_url") or f"sqlite:///{home() / 'procomp-pay.sqlite3'}"
    return url, values.get("platform_map")


def home() -> Path:
    """Return the directory of our files as the settings do, without their import."""
    if folder := given().get("procomp_home"):
        return Path(folder)
    from platformdirs import user_data_path

    return user_data_path("procomp-pay")
