"""Lists with cursors and filters, and expansion of ids into objects.

Source: https://docs.stripe.com/api/pagination and https://docs.stripe.com/api/expanding_objects.
"""

from __future__ import annotations

from collections.abc import Callable

from procomp_pay.sandbox.stripe.core import Core
from procomp_pay.sandbox.stripe.errors import Json, invalid_param, missing_object

MAX_EXPAND_DEPTH = 4
_EXPANDABLE_TEXT = """
latest_charge balance_transaction failure_balance_transaction payment_intent payment_method charge
source refunds
"""
EXPANDABLE = frozenset(_EXPANDABLE_TEXT.split())
_PREFIXES = {
    "pi": "payment_intents",
    "pm": "payment_methods",
    "ch": "charges",
    "re": "refunds",
    "txn": "balance_transactions",
    "du": "disputes",
    "po": "payouts",
    "cs": "sessions",
}


def page(
    core: Core, table: str, params: Json, url: str, keep: Callable[[Json], bool] = lambda _row: True
) -> Json:
    """Return one page of the rows of `table` that `keep` accepts, newest first.

    Raises StripeError for a bad limit or a cursor that is not in the table.
    """
    limit = params.get("limit", 10)
    if not 1 <= limit <= 100:
        raise invalid_param("Invalid limit: must be between 1 and 100.", "limit")
    rows = [row for row in reversed(core.tables[table].values()) if keep(row) and _within(row, params)]
    after, before = params.get("starting_after"), params.get("ending_before")
    for name, cursor in (("starting_after", after), ("ending_before", before)):
        if cursor and cursor not in core.tables[table]:
            raise missing_object(table.rstrip("s"), cursor, name, status=400)
    position = {row_id: number for number, row_id in enumerate(core.tables[table])} if after or before else {}
    if after:
        rows = [row for row in rows if position[row["id"]] < position[after]]
    if before:
        rows = [row for row in rows if position[row["id"]] > position[before]]
        chosen = rows[-limit:]  # the page that ends just before the cursor
    else:
        chosen = rows[:limit]
    shown = [core.view(row) for row in chosen]
    return {"object": "list", "data": shown, "has_more": len(rows) > limit, "url": url}


def _within(row: Json, params: Json) -> bool:
    bounds: dict[str, int] = params.get("created", {})
    created = int(row["created"])
    above = created > bounds.get("gt", -1) and created >= bounds.get("gte", 0)
    return above and created < bounds.get("lt", 1 << 60) and created <= bounds.get("lte", 1 << 60)


def same(params: Json, *names: str) -> Callable[[Json], bool]:
    """Return a filter: each named parameter that was given must equal the row's field."""
    wanted = {name: params[name] for name in names if params.get(name) is not None}
    return lambda row: all(row.get(name) == value for name, value in wanted.items())


def expand(core: Core, shown: Json, paths: list[str]) -> Json:
    """Replace ids by objects along each path, in place. Raises StripeError for a path that has none."""
    for path in paths:
        parts = path.split(".")
        if len(parts) > MAX_EXPAND_DEPTH:
            message = f"You cannot expand more than {MAX_EXPAND_DEPTH} levels of a property: {path}"
            raise invalid_param(message, "expand")
        targets = [shown]
        if parts[0] == "data" and shown.get("object") == "list":
            targets, parts = shown["data"], parts[1:]
        for target in targets:
            _expand_one(core, target, parts, path)
    return shown


def _expand_one(core: Core, target: Json, parts: list[str], path: str) -> None:
    for name in parts:
        if name not in EXPANDABLE or name not in target:
            raise invalid_param(f"This property cannot be expanded ({path}).", "expand")
        value = target[name]
        if isinstance(value, str):
            table = _PREFIXES.get(value.partition("_")[0], "")
            row = core.tables.get(table, {}).get(value)
            if row is None:
                return  # an id that the sandbox only passes through
            value = target[name] = core.view(row)
        if not isinstance(value, dict):
            return
        target = value
