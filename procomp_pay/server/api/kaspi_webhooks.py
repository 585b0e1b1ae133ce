"""``/webhooks/kaspi``: a gateway's signed callback (POST), and Kaspi's own bill protocol (GET).

The bill protocol has no signature, only the caller's address, so an address must be in
``KASPI_CALLBACK_ALLOW``. Responses are HTTP 200 with a ``result``, with one exception: a ``pay`` that could
not be stored gets a 503, after which Kaspi repeats it; any ``result`` would be final, with the money taken.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree as ET

from aiohttp import web

from procomp_pay.config import Network
from procomp_pay.domain.almaty import ALMATY
from procomp_pay.domain.errors import DatabaseUnavailable, Forbidden
from procomp_pay.providers.kaspi.gateway_signature import SIGNATURE_HEADERS, TIME_HEADERS
from procomp_pay.server.api import requests
from procomp_pay.server.api.kaspi_requests import BillQuery, BillShown, GatewayCallback
from procomp_pay.server.api.responses import Received
from procomp_pay.server.http.json_response import respond
from procomp_pay.server.http.proxy import client
from procomp_pay.server.http.route import BASE, Route
from procomp_pay.server.http.state import STATE, ServerState
from procomp_pay.services.webhooks.kaspi_bill import (
    BillAnswer,
    BillAsk,
    check,
    keep_unreadable,
    pay,
    read_sum,
)
from procomp_pay.services.webhooks.kaspi_bill_account import Result
from procomp_pay.services.webhooks.kaspi_gateway import receive_callback

log = logging.getLogger(__name__)

#: Seconds until we respond in any case: Kaspi closes the connection after 15.
TIMEOUT_S = 12.0
_TXN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LONGEST = 200
_REPEAT = "The payment could not be stored; repeat the request"


def routes() -> list[Route]:
    """Return the routes of Kaspi and of gateways."""
    path = f"{BASE}/webhooks/kaspi"
    return [
        Route(
            "POST", path, gateway_callback, "receiveGatewayCallback",
            "Receive a callback of a gateway to Kaspi", "webhooks",
            Received, body=GatewayCallback, headers={SIGNATURE_HEADERS[0]: True}, errors=(403, 429, 503),
        ),
        # no HEAD: it would pay
        Route(
            "GET", path, bill, "payBill", "Kaspi's bill protocol: check and pay", "webhooks",
            BillShown, query=BillQuery, other_media=("application/xml",), errors=(403, 503), head=False,
        ),
    ]  # fmt: skip


def is_allowed(address: str | None, networks: list[Network]) -> bool:
    """Return whether an address is in one of the networks; an IPv4-mapped IPv6 address counts as the IPv4
    address.
    """
    try:
        parsed = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks if network.version == parsed.version)


def _check_address(request: web.Request, networks: list[Network]) -> None:
    """
    :raises Forbidden: the client is in none of the networks.
    """
    address = client(request).address
    if not is_allowed(address, networks):
        log.warning("a call to /webhooks/kaspi from %s, which is not in KASPI_CALLBACK_ALLOW", address)
        raise Forbidden("This address may not call this webhook")


async def gateway_callback(request: web.Request) -> web.Response:
    """Verify and store a callback, then respond 200; it is processed afterwards."""
    state = request.app[STATE]
    networks = state.settings.callback_networks
    if networks:  # a configured list applies to gateways too
        _check_address(request, networks)
    body = await requests.read_body(request, requests.WEBHOOK_BYTES)
    secret = state.settings.kaspi_api_secret
    await receive_callback(
        state.ctx,
        body,
        _all(request, SIGNATURE_HEADERS),
        _all(request, TIME_HEADERS),
        secret.get_secret_value() if secret else None,
    )
    state.background.wake_inbox()
    return respond(Received, {"received": True})


def _all(request: web.Request, names: tuple[str, ...]) -> list[str]:
    return [value for name in names for value in request.headers.getall(name, [])]


async def bill(request: web.Request) -> web.Response:
    """Respond to ``command=check|pay`` of the bill protocol."""
    state = request.app[STATE]
    _check_address(request, state.settings.callback_networks)
    command, ask = _read(request)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            result = await _execute(state, command, ask, request.query_string)
    except (DatabaseUnavailable, TimeoutError) as error:
        log.error("a %s of the bill protocol failed: %s", command, error)  # noqa: TRY400
        if command == "pay":
            raise DatabaseUnavailable(_REPEAT, retry_after=5) from error
        result = BillAnswer(ask.txn_id if ask else "", Result.OTHER, "Try again in a minute")
    return _bill_response(request, result, state.settings.kaspi_organization_bin)


async def _execute(state: ServerState, command: str, ask: BillAsk | None, query: str) -> BillAnswer:
    if ask is None:
        if command == "pay":
            await keep_unreadable(state.ctx, query)
        return BillAnswer("", Result.OTHER, "The request cannot be understood")
    if command == "check":
        return await check(state.ctx, ask)
    paid = await pay(state.ctx, ask)
    state.background.wake_watch()  # poll the participant's other open payments now
    return paid


def _read(request: web.Request) -> tuple[str, BillAsk | None]:
    """Return the command and its arguments; ``None`` for arguments that cannot be used."""
    query = request.query
    command = query.get("command", "") if len(query.getall("command", [])) == 1 else ""
    texts = {name: query.getall(name, []) for name in ("txn_id", "account", "sum", "txn_date")}
    if command not in ("check", "pay") or any(len(values) > 1 for values in texts.values()):
        return command, None
    txn_id, account, sum_text, at = (values[0] if values else "" for values in texts.values())
    if not _TXN_ID.fullmatch(txn_id):
        return command, None
    account, sum_text = (_printable(text) for text in (account, sum_text))
    return command, BillAsk(txn_id, account, sum_text, read_sum(sum_text), _time(at))


def _printable(text: str) -> str:
    """Return text that every database can store; an invalid account stays invalid."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:_LONGEST]).strip()


def _time(text: str) -> datetime | None:
    """Parse ``YYYYMMDDHHMMSS`` of Kaspi's clock, which shows Almaty's time."""
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=ALMATY).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _bill_response(request: web.Request, result: BillAnswer, organization: str | None) -> web.Response:
    """Return JSON, or XML for ``format=xml`` or where the caller accepts XML only."""
    document: dict[str, Any] = {"txn_id": result.txn_id}
    if result.prv_txn is not None:
        document["prv_txn"] = document["prv_txn_id"] = result.prv_txn
    document["result"] = result.result.value
    if result.money is not None:
        document["sum"] = result.money.amount
    if organization:
        document["bin"] = organization
    document["comment"] = result.comment
    if not _wants_xml(request):
        return respond(BillShown, document)
    root = ET.Element("response")
    for name, value in document.items():
        ET.SubElement(root, name).text = _for_xml(str(value))
    text = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return web.Response(body=text, content_type="application/xml", charset="utf-8")


def _wants_xml(request: web.Request) -> bool:
    wanted = request.query.get("format", "").lower()
    if wanted in ("xml", "json"):
        return wanted == "xml"
    accept = request.headers.get("Accept", "").lower()
    return "xml" in accept and "json" not in accept and "html" not in accept


def _for_xml(text: str) -> str:
    return "".join(c for c in text if c.isprintable())
