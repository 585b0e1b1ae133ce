"""A report's tables as one page: no outside resource, no script, and it prints well in black and white."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import IO, Any

from procomp_pay.cli.framework import console
from procomp_pay.cli.reports.cells import Cell, Id, Missing, Section, as_text, is_number, size

_CHART_WIDTH = 720
_CHART_HEIGHT = 150
#: Above it the bars, below it what went back and the labels.
_BASE = Decimal(110)
_BELOW = Decimal(22)
#: Labels under a chart, so that they do not run into one another.
_MOST_LABELS = 14


@dataclass(frozen=True, slots=True)
class Bar:
    """One day, week or month: what came, and in hatching what went back."""

    label: str
    came: Decimal
    back: Decimal


@dataclass(frozen=True, slots=True)
class Page:
    """What a page says.

    :param sheet: a closing sheet: landscape, with room for two signatures.
    :param charts: bars by currency, shown with the table of that title.
    """

    title: str
    subtitle: str
    lines: Sequence[str]
    sections: Sequence[Section]
    footer: str
    sheet: bool = False
    verdict: str = ""
    seal: str = ""
    definitions: Sequence[str] = ()
    charts: dict[str, dict[str, list[Bar]]] = field(default_factory=dict)


def write(stream: IO[bytes], page: Page) -> None:
    """Write a page, row by row."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("procomp_pay.cli.reports", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, finalize=_finalize)
    environment.filters["css"] = _css
    template = environment.get_template("report.html.j2")
    stream_of_text = template.generate(
        title=page.title,
        subtitle=page.subtitle,
        lines=page.lines,
        footer=page.footer,
        sheet=page.sheet,
        verdict=page.verdict,
        seal=page.seal,
        definitions=page.definitions,
        sections=[_section(each, page.charts.get(each.title, {})) for each in page.sections],
    )
    for part in stream_of_text:
        stream.write(part.encode())


def _finalize(value: Any) -> Any:
    """Control characters do no harm on a page either, but they hide what a name is."""
    return console.clean(value) if type(value) is str else value


def _css(value: str) -> Any:
    """A string of CSS: nothing in it ends it, or the style."""
    from markupsafe import Markup

    harmless = "".join(c if c.isalnum() or c in " .,:-" else f"\\{ord(c):06x}" for c in value)
    return Markup(f'"{harmless}"')  # noqa: S704 - letters, digits and escapes


def _section(section: Section, charts: dict[str, list[Bar]]) -> dict[str, Any]:
    numbers = [
        any(is_number(row[n]) for row in section.rows) for n in range(len(section.columns))
    ]  # fmt: skip
    ends = len(section.rows) - section.totals
    return {
        "title": section.title,
        "note": section.note,
        "columns": [
            {"head": column.head, "number": number, "bar": _percent_bar(section, n)}
            for n, (column, number) in enumerate(zip(section.columns, numbers, strict=True))
        ],
        "rows": [
            {"total": place >= ends, "cells": [_cell(section, row, n) for n in range(len(row))]}
            for place, row in enumerate(section.rows)
        ],
        "charts": [
            _chart(f"hatch-{number}", currency, bars)
            for number, (currency, bars) in enumerate(charts.items())
            if any(bar.came or bar.back for bar in bars)
        ],
    }


def _percent_bar(section: Section, n: int) -> bool:
    """Shares are drawn beside their number; amounts are in a chart of their own."""
    return section.columns[n].bar and section.columns[n].head == "Success"


def _cell(section: Section, row: Sequence[Cell], n: int) -> dict[str, Any]:
    cell = row[n]
    kind = "n" if is_number(cell) else "d" if isinstance(cell, date | datetime) else ""
    kind = "id" if isinstance(cell, Id) else kind
    bar: str | None = None
    if _percent_bar(section, n):
        share = size(cell)
        bar = "" if share is None else f"{share * Decimal('0.992'):.1f}"
    return {
        "text": as_text(cell),
        "kind": f"{kind} missing".strip() if isinstance(cell, Missing) else kind,
        "bar": bar,
    }


def _chart(key: str, currency: str, bars: list[Bar]) -> dict[str, Any]:
    largest = max(bar.came for bar in bars) or Decimal(1)
    most_back = max(bar.back for bar in bars)
    step = Decimal(_CHART_WIDTH) / len(bars)
    wide = min(step * Decimal("0.8"), Decimal(46))
    every = -(-len(bars) // _MOST_LABELS)
    scale = min((_BASE - 14) / largest, _BELOW / most_back if most_back else _BASE)
    drawn = []
    for number, bar in enumerate(bars):
        height = bar.came * scale
        left = number * step + (step - wide) / 2
        drawn.append(
            {
                "x": f"{left:.1f}",
                "y": f"{_BASE - height:.1f}",
                "width": f"{wide:.1f}",
                "height": f"{height:.1f}",
                "back_height": f"{bar.back * scale:.1f}",
                "middle": f"{left + wide / 2:.1f}",
                "label": bar.label if number % every == 0 else "",
                "title": f"{bar.label}: {as_text(bar.came)} came, {as_text(bar.back)} went back",
            }
        )
    back = ", hatched below the line what went back by refunds and lost disputes" if most_back else ""
    return {
        "key": key,
        "caption": f"Revenue in {currency}{back}",
        "top": as_text(max(bar.came for bar in bars)),
        "width": _CHART_WIDTH,
        "height": _CHART_HEIGHT,
        "base": int(_BASE),
        "bars": drawn,
    }
