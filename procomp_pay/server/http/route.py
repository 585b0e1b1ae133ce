"""A route in one record: what is served, to whom, how often, and how the OpenAPI document describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from aiohttp.typedefs import Handler
from pydantic import BaseModel

from procomp_pay.server.auth.tokens import Role

BASE = "/api/v1/payments"
JSON = "application/json"

#: Everybody with a valid token; the handler checks that the participant belongs to the caller.
ANYONE_KNOWN = frozenset(Role)
#: The desk: staff and admin.
DESK = frozenset({Role.STAFF, Role.ADMIN})
ADMINS = frozenset({Role.ADMIN})


class Budget(StrEnum):
    """The rate limits of a client: each request counts towards one of them."""

    READS = "reads"
    WRITES = "writes"
    #: Routes without a token, counted by the client's address.
    OPEN = "open"
    #: Invalid tokens and signatures, counted by the client's address.
    FAILURES = "failures"


@dataclass(frozen=True, slots=True)
class Link:
    """A link from a response to another route (OpenAPI's runtime expressions).

    :param to: the other route's ``name``.
    """

    to: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path.

    :param path: the whole path, in aiohttp's and OpenAPI's common form.
    :param name: the document's ``operationId``.
    :param roles: the roles that may call it; ``None`` needs no token.
    :param budget: the rate limit; ``None`` has none.
    :param response: the model of the 200, or ``None`` where it is not JSON.
    :param media: content type of the 200.
    :param other_media: further content types that a request may ask for.
    :param body: the model of the request's body.
    :param body_required: the body cannot be left out.
    :param query: the model of the query parameters.
    :param headers: names of request headers, and whether each is required.
    :param errors: statuses of errors beyond those that follow from the other fields.
    :param head: a GET that supports HEAD too; False for one that changes something.
    :param other_statuses: further statuses whose response has the shape of the 200.
    """

    method: str
    path: str
    handler: Handler
    name: str
    summary: str
    tag: str
    response: type[BaseModel] | None = None
    roles: frozenset[Role] | None = None
    budget: Budget | None = None
    media: str = JSON
    other_media: tuple[str, ...] = ()
    body: type[BaseModel] | None = None
    body_required: bool = True
    query: type[BaseModel] | None = None
    headers: Mapping[str, bool] = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    other_statuses: tuple[int, ...] = ()
    links: Mapping[str, Link] = field(default_factory=dict)
    head: bool = True

    @property
    def is_open(self) -> bool:
        """True where no token is needed."""
        return self.roles is None
