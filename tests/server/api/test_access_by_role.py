"""Access to every route in every role, for own, others' and unknown objects, on both databases.

The test lists the routes of the running application: a new one without a row here fails.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from procomp_pay.server.http.route import BASE
from tests.support.http_requests import bearer, token
from tests.support.server import Eventually, Serve, Served, paid

#: The callers. ``u1`` owns p1 and p2, ``u2`` owns p3.
WHO: dict[str, dict[str, str]] = {
    "nobody": {},
    "bad token": {"Authorization": f"Bearer {token(secret='another-secret-that-is-long-enough-000')}"},
    "user": bearer("u1"),
    "staff": bearer("u9", "staff"),
    "admin": bearer("u9", "admin"),
}
TARGETS = ("own", "other", "unknown")


@dataclass(frozen=True)
class Row:
    """The statuses of a route for each of ``WHO``, in order: own, another's and unknown."""

    answers: tuple[tuple[int, int, int], ...]
    body: Callable[[str], dict[str, Any]] | None = None
    query: str = ""


def _all(status: int) -> tuple[int, int, int]:
    return (status, status, status)


#: Without a token, and with an invalid one.
SHUT_OUT = (_all(401), _all(401))
OPEN = tuple(_all(200) for _ in WHO)

#: 409 is reached past authorization: an open payment has nothing to pay back.
TABLE: dict[tuple[str, str], Row] = {
    ("POST", "/initiate"): Row(
        (*SHUT_OUT, (200, 403, 404), (200, 200, 404), (200, 200, 404)),
        body=lambda participant: {"participant_id": participant, "method": "apple_pay"},
    ),
    ("GET", "/status/{participant_id}"): Row((*SHUT_OUT, (200, 403, 404), (200, 200, 404), (200, 200, 404))),
    ("GET", "/participant/{participant_id}/history"): Row(
        (*SHUT_OUT, (200, 403, 404), (200, 200, 404), (200, 200, 404))
    ),
    ("GET", "/admin/payments"): Row((*SHUT_OUT, _all(403), _all(200), _all(200))),
    ("POST", "/admin/payments/{payment_id}/refund"): Row(
        (*SHUT_OUT, _all(403), _all(403), (409, 409, 404)), body=lambda _: {"reason": "injured"}
    ),
    ("POST", "/admin/payments/{payment_id}/cancel"): Row(
        (*SHUT_OUT, _all(403), _all(403), (200, 200, 404)), body=lambda _: {}
    ),
    ("POST", "/admin/payments/{payment_id}/verify-kaspi"): Row(
        (*SHUT_OUT, _all(403), (400, 400, 404), (400, 400, 404)),
        body=lambda _: {"transaction_id": "17262148385"},
    ),
    # the address or the signature is the permission: a token changes nothing
    ("GET", "/{payment_id}/qr.png"): Row(tuple(_all(404) for _ in WHO), query="?s=x"),
    ("GET", "/{payment_id}/qr.svg"): Row(tuple(_all(404) for _ in WHO), query="?s=x"),
    ("POST", "/webhooks/stripe"): Row(tuple(_all(400) for _ in WHO), body=lambda _: {"id": "evt_1"}),
    ("POST", "/webhooks/kaspi"): Row(tuple(_all(400) for _ in WHO), body=lambda _: {"id": "1"}),
    ("GET", "/webhooks/kaspi"): Row(
        tuple(_all(403) for _ in WHO), query="?command=check&txn_id=1&account=p1&sum=1"
    ),
    ("GET", "/health"): Row(OPEN),
    ("GET", "/metrics"): Row(OPEN),
    ("GET", "/health/live"): Row(OPEN),
    ("GET", "/thanks"): Row(OPEN),
    ("GET", "/openapi.json"): Row(OPEN),
    # pages for people: the signed code is the permission, and a payment's id is no code
    ("GET", "/p/{code}"): Row(tuple(_all(404) for _ in WHO)),
    ("GET", "/p/{code}/events"): Row(tuple(_all(404) for _ in WHO)),
    ("GET", "/p/{code}/pay"): Row(tuple(_all(404) for _ in WHO)),
    ("GET", "/p/{code}/receipt.pdf"): Row(tuple(_all(404) for _ in WHO)),
    ("GET", "/r/{code}"): Row(tuple(_all(404) for _ in WHO)),
    ("POST", "/r/{code}"): Row(tuple(_all(404) for _ in WHO)),
}


