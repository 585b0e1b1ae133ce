"""Read small JSON bodies of the sandbox's own routes."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web


def refuse(message: str, status: int = 400) -> web.Response:
    """Return an error of a control route: `{"error": message}`."""
    return web.json_response({"error": message}, status=status)


async def json_body(request: web.Request) -> dict[str, Any]:
    """Return the body as a JSON object, an empty one for an empty body. Raises ValueError otherwise."""
    raw = await request.text()
    if not raw.strip():
        return {}
    try:
        document = json.loads(raw)
    except ValueError as error:
        raise ValueError(f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ValueError("the body must be a JSON object")  # noqa: TRY004 - callers catch one kind
    return document


async def json_or_form(request: web.Request) -> dict[str, Any]:
    """Return the fields of a JSON or form body. Raises ValueError for invalid JSON."""
    if request.content_type == "application/json":
        return await json_body(request)
    return {name: value for name, value in (await request.post()).items() if isinstance(value, str)}


def wants_json(request: web.Request) -> bool:
    """Return whether the caller asked for JSON rather than a page."""
    return "application/json" in request.headers.get("Accept", "")
