"""Readers of parameters: each takes the text that came in and its name, and returns the typed value.

A reader raises `StripeError` with Stripe's code (`parameter_unknown`, `parameter_missing`, …).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from procomp_pay.sandbox.stripe.currencies import CURRENCIES
from procomp_pay.sandbox.stripe.errors import StripeError, invalid_param

Reader = Callable[[Any, str], Any]
_URL = re.compile(r"(?!(?:javascript|data|vbscript):)[a-z][a-z0-9+.-]*://\S+\Z", re.IGNORECASE)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+\Z")


def text(limit: int = 5000) -> Reader:
    """Return a reader of a string of at most `limit` characters; an empty one ("unset") becomes None."""

    def read(value: Any, name: str) -> str | None:
        given = _plain(value, name)
        if len(given) > limit:
            message = f"Invalid string: {name} is {len(given)} characters long; the limit is {limit}."
            raise invalid_param(message, name)
        return given or None

    return read


def integer(value: Any, name: str) -> int:
    """Read a whole number; `parameter_invalid_integer` for anything else."""
    given = _plain(value, name)
    if not re.fullmatch(r"-?\d{1,15}", given):
        raise invalid_param(f"Invalid integer: {given}", name, "parameter_invalid_integer")
    return int(given)


def boolean(value: Any, name: str) -> bool:
    """Read `true` or `false`."""
    given = _plain(value, name).lower()
    if given not in ("true", "false"):
        raise invalid_param(f"Invalid boolean: {given}", name)
    return given == "true"


def currency(value: Any, name: str) -> str:
    """Read a three-letter code that Stripe charges in, in lower case."""
    given = _plain(value, name).lower()
    if given not in CURRENCIES:
        message = f"Invalid currency: {given}. Stripe currently supports: {', '.join(sorted(CURRENCIES))}"
        raise invalid_param(message, name)
    return given


def url(value: Any, name: str) -> str:
    """Read an address with an explicit scheme; schemes that run code are refused."""
    given = _plain(value, name)
    if not _URL.match(given):
        message = "Invalid URL: An explicit scheme (such as https) must be provided."
        raise invalid_param(message, name, "url_invalid")
    return given


def email(value: Any, name: str) -> str | None:
    """Read an e-mail address; empty unsets it."""
    given = _plain(value, name)
    if given and not _EMAIL.match(given):
        raise invalid_param(f"Invalid email address: {given}", name, "email_invalid")
    return given or None


def one_of(*allowed: str) -> Reader:
    """Return a reader of one of the named strings."""

    def read(value: Any, name: str) -> str:
        given = _plain(value, name)
        if given not in allowed:
            raise invalid_param(f"Invalid {name}: must be one of {', '.join(allowed)}", name)
        return given

    return read


def metadata(value: Any, name: str) -> dict[str, str]:
    """Read at most 50 keys of 40 characters with values of 500; an empty value deletes its key later on.

    An empty string in place of the whole map unsets every key: returned as `{"": ""}`.
    """
    if value == "":
        return {"": ""}
    if not isinstance(value, dict):
        raise invalid_param("Invalid hash: metadata must be a set of key-value pairs.", name)
    if len(value) > 50:
        raise invalid_param("Metadata can have at most 50 keys.", name)
    for key, item in value.items():
        where = f"{name}[{key}]"
        if len(key) > 40:
            raise invalid_param("Metadata keys can be up to 40 characters.", where)
        if len(_plain(item, where)) > 500:
            raise invalid_param("Metadata values can be up to 500 characters.", where)
    return dict(value)


def array(item: Reader, limit: int = 100) -> Reader:
    """Return a reader of a list, each element read by `item`."""

    def read(value: Any, name: str) -> list[Any]:
        if value == "":
            return []
        if not isinstance(value, dict) or not all(key.isdecimal() for key in value):
            raise invalid_param("Invalid array", name)
        if len(value) > limit:
            raise invalid_param(f"Array {name} exceeded maximum {limit} allowed elements.", name)
        return [item(value[key], f"{name}[{key}]") for key in sorted(value, key=int)]

    return read


def table(fields: Mapping[str, Reader], required: tuple[str, ...] = ()) -> Reader:
    """Return a reader of a nested object with these fields and no others."""

    def read(value: Any, name: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise invalid_param("Invalid object", name)
        return read_params(value, fields, required, within=name)

    return read


def when(value: Any, name: str) -> dict[str, int]:
    """Read a `created` filter: an exact second, or any of gt, gte, lt, lte (Unix seconds)."""
    if isinstance(value, dict):
        bounds = read_params(value, dict.fromkeys(("gt", "gte", "lt", "lte"), integer), (), within=name)
        return {key: int(item) for key, item in bounds.items()}
    exact = integer(value, name)
    return {"gte": exact, "lte": exact}


def read_params(
    raw: Mapping[str, Any], fields: Mapping[str, Reader], required: tuple[str, ...] = (), *, within: str = ""
) -> dict[str, Any]:
    """Read every parameter, refusing unknown names and the absence of required ones."""
    for name in raw:
        if name not in fields:
            full = _full(within, name)
            raise invalid_param(f"Received unknown parameter: {full}", full, "parameter_unknown")
    for name in required:
        if raw.get(name, "") == "":
            full = _full(within, name)
            raise invalid_param(f"Missing required param: {full}.", full, "parameter_missing")
    return {name: fields[name](value, _full(within, name)) for name, value in raw.items()}


def _full(within: str, name: str) -> str:
    return f"{within}[{name}]" if within else name


def _plain(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise StripeError("Invalid string", param=name, executed=False)
    return value


LIST = {"limit": integer, "starting_after": text(255), "ending_before": text(255), "created": when}
