"""A report's tables in the terminal: bars where there are colours, fewer columns where it is narrow."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from decimal import Decimal
from itertools import chain
from typing import Literal

from rich.console import Console
from rich.table import Table

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.language import _
from procomp_pay.cli.reports.cells import Cell, Id, Missing, Section, as_text, is_number, size

#: From this width on, the optional columns are shown.
_WIDE = 120
#: The width for a pipe: wide enough that no line is broken.
_PIPE_WIDTH = 240
#: Length of the longest bar, in characters.
_BAR = 24
_NARROW_BAR = 12
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def show(title: str, subtitle: str, sections: Sequence[Section], *, most_rows: int | None = None) -> None:
    """Draw the tables that are not empty, by the pager if they are longer than the screen of a terminal.

    :param most_rows: draw only the newest rows of a longer table.
    """
    if not sys.stdout.isatty():
        _draw(Console(width=_PIPE_WIDTH, highlight=False, emoji=False), title, subtitle, sections, most_rows)
        return
    terminal = console.out()
    with terminal.capture() as drawn:
        _draw(terminal, title, subtitle, sections, most_rows)
    console.print_long(line.rstrip() for line in drawn.get().rstrip("\n").split("\n"))


def _draw(
    terminal: Console, title: str, subtitle: str, sections: Sequence[Section], most_rows: int | None
) -> None:
    terminal.print(f"[bold]{console.safe(title)}[/]  [dim]{console.safe(subtitle)}[/]")
    for section in sections:
        if section.is_empty and not section.note:
            continue
        terminal.print(f"\n[bold]{console.safe(section.title)}[/]")
        if not section.is_empty:
            _print_table(terminal, section, most_rows or len(section.rows))
        if section.note:
            terminal.print(f"[dim]{console.safe(section.note)}[/]")


def _print_table(terminal: Console, section: Section, most_rows: int) -> None:
    """Print a table, where it is narrow with broken heads, then without bars."""
    is_wide, bars = terminal.width >= _WIDE, console.has_colour()
    drawings = (
        _Drawing(section, wide=is_wide, bars=bars, whole_heads=True),
        _Drawing(section, wide=is_wide, bars=bars, whole_heads=False),
        _Drawing(section, wide=False, bars=False, whole_heads=False),
    )
    console.print_table(terminal, (each.table(most_rows) for each in drawings))  # drawn as needed


class _Drawing:
    """Draws one table.

    :param whole_heads: the heads of numbers are not broken into lines.
    """

    def __init__(self, section: Section, *, wide: bool, bars: bool, whole_heads: bool) -> None:
        self._section = section
        self._bars = bars
        self._width = _BAR if wide else _NARROW_BAR
        self._shown = [n for n, column in enumerate(section.columns) if wide or not column.spare]
        self._largest = _largest(section)
        self._heads = {n: section.columns[n].head for n in self._shown}
        self._right = {n for n in self._shown if any(is_number(row[n]) for row in section.rows)}
        self._whole = {n for n in self._shown if any(isinstance(row[n], Id) for row in section.rows)}
        self._whole |= self._right
        if not whole_heads:
            self._heads = {n: "\n".join(head.split()) for n, head in self._heads.items()}

    def table(self, most_rows: int) -> Table:
        section = self._section
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.show_header = any(section.columns[n].head for n in self._shown)
        for n in self._shown:
            justify: Literal["left", "right"] = "right" if n in self._right else "left"
            head = "\n".join(map(console.safe, self._heads[n].split("\n")))
            table.add_column(head, justify=justify, overflow="fold", no_wrap=n in self._whole)
            if self._bars and section.columns[n].bar:
                table.add_column("", no_wrap=True)
        ends = len(section.rows) - section.totals
        left_out = max(0, ends - most_rows)
        if left_out:
            table.add_row(f"[dim]{_('… %(n)s before', n=left_out)}[/]")
        for number, row in enumerate(section.rows[left_out:], start=left_out):
            total = number >= ends
            cells = chain.from_iterable(self._cells(row, n, total=total) for n in self._shown)
            table.add_row(*cells, style="bold" if total else "")
        return table

    def _cells(self, row: Sequence[Cell], n: int, *, total: bool) -> list[str]:
        cell = row[n]
        text = f"[dim]{as_text(cell)}[/]" if isinstance(cell, Missing) else console.safe(as_text(cell))
        if not (self._bars and self._section.columns[n].bar):
            return [text]
        length, of = size(cell), self._largest[_unit(self._section, row)]
        if total or length is None or of == 0:
            return [text, ""]
        return [text, f"[cyan]{_bar(length / of, self._width)}[/]"]


def _largest(section: Section) -> dict[str, Decimal]:
    """Return the value of a full bar by currency: 100 percent, or the largest number in that currency."""
    largest: dict[str, Decimal] = {}
    for number, row in enumerate(section.rows):
        unit = _unit(section, row)
        for n, column in enumerate(section.columns):
            length = size(row[n]) if column.bar else None
            if length is None or number >= len(section.rows) - section.totals:
                length = Decimal(0)
            whole = Decimal(100) if column.key == "Success" else length
            largest[unit] = max(largest.get(unit, Decimal(0)), whole)
    return largest


def _unit(section: Section, row: Sequence[Cell]) -> str:
    headings = [column.key for column in section.columns]
    return str(row[headings.index("Currency")]) if "Currency" in headings else ""


def _bar(part: Decimal, width: int) -> str:
    eighths = max(0, min(width * 8, int((part * width * 8).to_integral_value())))
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")
