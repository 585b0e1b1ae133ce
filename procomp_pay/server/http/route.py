"""A route, told once: what the application serves, who may, how often, and what the document says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from aiohttp.typedefs import Handler
from pydantic import BaseModel

from procomp_pay.server.auth.tokens import Role

BASE = "/api/v1/payments"
JSON = "application/json"

#: Whoever has a valid token; the handler looks whose participant it is.
ANYONE_KNOWN = frozenset(Role)
#: The desk: staff and admin.
DESK = frozenset({Role.STAFF, Role.ADMIN})
ADMINS = frozenset({Role.ADMIN})


class Budget(StrEnum):
    """Which of a client's budgets a request spends."""

    READS = "reads"
    WRITES = "writes"
    #: Addresses that need no token; by the client's address.
    OPEN = "open"
    #: Tokens and signatures that do not hold; by the client's address.
    FAILURES = "failures"


@dataclass(frozen=True, slots=True)
class Link:
    """Where an answer leads (OpenAPI's runtime expressions).

    :param to: the other route's ``name``.
    """

    to: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one address.

    :param path: the whole path, in aiohttp's and OpenAPI's common form.
    :param name: the document's ``operationId``.
    :param roles: who may; ``None`` asks for no token.
    :param budget: ``None`` is never throttled.
    :param answer: the model of the 200, or ``None`` where it is no JSON.
    :param media: content type of the 200.
    :param other_media: what it may be besides, where the request asks for it.
    :param body: the model of the request's body. :param body_needed: it cannot be left out.
    :param query: the model of the parameters.
    :param headers: names of request headers, with whether they are needed.
    :param refusals: the statuses of errors that this route has beside those of its form.
    :param head: a GET that answers HEAD too; not one that changes something.
    :param also: further statuses that answer in the shape of the 200.
    """

    method: str
    path: str
    handler: Handler
    name: str
    summary: str
    tag: str
    answer: type[BaseModel] | None = None
    roles: frozenset[Role] | None = None
    budget: Budget | None = None
    media: str = JSON
    other_media: tuple[str, ...] = ()
    body: type[BaseModel] | None = None
    body_needed: bool = True
    query: type[BaseModel] | None = None
    headers: Mapping[str, bool] = field(default_factory=dict)
    refusals: tuple[int, ...] = ()
    also: tuple[int, ...] = ()
    links: Mapping[str, Link] = field(default_factory=dict)
    head: bool = True

    @property
    def is_open(self) -> bool:
        """No token is asked for."""
        return self.roles is None
