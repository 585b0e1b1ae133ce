"""What schemathesis cannot know: who is in the database, and what rules of money say no to a good form.

Loaded by schemathesis itself, in its own process.
"""

from __future__ import annotations

import re
from typing import Any

import schemathesis

#: Owners: u1, u1, u2.
PARTICIPANTS = ("p1", "p2", "p3")
#: Signatures by payment, as far as answers told them.
PICTURES: dict[str, str] = {}
#: What a request that fits the document is refused with all the same; anything else would be a gap in it.
RULES = re.compile(
    r"Payment amount must match tournament entry fee"
    r"|amount and currency come together; .*"
    r"|.* is not a currency we take"
    r"|.* has more than two decimals"
    r"|.*: must be an http or https address"
    r"|.*: must be 1 to 128 printable characters"
    r"|The tournament has no fee in .*|.* takes .*"
    r"|A refund needs a reason of 1 to 500 printable characters"
    r"|The cursor is not valid"
    r"|.*must be a time with its zone.*"
    r"|.*signature.*|.*Signature.*|No secret for callbacks is configured"
    r"|Payment .* is not Kaspi's.*|A reason is 1 to 500 printable characters"
    r"|.*[Nn]umber.*|An override needs a reason.*|.*operation.*"
)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Good requests are about people who exist, so that they get further than a 404."""
    if not _is_good(case):
        return
    somebody = PARTICIPANTS[len(str(case.path_parameters or case.body)) % len(PARTICIPANTS)]
    if "participant_id" in (case.path_parameters or {}):
        case.path_parameters["participant_id"] = somebody
    if isinstance(case.body, dict) and "participant_id" in case.body:
        case.body["participant_id"] = somebody
    if "/qr." in case.path and PICTURES:
        case.path_parameters["payment_id"], case.query["s"] = next(iter(PICTURES.items()))


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Signatures of pictures are in an answer, where no link of OpenAPI can point into the middle."""
    if response.status_code == 200 and case.path.endswith("/initiate") and "qr_image_url" in response.json():
        said = response.json()
        PICTURES[said["payment_id"]] = said["qr_image_url"].partition("?s=")[2]


@schemathesis.check
def refused_by_a_rule_alone(ctx: Any, response: Any, case: Any) -> None:
    """A 400 to a request that fits the document is a rule's, never the form's."""
    if _is_good(case) and response.status_code == 400:
        detail = response.json()["detail"]
        assert RULES.fullmatch(detail), f"refused, though it fits the document: {detail}"


def _is_good(case: Any) -> bool:
    generation = getattr(case.meta, "generation", None)
    return generation is not None and generation.mode.is_positive
