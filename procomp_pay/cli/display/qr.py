"""QR codes in a terminal and in a file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from procomp_pay.cli.framework import console
from procomp_pay.domain.errors import Refused
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from rich.text import Text

#: Width of the light margin, in modules, as ISO/IEC 18004 requires.
QUIET = 4
#: Black and white of the 256-colour palette, which terminal themes leave alone.
INK = "color(16) on color(231)"
_FILES = (".png", ".svg")
#: Pixels, or SVG units, per module in a file.
_SCALE = 10
_LIGHT_BACKGROUNDS = {"7", "15"}


@dataclass(frozen=True, slots=True)
class Picture:
    """A QR code as dark (True) and light modules, including the margin."""

    modules: tuple[tuple[bool, ...], ...]

    @property
    def width(self) -> int:
        """The width in a terminal, in columns."""
        return len(self.modules[0])

    @property
    def height(self) -> int:
        """The height in a terminal, in lines of two modules each."""
        return (len(self.modules) + 1) // 2


def picture(payload: str) -> Picture:
    """Return the smallest code for a payload: error correction L, or better where that costs no size."""
    import segno

    code = segno.make(payload, error="l", micro=False)
    return Picture(tuple(tuple(bool(m) for m in row) for row in code.matrix_iter(scale=1, border=QUIET)))


def lines(shown: Picture, *, ink_is_dark: bool) -> list[str]:
    """Return the code as lines of half blocks.

    :param ink_is_dark: the text colour is the dark one, so draw the dark modules. On a terminal that writes
        light on dark without colours, draw the light ones: a phone needs a dark code with a light margin.
    """
    halves = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}
    rows = list(shown.modules)
    if len(rows) % 2:
        rows.append((False,) * shown.width)  # fill the last half line with margin
    return [
        "".join(halves[(top is ink_is_dark, low is ink_is_dark)] for top, low in zip(*pair, strict=True))
        for pair in zip(rows[::2], rows[1::2], strict=True)
    ]


def drawn(shown: Picture, *, coloured: bool) -> Text:
    """Return the code for rich: black on white, or by characters alone where there are no colours."""
    from rich.text import Text

    text = "\n".join(lines(shown, ink_is_dark=coloured or _background_is_light()))
    return Text(text, style=INK if coloured else "", no_wrap=True)


def _background_is_light() -> bool:
    """Read the background from ``COLORFGBG`` (``0;15``); terminals that do not set it are mostly dark."""
    return os.environ.get("COLORFGBG", "").rpartition(";")[2] in _LIGHT_BACKGROUNDS


def can_draw() -> bool:
    """Return whether the terminal has block characters."""
    return console.is_utf8() and os.environ.get("TERM") != "dumb"


def check_file(path: Path | None) -> None:
    """Check that a QR can be written to a file, before a payment is created.

    :raises Refused: it is neither PNG nor SVG, or its directory does not exist.
    """
    if path is None:
        return
    if path.suffix.lower() not in _FILES:
        raise Refused(N_("%(name)s is neither .png nor .svg", name=path.name), next_step="--qr-file qr.png")
    if not path.parent.is_dir() or path.is_dir():
        raise Refused(
            N_("%(path)s cannot be written: there is no such directory", path=path),
            next_step=N_("give a file in an existing directory: --qr-file qr.png"),
        )


def save(payload: str, path: Path) -> None:
    """Write the code to a file, dark on white with its margin.

    :raises Refused: the file cannot be written.
    """
    import segno

    kind = path.suffix.lower().lstrip(".")
    try:
        segno.make(payload, error="l", micro=False).save(
            str(path), kind=kind, scale=_SCALE, border=QUIET, light="white"
        )
    except OSError as error:
        raise Refused(N_("%(path)s cannot be written: %(why)s", path=path, why=error.strerror)) from error
