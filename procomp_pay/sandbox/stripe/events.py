"""Events and webhook endpoints, as the API reads and keeps them.

Source: https://docs.stripe.com/api/events and https://docs.stripe.com/api/webhook_endpoints.
"""

from __future__ import annotations

import secrets
from fnmatch import fnmatchcase

from procomp_pay.sandbox.stripe import lists, records
from procomp_pay.sandbox.stripe.core import Call, Core
from procomp_pay.sandbox.stripe.errors import Json, invalid_param
from procomp_pay.sandbox.stripe.schema import LIST, Reader, array, boolean, metadata, text, url

LISTING: dict[str, Reader] = {
    **LIST,
    "type": text(255),
    "types": array(text(255), 20),
    "delivery_success": boolean,
}
CREATE_ENDPOINT: dict[str, Reader] = {
    "url": url,
    "enabled_events": array(text(255), 500),
    "description": text(5000),
    "metadata": metadata,
    "api_version": text(50),
}
SANDBOX_ENDPOINT = "we_sandbox"  # the one that the options name; its id never changes


def list_all(core: Core, call: Call) -> Json:
    """GET /v1/events, filtered by `type` (may end in `.*`) or `types`, and by delivery."""
    params = call.params
    if params.get("type") and params.get("types"):
        raise invalid_param("You may only specify one of these parameters: type, types.", "types")
    wanted = params.get("types") or ([params["type"]] if params.get("type") else ["*"])

    def keep(row: Json) -> bool:
        if not any(fnmatchcase(row["type"], pattern) for pattern in wanted):
            return False
        asked = params.get("delivery_success")
        return asked is None or asked == _delivered(core, row["id"])

    return lists.page(core, "events", params, "/v1/events", keep)


def _delivered(core: Core, event_id: str) -> bool:
    ids = core.tables["private"].get(event_id, {}).get("deliveries", [])
    states = [core.tables["deliveries"][item]["state"] for item in ids if item in core.tables["deliveries"]]
    return all(state == "delivered" for state in states)


def create_endpoint(core: Core, call: Call) -> Json:
    """POST /v1/webhook_endpoints; its answer alone shows the secret."""
    row = core.put("webhook_endpoints", records.webhook_endpoint(core, call.params))
    secret = new_secret()
    core.private(row["id"])["secrets"] = [secret]
    return {**core.view(row), "secret": secret}


def set_sandbox_endpoint(core: Core, address: str | None, secret: str | None) -> None:
    """Set the endpoint of the sandbox's options; its secret is created on first use."""
    known = core.private(SANDBOX_ENDPOINT)
    if secret is not None and known.get("secrets", [None])[0] != secret:
        known["secrets"] = [secret]
    known.setdefault("secrets", [new_secret()])
    if address is not None:
        row = core.tables["webhook_endpoints"].get(SANDBOX_ENDPOINT)
        if row is None:
            made = records.webhook_endpoint(core, {"url": address, "enabled_events": ["*"]})
            row = core.put("webhook_endpoints", {**made, "id": SANDBOX_ENDPOINT})
        row["url"] = address
        core.changed()


def rotate(core: Core, endpoint_id: str, *, keep_old: bool) -> str:
    """Create a new signing secret; with `keep_old` deliveries are signed with the old one too."""
    known = core.private(endpoint_id)
    secret = new_secret()
    known["secrets"] = [secret, known["secrets"][0]] if keep_old else [secret]
    return secret


def new_secret() -> str:
    """Return a signing secret in Stripe's format."""
    return f"whsec_{secrets.token_hex(16)}"
