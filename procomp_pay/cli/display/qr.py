"""QR codes in a terminal and in a file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from procomp_pay.cli.framework import console
from procomp_pay.domain.errors import Refused

if TYPE_CHECKING:
    from rich.text import Text

#: Light modules around the code, as ISO/IEC 18004 asks for.
QUIET = 4
#: Exact black and white of the 256 colours, which no terminal theme changes.
INK = "color(16) on color(231)"
_FILES = (".png", ".svg")
#: Pixels (or SVG units) for one module in a file.
_SCALE = 10
_LIGHT_BACKGROUNDS = {"7", "15"}


@dataclass(frozen=True, slots=True)
class Picture:
    """A code as dark (True) and light modules, the quiet zone included."""

    modules: tuple[tuple[bool, ...], ...]

    @property
    def width(self) -> int:
        """In characters of a terminal."""
        return len(self.modules[0])

    @property
    def height(self) -> int:
        """In lines of a terminal: two modules to a line."""
        return (len(self.modules) + 1) // 2


def picture(payload: str) -> Picture:
    """The smallest code that holds the payload: correction level L, or better where that costs no size."""
    import segno

    code = segno.make(payload, error="l", micro=False)
    return Picture(tuple(tuple(bool(m) for m in row) for row in code.matrix_iter(scale=1, border=QUIET)))


def lines(shown: Picture, *, ink_is_dark: bool) -> list[str]:
    """Lines of half blocks.

    :param ink_is_dark: the characters' colour is the dark one. Where there are no colours and the
        terminal writes light on dark, the light modules are the ones to draw: a phone wants a dark
        code with a light margin.
    """
    halves = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}
    rows = list(shown.modules)
    if len(rows) % 2:
        rows.append((False,) * shown.width)  # the last half line is margin too
    return [
        "".join(halves[(top is ink_is_dark, low is ink_is_dark)] for top, low in zip(*pair, strict=True))
        for pair in zip(rows[::2], rows[1::2], strict=True)
    ]


def drawn(shown: Picture, *, coloured: bool) -> Text:
    """The code for rich: black on white by force, or with characters alone where colours are unwanted."""
    from rich.text import Text

    text = "\n".join(lines(shown, ink_is_dark=coloured or _background_is_light()))
    return Text(text, style=INK if coloured else "", no_wrap=True)


def _background_is_light() -> bool:
    """Many terminals say their colours in ``COLORFGBG`` (``0;15``); most of the silent ones are dark."""
    return os.environ.get("COLORFGBG", "").rpartition(";")[2] in _LIGHT_BACKGROUNDS


def can_draw() -> bool:
    """Whether the terminal has block characters."""
    return console.is_utf8() and os.environ.get("TERM") != "dumb"


def checked_file(path: Path | None) -> Path | None:
    """A file that a picture can be written to; asked before anything is started.

    :raises Refused: neither PNG nor SVG, or no such directory.
    """
    if path is None:
        return None
    if path.suffix.lower() not in _FILES:
        raise Refused(f"{path.name} is neither .png nor .svg", next_step="--qr-file qr.png")
    if not path.parent.is_dir() or path.is_dir():
        raise Refused(f"{path} cannot be written: there is no such directory", next_step="--qr-file qr.png")
    return path


def save(payload: str, path: Path) -> None:
    """Write the code as a picture, dark on white with its quiet zone.

    :raises Refused: the file cannot be written.
    """
    import segno

    kind = path.suffix.lower().lstrip(".")
    try:
        segno.make(payload, error="l", micro=False).save(
            str(path), kind=kind, scale=_SCALE, border=QUIET, light="white"
        )
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror}") from error
