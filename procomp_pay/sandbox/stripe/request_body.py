"""Read form bodies (``a[b][0]=x`` becomes nested), and answer a repeated idempotency key as the first time.

Source: https://docs.stripe.com/api/idempotent_requests: the first answer is kept once the endpoint began its
work, whatever it was; validation errors, 401 and 429 use up no key; keys live 24 hours at least.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl

from procomp_pay.sandbox.stripe.core import Core
from procomp_pay.sandbox.stripe.errors import Json, StripeError

MAX_FIELDS = 1000
MAX_DEPTH = 6
_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)\Z")
_PART = re.compile(r"\[([^\[\]]*)\]")


def parse_form(raw: str) -> dict[str, Any]:
    """Return the nested parameters of a query string or form body.

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
    match = _NAME.match(name)
    if match is None:
        raise StripeError(f"Invalid parameter name: {name}", param=name, executed=False)
    path = [match[1], *_PART.findall(match[2])]
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


MAX_LENGTH = 255


class Idempotency:
    """The stored answers by key. A key whose request is in progress is locked."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._working: set[str] = set()

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Hold the key while its request is worked on. Raises StripeError 409 when another holds it."""
        if key in self._working:
            message = f"There is currently another in-progress request using this Idempotency Key ({key})."
            code = "idempotency_key_in_use"
            raise StripeError(message, status=409, type="idempotency_error", code=code, executed=False)
        self._working.add(key)
        try:
            yield
        finally:
            self._working.discard(key)

    def recall(self, key: str, path: str, raw: str) -> Json | None:
        """Return the answer stored under this key, or None. Raises StripeError 400 if the request differs."""
        if len(key) > MAX_LENGTH:
            message = f"Idempotency keys can be at most {MAX_LENGTH} characters long."
            raise StripeError(message, type="idempotency_error", executed=False)
        kept = self._core.tables["idempotency"].get(key)
        if kept is None:
            return None
        if kept["path"] != path:
            where = f"the endpoint they were first used for ('{kept['path']}')"
            raise _misused(f"Keys for idempotent requests can only be used for {where}", key)
        if kept["fingerprint"] != fingerprint(raw):
            where = "the same parameters they were first used with"
            raise _misused(f"Keys for idempotent requests can only be used with {where}", key)
        return kept

    def store(self, key: str, path: str, raw: str, *, status: int, body: Json, request_id: str) -> None:
        """Keep the answer for the next request with this key."""
        row = {
            "id": key,
            "body": body,
            "created": self._core.now(),
            "fingerprint": fingerprint(raw),
            "path": path,
            "request_id": request_id,
            "status": status,
        }
        self._core.put("idempotency", row)


def fingerprint(raw: str) -> str:
    """Return a digest of the parameters that does not depend on their order."""
    return hashlib.sha256(json.dumps(sorted(raw.split("&"))).encode()).hexdigest()


def _misused(message: str, key: str) -> StripeError:
    text = f"{message}. Try using a key other than '{key}' if you meant to execute a different request."
    return StripeError(text, type="idempotency_error", executed=False)
