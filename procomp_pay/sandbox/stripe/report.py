"""Stripe's report "balance change from activity", itemized, of what happened in the sandbox.

Source of the columns: https://docs.stripe.com/reports/report-types/balance
"""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from procomp_pay.sandbox.stripe.core import Core
from procomp_pay.sandbox.stripe.currencies import ZERO_DECIMAL
from procomp_pay.sandbox.stripe.errors import Json

COLUMNS = (
    "balance_transaction_id",
    "created_utc",
    "created",
    "available_on_utc",
    "available_on",
    "currency",
    "gross",
    "fee",
    "net",
    "reporting_category",
    "source_id",
    "description",
    "customer_facing_amount",
    "customer_facing_currency",
    "charge_id",
    "payment_intent_id",
)
_FORM = "%Y-%m-%d %H:%M:%S"
_CHOICES = {
    "encoding": {"utf-8": "utf-8", "utf-8-sig": "utf-8-sig", "utf-16": "utf-16"},
    "delimiter": {"comma": ",", "semicolon": ";", "tab": "\t"},
    "decimal": {"dot": ".", "comma": ","},
    "order": {"time": "time", "newest": "newest", "columns": "columns"},
}


def report_routes(core: Core) -> list[web.RouteDef]:
    """GET /_sandbox/stripe/balance.csv with `since` and `until` (Unix seconds), `encoding`, `delimiter`,
    `decimal` and `order`."""

    async def serve(request: web.Request) -> web.StreamResponse:
        core.run_due()
        try:
            odd = {name: _chosen(request, name) for name in _CHOICES}
            since, until = float(request.query.get("since", 0)), float(request.query.get("until", "inf"))
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        entries = core.tables["balance_transactions"].values()
        lines = [_line(core, row, odd["decimal"]) for row in entries if since <= row["created"] < until]
        body = _csv(lines, odd)
        headers = {"Content-Disposition": 'attachment; filename="sandbox-balance.csv"'}
        return web.Response(body=body, content_type="text/csv", headers=headers)

    return [web.get("/_sandbox/stripe/balance.csv", serve)]


def _chosen(request: web.Request, name: str) -> str:
    allowed = _CHOICES[name]
    value = request.query.get(name, next(iter(allowed)))
    if value not in allowed:
        raise ValueError(f"{name} is one of {', '.join(allowed)}")
    return allowed[value]


def _csv(lines: list[dict[str, str]], odd: dict[str, str]) -> bytes:
    columns = list(reversed(COLUMNS)) if odd["order"] == "columns" else list(COLUMNS)
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, delimiter=odd["delimiter"])
    writer.writeheader()
    writer.writerows(reversed(lines) if odd["order"] == "newest" else lines)
    return out.getvalue().encode(odd["encoding"])


def _line(core: Core, row: Json, mark: str) -> dict[str, str]:
    charge, intent = _charge_and_intent(core, str(row["source"]))
    created, available = (datetime.fromtimestamp(row[key], UTC) for key in ("created", "available_on"))
    return {
        "balance_transaction_id": row["id"],
        "created_utc": f"{created:{_FORM}}",
        "created": f"{created:{_FORM}}",
        "available_on_utc": f"{available:{_FORM}}",
        "available_on": f"{available:{_FORM}}",
        "currency": row["currency"],
        **{
            name: _major(row[key], row["currency"], mark)
            for name, key in (("gross", "amount"), ("fee", "fee"), ("net", "net"))
        },
        "reporting_category": row["reporting_category"],
        "source_id": row["source"] or "",
        "description": row["description"] or "",
        **_customer_facing(row, mark),
        "charge_id": charge or "",
        "payment_intent_id": intent or "",
    }


def _customer_facing(row: Json, mark: str) -> dict[str, str]:
    """Return what the customer was charged or got back; the sandbox settles in the same currency."""
    if row["reporting_category"] not in ("charge", "refund"):
        return {"customer_facing_amount": "", "customer_facing_currency": ""}
    amount = _major(row["amount"], row["currency"], mark)
    return {"customer_facing_amount": amount, "customer_facing_currency": row["currency"]}


def _charge_and_intent(core: Core, source: str) -> tuple[str | None, str | None]:
    """Return the charge and the payment intent behind a balance transaction."""
    charges: dict[str, Any] = core.tables["charges"]
    for table in ("refunds", "disputes"):
        if source in core.tables[table]:
            source = core.tables[table][source]["charge"]
    return (source, charges[source]["payment_intent"]) if source in charges else (None, None)


def _major(units: int, currency: str, mark: str) -> str:
    if currency in ZERO_DECIMAL:
        return str(units)
    sign = "-" if units < 0 else ""
    return f"{sign}{abs(units) // 100}{mark}{abs(units) % 100:02d}"
