"""Make JSON responses, and the body of an error."""

from __future__ import annotations

from typing import Annotated, Any

from aiohttp import web
from pydantic import BaseModel, Field

from procomp_pay.domain.errors import ErrorCode
from procomp_pay.server.http.json_types import ResponseModel, example
from procomp_pay.storage.models import exact_json


class ErrorAnswer(ResponseModel):
    """An error. All errors have this shape, whatever their status."""

    model_config = example(
        {
            "detail": "Payment amount must match tournament entry fee",
            "status_code": 400,
            "code": "amount_mismatch",
        }
    )

    detail: Annotated[str, Field(min_length=1, max_length=500)]
    status_code: Annotated[int, Field(ge=400, le=599)]
    code: ErrorCode


def respond(
    model: type[BaseModel], body: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """Return a JSON response with exact numbers, checked against its model.

    :raises pydantic.ValidationError: the body is not what the OpenAPI document promises: a bug of ours.
    """
    return web.Response(
        text=checked_text(model, body), status=status, content_type="application/json", headers=headers
    )


def checked_text(model: type[BaseModel], body: dict[str, Any]) -> str:
    """Return the text of a response, for one that is always the same.

    :raises pydantic.ValidationError: as :func:`respond`.
    """
    return exact_json.dumps(model.model_validate(body).model_dump(exclude_unset=True))
