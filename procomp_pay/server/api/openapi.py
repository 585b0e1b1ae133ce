"""Make the OpenAPI 3.1 document from the routes and models that are served."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any, get_args

from pydantic import BaseModel, RootModel
from pydantic.json_schema import models_json_schema

from procomp_pay.domain.errors import ErrorCode
from procomp_pay.domain.identifiers import LONGEST_ID
from procomp_pay.server.http import json_response
from procomp_pay.server.http.route import JSON, Route

_SCHEMAS = "#/components/schemas/"
_ABOUT = (
    "Entry fees of tournaments by Kaspi QR, Apple Pay and Google Pay. Amounts are exact decimal numbers: "
    "read them as decimals, never as binary floats. Every error is "
    '`{"detail": "...", "status_code": 400, "code": "..."}` with that HTTP status, '
    "every response has an `X-Request-ID`."
)
#: The errors by status: what they mean, and an example.
_ERRORS: dict[int, tuple[str, str, ErrorCode]] = {
    400: (
        "Invalid request, or a business rule forbids it.",
        "Payment amount must match tournament entry fee",
        ErrorCode.AMOUNT_MISMATCH,
    ),
    401: ("No bearer token, or an invalid one.", "A bearer token is required", ErrorCode.UNAUTHORIZED),
    403: (
        "Authenticated but not allowed.",
        "This participant belongs to another user",
        ErrorCode.FORBIDDEN,
    ),
    404: ("Not found.", "There is no participant 'participant_123'", ErrorCode.PARTICIPANT_NOT_FOUND),
    406: (
        "`Accept` does not admit the response's content type.",
        "The response has another content type than this request accepts",
        ErrorCode.NOT_ACCEPTABLE,
    ),
    409: (
        "The request conflicts with the current state.",
        "Аида С. has paid already",
        ErrorCode.ALREADY_PAID,
    ),
    413: ("The body is too large.", "The body is too large", ErrorCode.BODY_TOO_LARGE),
    414: ("The address is too long.", "The address is too long", ErrorCode.URI_TOO_LONG),
    415: (
        "The body is not JSON in UTF-8, or is compressed.",
        "The body must be application/json in UTF-8, not compressed",
        ErrorCode.UNSUPPORTED_MEDIA_TYPE,
    ),
    429: (
        "Too many requests; nothing was done.",
        "Too many requests; nothing was done, try again later",
        ErrorCode.TOO_MANY_REQUESTS,
    ),
    431: (
        "The headers are too large or too many.",
        "The request's headers are too large or too many",
        ErrorCode.HEADERS_TOO_LARGE,
    ),
    500: (
        "Internal error.",
        "Something went wrong on our side. Request id: 0f3c9a",
        ErrorCode.INTERNAL_ERROR,
    ),
    503: (
        "A provider or the database does not respond; nothing is lost, try again.",
        "Stripe cannot be reached",
        ErrorCode.PROVIDER_UNAVAILABLE,
    ),
}
_TEXT = {"type": "string"}
_RETRY = {"Retry-After": {"description": "Seconds to wait.", "required": True, "schema": {"type": "integer"}}}
_HEADERS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": {"required": True, "schema": {"const": "Bearer"}}},
    429: _RETRY,
    503: _RETRY,
}
_REQUEST_ID = {
    "X-Request-ID": {
        "description": "The id that the request brought, else a new one.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    }
}
_REQUEST_HEADERS: dict[str, dict[str, Any]] = {
    "Idempotency-Key": {
        "description": "A repeated key with the same body gives the same result; with another body, a 409.",
        "schema": {"type": "string", "pattern": "^[ -~]+$", "minLength": 1, "maxLength": 255},
    },
    "Stripe-Signature": {"description": "Stripe's signature over the raw body.", "schema": _TEXT},
    "X-Webhook-Signature": {
        "description": "HMAC-SHA256 of the raw body in hex, with or without the prefix `sha256=`.",
        "schema": _TEXT,
    },
}
_IN_PATH = re.compile(r"{(\w+)}")


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the whole document; write it with ``exact_json``, which keeps its numbers exact."""
    routes = list(routes)
    models = {model for route in routes for model in (route.response, route.body) if model is not None}
    models.add(json_response.ErrorAnswer)
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema(
        [(model, "validation") for model in ordered], ref_template=_SCHEMAS + "{model}"
    )
    for schema in schemas["$defs"].values():
        for field in schema.get("properties", {}).values():
            # a field with a default may be left out, but generated clients would require it
            field.pop("default", None)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "procomp-pay", "version": version("procomp-pay"), "description": _ABOUT},
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in dict.fromkeys(route.tag for route in routes)],
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "responses": {str(status): _error(status) for status in _ERRORS},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.tag],
        "security": [] if route.is_open else [{"bearer": []}],
    }
    doc = (route.handler.__doc__ or "").strip()
    if doc:
        operation["description"] = doc
    parameters = _parameters(route)
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = {"required": route.body_required, "content": _content(route.body)}
    operation["responses"] = _responses(route)
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    ids = {"type": "string", "minLength": 1, "maxLength": LONGEST_ID}
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": ids, "example": f"{name[:-3]}_123"}
        for name in _IN_PATH.findall(route.path)
    ]
    if route.query is not None:
        parameters += _query(route.query)
    for name, required in route.headers.items():
        parameters.append({"name": name, "in": "header", "required": required} | _REQUEST_HEADERS[name])
    return parameters


