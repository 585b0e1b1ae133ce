"""The document describes exactly what is served; ``contract`` checks the responses of all tests."""

from __future__ import annotations

import re
from typing import Any

import jsonschema_rs
import pytest
from pydantic import BaseModel, ValidationError

from procomp_pay.server.api import responses
from procomp_pay.server.api.openapi import examples
from procomp_pay.server.api.routes import document, table
from procomp_pay.server.http import json_response
from procomp_pay.server.http.route import BASE
from procomp_pay.storage.models import exact_json
from tests.support.http_requests import bearer
from tests.support.openapi_contract import DOCUMENT, check_schema, operation
from tests.support.server import Served

SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Run on SQLite alone: the document does not use the database."""
    return sqlite_url


def _operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method.upper(), path, documented)
        for path, methods in DOCUMENT["paths"].items()
        for method, documented in methods.items()
    ]


async def test_the_document_lists_exactly_the_served_routes(served: Served) -> None:
    routed = {
        (route.method, route.resource.canonical)
        for route in served.app.router.routes()
        if route.resource is not None and route.method != "HEAD"
        if not route.resource.canonical.startswith(("/p/", "/r/"))  # pages for people
    }
    assert routed == {(method, path) for method, path, _ in _operations()}
    answer = await served.api.get(f"{BASE}/openapi.json")
    assert (answer.status_code, answer.json()) == (200, DOCUMENT)


def test_the_document_is_valid_openapi_3_1() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    ids = [documented["operationId"] for _, _, documented in _operations()]
    assert len(set(ids)) == len(ids)
    for name, schema in SCHEMAS.items():
        jsonschema_rs.meta.validate(schema | {"$schema": "https://json-schema.org/draft/2020-12/schema"})
        assert schema.get("description") or "enum" in schema, f"{name} is not explained"
    for reference in re.findall(r'"\$ref":"#/([^"]+)"', document()):
        node: Any = DOCUMENT
        for part in reference.split("/"):
            node = node[part]


def test_links_lead_to_routes() -> None:
    known = {documented["operationId"]: documented for _, _, documented in _operations()}
    links = {
        (documented["operationId"], name): link
        for _, _, documented in _operations()
        for name, link in documented["responses"]["200"].get("links", {}).items()
    }
    wanted = {("initiatePayment", name) for name in ("status", "history", "qr")}
    assert wanted | {("listPayments", name) for name in ("refund", "cancel")} <= set(links)
    for (_, name), link in links.items():
        names = {parameter["name"] for parameter in known[link["operationId"]]["parameters"]}
        assert set(link["parameters"]) <= names, name


def test_amounts_are_numbers_and_exact() -> None:
    assert '"amount":50.00' in document(), "the example keeps its decimals"
    for name, schema in SCHEMAS.items():
        for field, documented in schema.get("properties", {}).items():
            if "amount" in field:
                types = {part.get("type") for part in documented.get("anyOf", [documented])}
                assert types <= {"number", "null"}, (name, field)


def test_security_of_each_operation() -> None:
    for row in table():
        documented = operation(row.method, row.path)
        assert documented is not None
        assert documented["security"] == ([] if row.is_open else [{"bearer": []}])
        assert row.is_open or {"401", "403", "429"} <= set(documented["responses"])
        assert row.summary
        assert documented["description"], "a handler without a word on what it does"


MODELS = [model for row in table() for model in (row.body, row.response) if model]
#: Somebody else's documents, and nothing at all.
UNTOLD = {"StripeEvent", "GatewayCallback", "Document", "Nothing"}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_examples_fit_their_models(model: type[BaseModel]) -> None:
    assert bool(examples(model)) is (model.__name__ not in UNTOLD)
    for shown in examples(model).values():
        plain = exact_json.loads(exact_json.dumps(shown["value"]))
        model.model_validate(plain)
        check_schema({"$ref": f"#/components/schemas/{model.__name__}"}, plain)


async def test_a_response_that_does_not_match_its_model_is_a_bug(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    await served.initiate()
    for wrong in ({"secret": "x"}, {"amount": 50}, {"status": "LOST"}):
        with pytest.raises(ValidationError):
            json_response.respond(responses.PaymentSummary, await served.status() | wrong)
    real = responses.PaymentSummary.model_json_schema()["required"]
    assert list(await served.status()) == real
    assert (await served.api.get(f"{BASE}/status/p1", headers=bearer())).status_code == 200
