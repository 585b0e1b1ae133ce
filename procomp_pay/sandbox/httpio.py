"""Read small JSON bodies of the sandbox's own routes."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web


def refused(message: str) -> web.HTTPBadRequest:
    """Return an error of a control route, to be raised: `{"error": message}`."""
    return web.HTTPBadRequest(text=json.dumps({"error": message}), content_type="application/json")


async def json_body(request: web.Request) -> dict[str, Any]:
    """Return the body as a JSON object, an empty one for an empty body. Raises HTTPBadRequest otherwise."""
    raw = await request.text()
    if not raw.strip():
        return {}
    try:
        document = json.loads(raw)
    except ValueError as error:
        raise refused(f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise refused("the body must be a JSON object")
    return document


async def json_or_form(request: web.Request) -> dict[str, Any]:
    """Return the fields of a JSON or form body. Raises HTTPBadRequest for invalid JSON."""
    if request.content_type == "application/json":
        return await json_body(request)
    return {name: value for name, value in (await request.post()).items() if isinstance(value, str)}


def wants_json(request: web.Request) -> bool:
    """Return whether the caller asked for JSON rather than a page."""
    return "application/json" in request.headers.get("Accept", "")