def _query(model: type[BaseModel]) -> list[dict[str, Any]]:
    """Return a model's fields as query parameters; they can be left out, but are never ``null``."""
    model_schema = model.model_json_schema()
    parameters = []
    for name, schema in model_schema["properties"].items():
        single = next((part for part in schema.get("anyOf", []) if part.get("type") != "null"), schema)
        parameter_schema = {
            key: value for key, value in (schema | single).items() if key not in ("anyOf", "title")
        }
        if parameter_schema.get("default", 0) is None:
            del parameter_schema["default"]
        required = name in model_schema.get("required", ())
        parameters.append({"name": name, "in": "query", "required": required, "schema": parameter_schema})
    return parameters


def _responses(route: Route) -> dict[str, Any]:
    good: dict[str, Any] = {"description": route.summary, "headers": dict(_REQUEST_ID)}
    if route.response is not None:
        good["content"] = _content(route.response)
    else:
        schema = {} if route.media.startswith("image/png") else {"schema": _TEXT}
        good["content"] = {route.media: schema}
    for media in route.other_media:
        good["content"] = good["content"] | {media: {"schema": _TEXT}}
    again = {
        str(status): good | {"headers": good["headers"] | _HEADERS.get(status, {})}
        for status in route.other_statuses
    }
    if route.links:
        good = good | {
            "links": {
                name: {"operationId": link.to, "parameters": dict(link.parameters)}
                for name, link in route.links.items()
            }
        }
    refused = {str(status): {"$ref": f"#/components/responses/{status}"} for status in error_statuses(route)}
    return {"200": good} | dict(sorted((refused | again).items()))


def error_statuses(route: Route) -> list[int]:
    """Return the statuses of the errors that a route may respond with."""
    statuses = {400, 406, 414, 431, 500, *route.errors}
    if not route.is_open:
        statuses |= {401, 403, 429}
    if route.budget is not None:
        statuses.add(429)
    if route.body is not None:
        statuses |= {413, 415}
    if "{" in route.path:
        statuses.add(404)
    return sorted(statuses - set(route.other_statuses))


def _error(status: int) -> dict[str, Any]:
    meaning, detail, code = _ERRORS[status]
    example = {"detail": detail, "status_code": status, "code": code.value}
    schema = {"$ref": _SCHEMAS + json_response.ErrorAnswer.__name__}
    return {
        "description": meaning,
        "headers": _REQUEST_ID | _HEADERS.get(status, {}),
        "content": {JSON: {"schema": schema, "example": example}},
    }


def _content(model: type[BaseModel]) -> dict[str, Any]:
    content = {"schema": {"$ref": _SCHEMAS + model.__name__}, "examples": examples(model)}
    return {JSON: {name: value for name, value in content.items() if value}}


def examples(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's examples by name; for a union, those of its members."""
    parts = get_args(model.model_fields["root"].annotation) if issubclass(model, RootModel) else (model,)
    named: dict[str, Any] = {}
    for part in parts:
        if not (isinstance(part, type) and issubclass(part, BaseModel)):
            continue
        extra = part.model_config.get("json_schema_extra")
        values: Any = extra.get("examples", []) if isinstance(extra, dict) else []
        named |= {f"{part.__name__}{n or ''}": {"value": value} for n, value in enumerate(values)}
    return named
