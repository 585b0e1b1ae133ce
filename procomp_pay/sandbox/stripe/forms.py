"""Stripe's form encoding: `a[b][0]=x` and `a[]=x` become nested dicts and lists."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

from procomp_pay.sandbox.stripe.errors import StripeError

MAX_FIELDS = 1000
MAX_DEPTH = 6
_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)\Z")
_PART = re.compile(r"\[([^\[\]]*)\]")


def parse_form(raw: str) -> dict[str, Any]:
    """The nested parameters of a query string or form body.

    Numbered keys stay a dict here (`{"0": …}`); `schema.array` turns them into a list, since only the
    schema knows that a list is meant. Raises StripeError (400) for a name that cannot be read.
    """
    try:
        pairs = parse_qsl(raw, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except (ValueError, UnicodeDecodeError) as error:
        raise StripeError(f"Invalid request body: {error}", executed=False) from error
    root: dict[str, Any] = {}
    for name, value in pairs:
        _put(root, _path(name), value, name)
    return root


def _path(name: str) -> list[str]:
    found = _NAME.match(name)
    if found is None:
        raise StripeError(f"Invalid parameter name: {name}", param=name, executed=False)
    path = [found[1], *_PART.findall(found[2])]
    if len(path) > MAX_DEPTH:
        raise StripeError(f"Parameter nested too deeply: {name}", param=name, executed=False)
    return path


def _put(root: dict[str, Any], path: list[str], value: str, name: str) -> None:
    node = root
    for part in path[:-1]:
        inner = node.setdefault(part or str(len(node)), {})
        if not isinstance(inner, dict):
            raise StripeError(f"Invalid object: {name}", param=name, executed=False)
        node = inner
    last = path[-1] or str(len(node))
    if isinstance(node.get(last), dict):
        raise StripeError(f"Invalid object: {name}", param=name, executed=False)
    node[last] = value
