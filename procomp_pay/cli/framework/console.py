"""The terminal: streams, colour, width, tables, JSON, questions and errors. Nothing else touches them.

Results go to stdout. Progress, hints, questions and errors go to stderr: a pipe on stdout stays clean.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import textwrap
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

import typer

from procomp_pay.cli.framework.language import _, translated
from procomp_pay.domain.errors import Ambiguous, PaymentError
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from procomp_pay.domain.errors import Choice

_SPACE = "\N{NO-BREAK SPACE}"  # part of an amount; Python does not call it printable
#: What acts on a terminal but ends no line: controls, also the 8-bit ones, and marks that turn text around.
_CONTROLS = "\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
#: The same, and every escape that is no colour or bold letter of ours.
_ACTS = re.compile(rf"[{_CONTROLS}]|\x1b(?!\[[0-9;]*m)")
_ACTS_IN_JSON = re.compile(f"[{_CONTROLS}\x1b]")
#: The widest line of running text, in columns.
_WIDEST = 100
#: A longer word in a table is broken.
_LONGEST_WORD = 24


def open_standard_streams() -> None:
    """Make the standard streams safe to use.

    One that the caller closed (``>&-``) is replaced with the null device, at its own descriptor: a database
    file must never become descriptor 1. A letter that a stream does not have is written as ``?``: a name must
    not abort the command.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            mode = "w" if number else "r"
            stream = os.fdopen(number, mode, encoding="utf-8", closefd=False)
            setattr(sys, name, stream)
        if number and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def discard(stream: TextIO) -> None:
    """Write nothing more to a stream's file, not even when the interpreter exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def out() -> Console:
    """Return a rich console on stdout. No colour where that is no terminal or ``NO_COLOR`` is set."""
    from rich.console import Console

    return Console(highlight=False, emoji=False, soft_wrap=not sys.stdout.isatty())


def err() -> Console:
    """Return a rich console on stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, emoji=False, soft_wrap=not sys.stderr.isatty())


def has_colour(*, err: bool = False) -> bool:
    """Return whether a stream may be coloured."""
    stream = sys.stderr if err else sys.stdout
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def is_interactive() -> bool:
    """Return whether all streams are a terminal; questions and live screens are for people only."""
    return sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()


def columns() -> int:
    """Return the terminal's width."""
    return shutil.get_terminal_size().columns


def is_wide(width: int) -> bool:
    """Return whether a table of ``width`` columns fits: always in a pipe, which has no width."""
    return not sys.stdout.isatty() or columns() >= width


def is_utf8() -> bool:
    """Return whether stdout has block characters, ticks and the like."""
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


# Text


def clean(text: object) -> str:
    """Return text from outside with its control characters made visible and harmless."""
    return "".join(c if c.isprintable() or c == _SPACE else "\N{REPLACEMENT CHARACTER}" for c in str(text))


def safe(text: object) -> str:
    """Return text from outside for rich: :func:`clean`, and its markup made harmless."""
    from rich.markup import escape

    return escape(clean(text))


def _harmless(line: str) -> str:
    """Return a line that only shows text and colours, also where a part of it was not made :func:`clean`."""
    return _ACTS.sub("\N{REPLACEMENT CHARACTER}", line)


def harmless_json(text: str) -> str:
    """Return the same JSON with what acts on a terminal as escapes: JSON lets most of it stand as it is."""
    return _ACTS_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def wrap(text: str, indent: str = "  ", *, err: bool = False) -> str:
    """Break text between words at the terminal's width; leave it as one line for a pipe.

    :param indent: of every line but the first.
    """
    if not (sys.stderr if err else sys.stdout).isatty():
        return text
    width = max(30, min(columns(), _WIDEST) - 2)
    options: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    return "\n".join(
        textwrap.fill(line, width, subsequent_indent=indent, **options) for line in text.split("\n")
    )


def bold(text: str) -> str:
    """Return text that is bold on a terminal with colours."""
    return typer.style(text, bold=True) if has_colour() else text


