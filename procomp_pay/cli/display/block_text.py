"""Large letters made of blocks: an amount, and PAID, readable across the desk and without colour."""

from __future__ import annotations

_GLYPHS = {
    "0": "### # # # # # # ###",
    "1": " #  ##   #   #  ###",
    "2": "###   # ### #   ###",
    "3": "###   # ###   # ###",
    "4": "# # # # ###   #   #",
    "5": "### #   ###   # ###",
    "6": "### #   ### # # ###",
    "7": "###   #   #   #   #",
    "8": "### # # ### # # ###",
    "9": "### # # ###   # ###",
    ".": "                 # ",
    "A": "### # # ### # # # #",
    "D": "##  # # # # # # ## ",
    "I": "###  #   #   #  ###",
    "P": "### # # ### #   #  ",
}
_ROWS = 5
_HALVES = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}


def _pixels(text: str) -> list[list[bool]]:
    """Return five rows of pixels. A glyph is three wide with a gap after it; any other letter is a gap."""
    rows: list[list[bool]] = [[] for _ in range(_ROWS)]
    for letter in text:
        glyph = _GLYPHS.get(letter)
        for number, row in enumerate(rows):
            part = "  " if glyph is None else glyph[number * 4 : number * 4 + 3] + " "
            row.extend(pixel == "#" for pixel in part.ljust(2 if glyph is None else 4))
    return rows


def small(text: str) -> list[str]:
    """Return text in three lines, two pixels per character."""
    rows = [*_pixels(text), []]
    rows[-1] = [False] * len(rows[0])
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return ["".join(_HALVES[pair] for pair in zip(*both, strict=True)).rstrip() for both in pairs]


def large(text: str, ink: str = "█") -> list[str]:
    """Return text in five lines, two characters per pixel."""
    return ["".join(ink * 2 if pixel else "  " for pixel in row).rstrip() for row in _pixels(text)]
