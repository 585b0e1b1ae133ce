"""Check every response of the tests' servers against the OpenAPI document."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import httpx
import jsonschema_rs

from procomp_pay.server.api.routes import document

DOCUMENT: dict[str, Any] = json.loads(document())


@functools.cache
def _templates() -> list[tuple[re.Pattern[str], str]]:
    paths = sorted(DOCUMENT["paths"], key=lambda path: path.count("{"))
    return [(re.compile(re.sub(r"{\w+}", "[^/]+", re.sub(r"\.", r"\\.", path))), path) for path in paths]


def operation(method: str, path: str) -> dict[str, Any] | None:
    """Return the document's operation for a request, if there is one."""
    for pattern, template in _templates():
        if pattern.fullmatch(path):
            documented = DOCUMENT["paths"][template].get(method.lower().replace("head", "get"))
            if documented:
                return dict(documented)
    return None


@functools.cache
def validator(schema: str) -> Any:
    """Return a validator for a schema of the document, given as JSON."""
    whole = json.loads(schema) | {"components": DOCUMENT["components"]}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


def check_schema(schema: dict[str, Any], value: Any) -> None:
    validator(json.dumps(schema)).validate(value)


#: What every answer carries, whatever it is.
ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Server": "procomp-pay",
}


async def check_response(answer: httpx.Response) -> None:
    """Check a response: headers, status, content type and body.

    :raises AssertionError: a header, the status or the content type is not as documented.
    :raises jsonschema_rs.ValidationError: the body does not match its schema.
    """
    await answer.aread()
    assert {name: answer.headers.get(name) for name in ALWAYS} == ALWAYS
    assert "no-store" in answer.headers["Cache-Control"]
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "Traceback" not in answer.text
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", answer.headers["X-Request-ID"])
    if answer.request.url.path.startswith(("/p/", "/r/")):
        return  # a page for people, which the document does not know
    if answer.status_code >= 400 and answer.content:
        body = answer.json()
        if "services" not in body:  # an unhealthy desk reports in its own shape
            check_schema({"$ref": "#/components/schemas/ErrorAnswer"}, body)
            assert body["status_code"] == answer.status_code
    documented = operation(answer.request.method, answer.request.url.raw_path.decode().partition("?")[0])
    if documented is None:
        assert answer.status_code in (204, 404, 405), "the document does not know the address"
        return
    if answer.request.method == "HEAD" and answer.status_code == 405:
        return  # the document tells of GET alone
    status = str(answer.status_code)
    assert status in documented["responses"], f"{status} is not in the document"
    response = documented["responses"][status]
    if "$ref" in response:
        response = DOCUMENT["components"]["responses"][status]
    for name, header in response.get("headers", {}).items():
        assert name in answer.headers or not header.get("required"), f"{name} is missing"
    media = answer.headers["Content-Type"].partition(";")[0]
    assert media in response["content"], f"{media} is not in the document"
    if media == "application/json" and answer.content:
        check_schema(response["content"][media]["schema"], answer.json())