def dim(text: str) -> str:
    """Return text that is dim on a terminal with colours."""
    return typer.style(text, dim=True) if has_colour() else text


def coloured(text: str, colour: str | None, *, bold: bool = False) -> str:
    """Return text that has a colour on a terminal with colours."""
    return typer.style(text, fg=colour, bold=bold) if has_colour() else text


def label_rows(rows: Iterable[tuple[str, str]], width: int = 11) -> list[str]:
    """Return ``label  value`` lines, the labels dim and padded to ``width``; values break between words."""
    lines = []
    for label, value in rows:
        padded = f"{label:<{width}}"
        first, *more = wrap(f"  {padded} {value}", " " * (width + 3)).split("\n")
        lines += [first.replace(padded, dim(padded), 1), *more]
    return lines


def grid(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """Return a table as lines of plain text.

    :param right: the columns, from 0, that are aligned to the right: amounts and numbers.
    """
    widths = [max(width_of(row[n]) for row in (head, *rows)) for n in range(len(head))]
    lines = []
    for number, row in enumerate((head, *rows)):
        cells = []
        for n, (cell, width) in enumerate(zip(row, widths, strict=True)):
            padding = " " * (width - width_of(cell))
            cells.append(padding + cell if n in right else cell + padding)
        line = "  ".join(cells).rstrip()
        lines.append(dim(line) if number == 0 else line)
    return lines


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """Return :func:`grid`, or :func:`records` in a terminal that is too narrow for it."""
    lines = grid(head, rows, right=right)
    needed = max(width_of(_STYLE.sub("", line)) for line in lines)
    return lines if is_wide(needed) else records(head, rows)


def records(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table with a line for each cell, behind its head: no word of it is broken."""
    width = max(map(width_of, head)) + 1
    lines: list[str] = []
    for row in rows:
        cells = [(name, cell) for name, cell in zip(head, row, strict=True) if cell]
        lines += ["", *label_rows(cells, width)]
    return lines[1:]


def print_table(terminal: Console, tables: Iterable[Table]) -> None:
    """Print the first table that fits into the terminal with no word broken, else the :func:`records` of the
    last one. A pipe is as wide as needed."""
    for table in tables:
        needed = _give_least_widths(table)
        if needed <= terminal.width or not terminal.is_terminal:
            width = terminal.width
            terminal.width = max(needed, width)
            terminal.print(table)
            terminal.width = width
            return
    if table.title:
        terminal.print(table.title)
    head = [" ".join(_plain(column.header).split()) for column in table.columns]
    cells = ([_plain(cell).replace("\n", ", ") for cell in column.cells] for column in table.columns)
    rows = list(zip(*cells, strict=True))
    lines = records(head, [row for row, drawn in zip(rows, table.rows, strict=True) if not drawn.style])
    # a sum is no row of its table: its words stand under heads that are not theirs
    sums = [row for row, drawn in zip(rows, table.rows, strict=True) if drawn.style]
    lines += ["", *(wrap("  ".join(filter(None, row))) for row in sums)] if sums else []
    terminal.out("\n".join(lines), highlight=False)


def _give_least_widths(table: Table) -> int:
    """Give each column of a table the width of its longest word, or line where lines are not to be broken;
    return the width of the table."""
    for column in table.columns:
        cells = [_plain(cell) for cell in (column.header, *column.cells)]
        words = [word for cell in cells for word in (cell.split("\n") if column.no_wrap else cell.split())]
        longest = max(map(width_of, words), default=0)
        column.min_width = longest if column.no_wrap else min(longest, _LONGEST_WORD)
    # rich adds both sides' padding to a column's least width
    return sum((column.min_width or 0) + 2 for column in table.columns)


def _plain(cell: object) -> str:
    from rich.text import Text

    return Text.from_markup(str(cell), emoji=False).plain


def width_of(text: str) -> int:
    """Return the columns that a terminal gives to a text."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def shortened(text: str, width: int) -> str:
    """Return at most ``width`` columns of a text, with an ellipsis where it was cut."""
    while text and width_of(text) > max(1, width):
        text = text[:-2].rstrip() + "…" if not text.endswith("…") else text[:-2] + "…"
    return text


# Output


def print_lines(lines: Iterable[str], *, err: bool = False) -> None:
    """Print lines as they are, but for what acts on a terminal."""
    for line in lines:
        typer.echo(_harmless(line), err=err)


def print_long(lines: Iterable[str]) -> None:
    """Print lines, by the pager if they are longer than the screen of a terminal.

    ``PAGER`` names the pager; with ``NO_PAGER`` there is none. Keys that were typed ahead, or that a barcode
    scanner types, must not write a file, open an editor or run a command in it: ``LESSSECURE``.
    """
    text = _harmless("\n".join(lines))
    size = shutil.get_terminal_size()
    rows = sum(max(1, -(-width_of(_STYLE.sub("", line)) // size.columns)) for line in text.split("\n"))
    if rows < size.lines or not is_interactive() or os.environ.get("NO_PAGER"):
        typer.echo(text)
        return
    from pydoc import pager

    keys = _("Space – more, q – quit")
    os.environ.setdefault("LESS", f"-RX -Ps{keys}$")  # colours; the text stays on the screen
    os.environ.setdefault("LESSSECURE", "1")
    pager(text)


#: What colours and bold letters are written with.
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


def say(text: str, *, fg: str | None = None, bold: bool = False, dim: bool = False) -> None:
    """Print a line on stderr. ``text`` is printed as it is: make it :func:`clean` first."""
    wrapped = wrap(text, err=True)
    shown = typer.style(wrapped, fg=fg, bold=bold, dim=dim) if has_colour(err=True) else wrapped
    _echo(shown)


def hint(command: str) -> None:
    """Print what to type next, on stderr. A command is never broken into lines, since it is there to be
    copied; the words before it are, and a command that does not fit behind them begins a line."""
    words, name, arguments = f"  \N{RIGHTWARDS ARROW} {clean(translated(command))}".partition("procomp-pay ")
    if words.strip() == "\N{RIGHTWARDS ARROW}":
        line = words + name + arguments
    else:
        whole = (name + arguments).replace(" ", "\0")
        line = wrap(words + whole, "    ", err=True).replace("\0", " ")
    _echo(typer.style(line, fg="cyan") if has_colour(err=True) else line)


def _echo(text: str) -> None:
    with suppress(OSError):  # a log on a full disk must not end a command in its middle
        typer.echo(_harmless(text), err=True)


def print_json(document: Any) -> None:
    """Print one JSON document; amounts as exact numbers (``50.00``)."""
    import simplejson

    text = simplejson.dumps(document, use_decimal=True, ensure_ascii=not is_utf8(), indent=2)
    typer.echo(harmless_json(text))


def show_error(error: PaymentError, *, as_json: bool = False) -> None:
    """Print what happened, why, and what to type next."""
    from procomp_pay.domain.redact import redact

    choices = error.choices if isinstance(error, Ambiguous) else ()
    if as_json:
        print_error_json(redact(error.message, cards=False), error.exit_code, error.next_step, choices)
        return
    from procomp_pay.cli.framework.explain import in_full

    message = redact(in_full(error), cards=False)
    text = wrap(f"\N{BALLOT X} {clean(message)}", err=True)
    mark = typer.style(text[0], fg="red", bold=True) if has_colour(err=True) else text[0]
    _echo(mark + text[1:])
    for line in _choice_lines(choices, with_ids=True):
        _echo(f"  {line}")
    if error.next_step:
        hint(error.next_step)


def print_error_json(
    detail: str, exit_code: int, next_step: str | None = None, choices: Sequence[Choice] = ()
) -> None:
    """Print an error as the one JSON document of a command.

    :param choices: what an ambiguous name may mean.
    """
    step = None if next_step is None else clean(next_step)
    document: dict[str, Any] = {"detail": clean(detail), "exit_code": exit_code, "next_step": step}
    if choices:
        document["choices"] = [
            {"id": one.id, "name": clean(one.name), "facts": [clean(fact) for fact in one.facts]}
            for one in choices
        ]
    print_json(document)


def _choice_lines(choices: Sequence[Choice], *, with_ids: bool) -> list[str]:
    """Return what an ambiguous name may mean as the lines of a table."""
    rows = [
        [clean(one.name), *(clean(translated(fact)) for fact in one.facts), *([one.id] if with_ids else [])]
        for one in choices
    ]
    return grid([""] * len(rows[0]), rows)[1:] if rows else []


# Questions


def check_can_ask(*, yes: bool, as_json: bool, instead: str = N_("pass --yes to confirm")) -> None:
    """Check that a question can be asked, unless ``--yes`` answers it.

    :raises typer.BadParameter: there is no terminal, or ``--json`` was given.
    """
    if not yes and (as_json or not is_interactive()):
        raise typer.BadParameter(N_("not an interactive terminal: %(instead)s", instead=instead))


def confirm(question: str, *, declined: str = N_("Nothing was changed.")) -> None:
    """Ask yes or no, on stderr: in the clerk's language, or with the letters of any other one.

    :raises typer.Exit: code 3, the answer was no.
    """
    text = f"{translated(question)} [{_('y')}/{_('N')}]"
    while (answer := prompt(text, optional=True).strip().lower()) and answer not in _YES | _NO:
        say(_("Answer yes or no: %(yes)s or %(no)s.", yes=_("y"), no=_("N").lower()), fg="yellow")
    if answer not in _YES:
        say(translated(declined), fg="yellow")
        raise typer.Exit(3)


#: Yes and no in English, Russian and Kazakh. A letter means what it means, whatever its key: н, on the key
#: of y, is no.
_YES = {"y", "yes", "д", "да", "и", "иә", "ия"}
_NO = {"n", "no", "н", "нет", "ж", "жоқ", "жок"}


def choose(message: str, choices: Sequence[Choice]) -> Choice:
    """Show several things on stderr and ask for the number of one.

    :raises typer.Exit: code 3, none was chosen.
    """
    say(f"{clean(translated(message))}:")
    for number, line in enumerate(_choice_lines(choices, with_ids=False), 1):
        _echo(f"{number:>4}  {shortened(line, max(20, columns() - 7))}")
    while True:
        typed = prompt(_("Number (Enter for none)"), optional=True).strip()
        if not typed:
            say(_("Nothing was chosen."), fg="yellow")
            raise typer.Exit(3)
        if typed.isdecimal() and 1 <= int(typed) <= len(choices):
            return choices[int(typed) - 1]
        say(_("Type 1 to %(last)s.", last=len(choices)), fg="yellow")


def prompt(question: str, *, optional: bool = False) -> str:
    """Ask for a line of text, on stderr; it may be empty where it is optional.

    What was typed before is dropped: it answered another question, or none.
    """
    _drop_typed_ahead()
    given: dict[str, Any] = {"default": "", "show_default": False} if optional else {}
    with _ctrl_c_interrupts():
        return str(typer.prompt(wrap(question, "", err=True), err=True, **given))


def prompt_hidden(question: str) -> str:
    """Ask for a secret, on stderr; what is typed is not shown."""
    with _ctrl_c_interrupts():
        return str(typer.prompt(question, err=True, hide_input=True))  # drops what was typed ahead


def _drop_typed_ahead() -> None:
    """Drop what a terminal has received and nobody has read (not on Windows)."""
    with suppress(ImportError):
        import termios

        if sys.stdin.isatty():
            termios.tcflush(sys.stdin, termios.TCIFLUSH)


@contextmanager
def _ctrl_c_interrupts() -> Iterator[None]:
    """Let Ctrl-C end a question at once. Under ``asyncio.run`` the first one would only cancel the
    task, which cannot notice it before the line is typed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