def _routed(served: Served) -> set[tuple[str, str]]:
    return {
        (route.method, route.resource.canonical.removeprefix(BASE))
        for route in served.app.router.routes()
        if route.resource is not None
    }


async def _ask(
    served: Served, route: tuple[str, str], headers: dict[str, str], names: tuple[str, str], method: str
) -> int:
    participant, payment = names
    row = TABLE[route]
    path = route[1].replace("{participant_id}", participant).replace("{payment_id}", payment)
    is_page = path.startswith(("/p/", "/r/"))
    path = path.replace("{code}", payment) if is_page else f"{BASE}{path}"
    body = {} if row.body is None else {"json": row.body(participant)}
    answer = await served.api.request(method, f"{path}{row.query}", headers=headers, **body)
    return answer.status_code


async def _targets(served: Served) -> dict[str, tuple[str, str]]:
    """Return the participant and the open payment of each target."""
    made = {caller: (await served.initiate(caller))["payment_id"] for caller in ("p1", "p3")}
    return {"own": ("p1", made["p1"]), "other": ("p3", made["p3"]), "unknown": ("nobody", "nothing")}


async def test_every_route_has_a_row(served: Served) -> None:
    routed = {(method, path) for method, path in _routed(served) if method != "HEAD"}
    assert routed == set(TABLE), "a route without a row, or a row without a route"


@pytest.mark.parametrize("caller", WHO)
async def test_the_response_to_each_caller(served: Served, caller: str) -> None:
    """Call in the table's order; cancelling is the last change, once for each target."""
    number = list(WHO).index(caller)
    targets = await _targets(served)
    statuses: dict[tuple[str, str], tuple[int, ...]] = {}
    for route, row in TABLE.items():
        assert len(row.answers) == len(WHO), route
        statuses[route] = tuple(
            [await _ask(served, route, WHO[caller], targets[target], route[0]) for target in TARGETS]
        )
    assert statuses == {route: row.answers[number] for route, row in TABLE.items()}


async def test_head_needs_the_same_access_as_get(serve: Serve) -> None:
    served = await serve(rate_limit_failures="off")  # there are more of them than in a minute of a client
    targets = await _targets(served)
    for method, path in _routed(served):
        if method == "HEAD":
            for caller, headers in WHO.items():
                for name in TARGETS:
                    route = ("GET", path)
                    expected = TABLE[route].answers[list(WHO).index(caller)][TARGETS.index(name)]
                    assert await _ask(served, route, headers, targets[name], "HEAD") == expected, (
                        route,
                        caller,
                    )


async def test_refused_callers_change_nothing(served: Served, eventually: Eventually) -> None:
    """Check that payments are unchanged after every refused call."""
    done = await paid(served, eventually, "p1")
    open_one = (await served.initiate("p3"))["payment_id"]
    unheard: list[tuple[str, Awaitable[Any]]] = []
    for caller in ("nobody", "bad token", "user", "staff"):
        for payment in (done, open_one):
            for act, body in (("refund", {"reason": "x"}), ("cancel", {})):
                path = f"{BASE}/admin/payments/{payment}/{act}"
                unheard.append((caller, served.api.post(path, json=body, headers=WHO[caller])))
    for caller, asked in unheard:
        assert (await asked).status_code in (401, 403), caller
    assert (await served.status("p1"))["status"] == "COMPLETED"
    assert (await served.status("p3"))["status"] == "PENDING"
    assert served.sandbox.stripe.core.tables["refunds"] == {}
