"""A report's tables as an HTML page without external resources or scripts, printable in black and white."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import IO, TYPE_CHECKING, Any

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.language import _, language
from procomp_pay.cli.reports.cells import Cell, Id, Missing, Section, as_text, is_number, size

if TYPE_CHECKING:
    from jinja2 import Template

_CHART_WIDTH = 720
_CHART_HEIGHT = 150
#: Room for the numbers of the scale, left of the bars, and the least height between two of them.
_AXIS = 64
_TICK = 18
#: The base line: bars above it, refunds and labels below it.
_BASE = Decimal(110)
_BELOW = Decimal(22)
#: Most labels under a chart without overlapping.
_MOST_LABELS = 14


@dataclass(frozen=True, slots=True)
class Bar:
    """One day or month of a chart: revenue, and refunds as a hatched bar."""

    label: str
    revenue: Decimal
    refunds: Decimal


@dataclass(frozen=True, slots=True)
class Page:
    """The contents of a page.

    :param sheet: a closing sheet: landscape, with room for two signatures.
    :param charts: bars by currency, shown with the table of that title.
    """

    title: str
    subtitle: str
    lines: Sequence[str]
    sections: Sequence[Section]
    footer: str
    sheet: bool = False
    conclusion: str = ""
    seal: str = ""
    definitions: Sequence[str] = ()
    charts: dict[str, dict[str, list[Bar]]] = field(default_factory=dict)


@cache
def _template() -> Template:
    """Return the template, which is compiled once."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("procomp_pay.cli.reports", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, finalize=_finalize)
    environment.filters["css"] = _css
    return environment.get_template("report.html.j2")


def write(stream: IO[bytes], page: Page) -> None:
    """Write a page, row by row."""
    stream_of_text = _template().generate(
        text=_,
        language=language(),
        title=page.title,
        subtitle=page.subtitle,
        lines=page.lines,
        footer=page.footer,
        sheet=page.sheet,
        conclusion=page.conclusion,
        seal=page.seal,
        definitions=page.definitions,
        sections=[_section(section, page.charts.get(section.title, {})) for section in page.sections],
    )
    for part in stream_of_text:
        stream.write(part.encode())


def _finalize(value: Any) -> Any:
    """Make control characters visible: on a page they could hide what a name is."""
    return console.clean(value) if type(value) is str else value


def _css(value: str) -> Any:
    """Return a CSS string that nothing in it can end."""
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
            {"total": index >= ends, "cells": [_cell(section, row, n) for n in range(len(row))]}
            for index, row in enumerate(section.rows)
        ],
        "charts": [
            _chart(f"hatch-{number}", currency, bars)
            for number, (currency, bars) in enumerate(charts.items())
            if any(bar.revenue or bar.refunds for bar in bars)
        ],
    }


def _percent_bar(section: Section, n: int) -> bool:
    """Return whether a column has bars: percentages do, amounts have a chart of their own."""
    return section.columns[n].bar and section.columns[n].key == "Success"


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


def _ticks(scale: Decimal, most: Decimal, most_refunds: Decimal) -> list[dict[str, str]]:
    """Return round amounts on a scale, above the base line for revenue and below it for refunds.

    :param scale: height of one unit of money.
    """
    least = _TICK / scale
    power = Decimal(10) ** least.adjusted()
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least)
    numbers = range(-int(most_refunds / step), int(most / step) + 1)
    amounts = [int(step) * n if step >= 1 else step * n for n in numbers]
    return [{"text": as_text(amount), "y": f"{_BASE - amount * scale:.1f}"} for amount in amounts]


def _chart(key: str, currency: str, bars: list[Bar]) -> dict[str, Any]:
    largest = max(bar.revenue for bar in bars) or Decimal(1)
    most_refunds = max(bar.refunds for bar in bars)
    step = Decimal(_CHART_WIDTH - _AXIS) / len(bars)
    wide = min(step * Decimal("0.8"), Decimal(46))
    every = -(-len(bars) // _MOST_LABELS)
    scale = min((_BASE - 14) / largest, _BELOW / most_refunds if most_refunds else _BASE)
    drawn = []
    for number, bar in enumerate(bars):
        height = bar.revenue * scale
        left = _AXIS + number * step + (step - wide) / 2
        drawn.append(
            {
                "x": f"{left:.1f}",
                "y": f"{_BASE - height:.1f}",
                "width": f"{wide:.1f}",
                "height": f"{height:.1f}",
                "back_height": f"{bar.refunds * scale:.1f}",
                "middle": f"{left + wide / 2:.1f}",
                "label": bar.label if number % every == 0 else "",
                "amount": as_text(bar.revenue) if bar.revenue and every == 1 else "",
                "amount_y": f"{_BASE - height - 3:.1f}",
                "title": _(
                    "%(day)s: %(paid)s paid, %(back)s refunded or lost",
                    day=bar.label,
                    paid=as_text(bar.revenue),
                    back=as_text(bar.refunds),
                ),
            }
        )
    hatching = "; " + _("hatched: refunds and lost disputes") if most_refunds else ""
    return {
        "key": key,
        "caption": _("Revenue in %(currency)s", currency=currency) + hatching,
        "top": as_text(max(bar.revenue for bar in bars)) if every > 1 else "",  # else on the bars
        "axis": _AXIS,
        "ticks": _ticks(scale, max(bar.revenue for bar in bars), most_refunds),
        "width": _CHART_WIDTH,
        "height": _CHART_HEIGHT,
        "base": int(_BASE),
        "bars": drawn,
    }
