"""Large letters of blocks: an amount and PAID that are read across the desk, also without colour."""

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
    """Five rows; a glyph is three wide with a gap behind it. What has no glyph is a gap of two."""
    rows: list[list[bool]] = [[] for _ in range(_ROWS)]
    for letter in text:
        glyph = _GLYPHS.get(letter)
        for number, row in enumerate(rows):
            part = "  " if glyph is None else glyph[number * 4 : number * 4 + 3] + " "
            row.extend(pixel == "#" for pixel in part.ljust(2 if glyph is None else 4))
    return rows


def small(text: str) -> list[str]:
    """Three lines, two pixels to a character."""
    rows = [*_pixels(text), []]
    rows[-1] = [False] * len(rows[0])
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return ["".join(_HALVES[pair] for pair in zip(*both, strict=True)).rstrip() for both in pairs]


def large(text: str, ink: str = "█") -> list[str]:
    """Five lines, two characters to a pixel."""
    return ["".join(ink * 2 if pixel else "  " for pixel in row).rstrip() for row in _pixels(text)]
