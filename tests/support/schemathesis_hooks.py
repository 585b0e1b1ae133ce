"""Hooks of schemathesis: which participants exist, and which business rules refuse well-formed requests.

Loaded by schemathesis in its own process.
"""

from __future__ import annotations

import re
from typing import Any

import schemathesis

#: Their owners: u1, u1, u2.
PARTICIPANTS = ("p1", "p2", "p3")
#: Signatures of QR images by payment, taken from responses.
QR_SIGNATURES: dict[str, str] = {}
#: Errors of business rules, with which requests are refused that match the document. Any other is a gap in
#: it.
RULES = re.compile(
    r"Payment amount must match tournament entry fee"
    r"|amount and currency must be given together; .*"
    r"|.* is not a currency we take"
    r"|.* has more than two decimals"
    r"|.*: must be an http or https address"
    r"|.*: must be 1 to 128 printable characters"
    r"|The tournament has no fee in .*|.* takes .*"
    r"|A refund needs a reason of 1 to 500 printable characters"
    r"|The cursor is not valid"
    r"|.*must be a time with its zone.*"
    r"|.*signature.*|.*Signature.*|No secret for callbacks is configured"
    r"|Payment .* is not a Kaspi payment; .*|A reason is 1 to 500 printable characters"
    r"|.*[Nn]umber.*|An override needs a reason.*|.*operation.*"
)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Let valid requests name existing participants, so that they get further than a 404."""
    if not _is_valid(case):
        return
    participant = PARTICIPANTS[len(str(case.path_parameters or case.body)) % len(PARTICIPANTS)]
    if "participant_id" in (case.path_parameters or {}):
        case.path_parameters["participant_id"] = participant
    if isinstance(case.body, dict) and "participant_id" in case.body:
        case.body["participant_id"] = participant
    if "/qr." in case.path and QR_SIGNATURES:
        case.path_parameters["payment_id"], case.query["s"] = next(iter(QR_SIGNATURES.items()))


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Keep the signatures of QR images: OpenAPI links cannot extract them from a URL."""
    if response.status_code == 200 and case.path.endswith("/initiate") and "qr_image_url" in response.json():
        body = response.json()
        QR_SIGNATURES[body["payment_id"]] = body["qr_image_url"].partition("?s=")[2]


@schemathesis.check
def refused_by_a_business_rule(ctx: Any, response: Any, case: Any) -> None:
    """Check that a 400 to a request that matches the document comes from a business rule."""
    if _is_valid(case) and response.status_code == 400:
        detail = response.json()["detail"]
        assert RULES.fullmatch(detail), f"refused although it matches the document: {detail}"


def _is_valid(case: Any) -> bool:
    generation = getattr(case.meta, "generation", None)
    return generation is not None and generation.mode.is_positive
