"""A period's report as one long table: a row for each figure, for a pivot or a script."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

HEAD = ("section", "item", "name", "currency", "figure", "value")

Row = tuple[str, str, str, str, str, Any]


def rows(document: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """The figures of ``Report.full()``, under the same names. What is not known is empty."""
    yield HEAD
    for name in ("made_at", "timezone", "since", "until"):
        yield ("report", "", "", "", name, document[name])
    for flow in document["money"]:
        yield from _flow("money", "", "", flow)
    yield from _plain("attempts", "", "", document["attempts"])
    for method in document["methods"]:
        yield from _plain("methods", method["method"], "", _without(method, "method", "money"))
        for flow in method["money"]:
            yield from _flow("methods", method["method"], "", flow)
    for day in document["days"]:
        yield from _flow("days", day["day"], "", _without(day, "day"))
    for each in document["tournaments"]:
        key, name = each["tournament_id"], each["name"]
        yield from _plain("tournaments", key, name, _without(each, "tournament_id", "name", "money"))
        for flow in each["money"]:
            yield from _flow("tournaments", key, name, flow)
    for reason in document["failure_reasons"]:
        yield ("failure_reasons", reason["status"], reason["reason"] or "", "", "count", reason["count"])
    yield ("failure_reasons", "", "", "", "not_named", document["failure_reasons_not_named"])
    yield from _plain("participants", "", "", document["participants"])
    for kind in document["open_discrepancies"]["kinds"]:
        whose = "" if kind["of_our_payments"] else "of no payment of ours"
        yield ("open_discrepancies", kind["kind"], whose, "", "count", kind["count"])


def _flow(section: str, item: str, name: str, flow: dict[str, Any]) -> Iterator[Row]:
    for figure, value in _flat(_without(flow, "currency")):
        yield section, item, name, flow["currency"], figure, value


def _plain(section: str, item: str, name: str, figures: dict[str, Any]) -> Iterator[Row]:
    for figure, value in _flat(figures):
        yield section, item, name, "", figure, value


def _flat(figures: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from ((f"{name}_{inner}", each) for inner, each in _flat(value))
        else:
            yield name, value


def _without(document: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in names}
