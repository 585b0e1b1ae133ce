"""Faults on request: slow answers, error statuses and cut connections, for every provider alike."""

from __future__ import annotations

import asyncio
import fnmatch
import itertools
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

KINDS = ("delay", "status", "cut_before", "cut_after")
MAX_FAULTS = 100
MAX_SECONDS = 300.0
CONTROL = "/_sandbox"
STRUCK = web.RequestKey("STRUCK", str)


@dataclass
class Fault:
    """One rule. It passes over `skip` requests, then applies to `times` requests (None: no limit)."""

    id: int
    kind: str
    path: str = "/"
    method: str | None = None
    seconds: float = 0.0
    status: int = 503
    retry_after: int | None = None
    times: int | None = 1
    skip: int = 0
    after: bool = False
    hits: int = field(default=0, init=False)

    def matches(self, method: str, path: str) -> bool:
        """Return whether the rule matches this request; `path` is a prefix, or a glob if it has `*` or
        `?`.
        """
        if self.method is not None and self.method != method:
            return False
        if any(mark in self.path for mark in "*?"):
            return fnmatch.fnmatchcase(path, self.path)
        return path.startswith(self.path)

    def to_json(self) -> dict[str, Any]:
        """Return the rule as it was given, with its id and the number of requests it was applied to."""
        return asdict(self)


class Faults:
    """The rules in force; the first that matches is applied."""

    def __init__(self) -> None:
        self._rules: list[Fault] = []
        self._ids = itertools.count(1)

    def add(self, given: dict[str, Any]) -> Fault:
        """Add a rule. Raises ValueError, naming the field, for an invalid one."""
        if len(self._rules) >= MAX_FAULTS:
            raise ValueError(f"at most {MAX_FAULTS} faults at a time")
        fault = Fault(id=next(self._ids), **_checked(given))
        self._rules.append(fault)
        return fault

    def clear(self) -> None:
        """Drop every rule."""
        self._rules.clear()

    def to_json(self) -> list[dict[str, Any]]:
        """Return the rules in force, oldest first."""
        return [rule.to_json() for rule in self._rules]

    def take(self, method: str, path: str) -> Fault | None:
        """Return the rule for this request and count the request; a rule that is used up is dropped."""
        for rule in self._rules:
            if not rule.matches(method, path):
                continue
            if rule.skip > 0:
                rule.skip -= 1
                continue
            rule.hits += 1
            if rule.times is not None and rule.hits >= rule.times:
                self._rules.remove(rule)
            return rule
        return None


def _checked(given: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, tuple[type, ...]] = {
        "kind": (str,),
        "path": (str,),
        "method": (str,),
        "seconds": (int, float),
        "status": (int,),
        "retry_after": (int,),
        "times": (int, type(None)),
        "skip": (int,),
        "after": (bool,),
    }
    for name, value in given.items():
        if name not in fields:
            raise ValueError(f"unknown field: {name}")
        if not isinstance(value, fields[name]) or (isinstance(value, bool) and name != "after"):
            raise ValueError(f"{name} has the wrong type")
    if given.get("kind") not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}")
    if not 0 <= given.get("seconds", 0) <= MAX_SECONDS:
        raise ValueError(f"seconds must be between 0 and {MAX_SECONDS:g}")
    if not 400 <= given.get("status", 503) <= 599:
        raise ValueError("status must be between 400 and 599")
    return {**given, "method": given["method"].upper()} if "method" in given else dict(given)


@dataclass(frozen=True)
class RequestLine:
    """One request as it came in, with nothing secret: no query, no body, no key."""

    method: str
    path: str
    idempotency_key: str | None
    status: int | None
    fault: str | None
    at: float = 0.0
    certificate: str | None = None


class RequestLog:
    """The last requests, newest last, so that a test can count calls."""

    def __init__(self) -> None:
        self._lines: deque[RequestLine] = deque(maxlen=2000)
        self.total = 0

    def add(self, line: RequestLine) -> None:
        """Note one finished request."""
        self._lines.append(line)
        self.total += 1

    def clear(self) -> None:
        """Delete all of them."""
        self._lines.clear()

    def to_json(self) -> list[dict[str, Any]]:
        """Return the lines, oldest first."""
        return [asdict(line) for line in self._lines]


def log_middleware(log: RequestLog) -> Middleware:
    """Log each request except those to control routes. Outermost, so that it sees what the client saw."""

    @web.middleware
    async def apply(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(CONTROL):
            return await handler(request)
        status: int | None = None
        came = time.time()
        try:
            response = await handler(request)
            status = response.status
        except web.HTTPException as answer:
            status = answer.status
            raise
        else:
            return response
        finally:
            key = request.headers.get("Idempotency-Key")
            fault = request.get(STRUCK)
            logged_status = None if fault in ("cut_before", "cut_after") else status
            shown = _common_name(request.get_extra_info("peercert"))
            log.add(RequestLine(request.method, request.path, key, logged_status, fault, came, shown))

    return apply


def _common_name(certificate: Any) -> str | None:
    """Return the common name of the client's certificate."""
    parts = [pair for group in (certificate or {}).get("subject", ()) for pair in group]
    return next((str(value) for name, value in parts if name == "commonName"), None)


def fault_middleware(faults: Faults) -> Middleware:
    """Apply the rules in force to every request except those to control routes."""

    @web.middleware
    async def apply(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(CONTROL):
            return await handler(request)
        fault = faults.take(request.method, request.path)
        if fault is None:
            return await handler(request)
        request[STRUCK] = fault.kind
        return await _struck(fault, request, handler)

    return apply


async def _struck(fault: Fault, request: web.Request, handler: Handler) -> web.StreamResponse:
    if fault.kind == "cut_before":
        return _cut(request)
    if fault.kind == "delay" and not fault.after:
        await asyncio.sleep(fault.seconds)
    if fault.kind == "status" and not fault.after:
        return _status(fault, request)
    response = await handler(request)
    if fault.kind == "cut_after":
        return _cut(request)
    if fault.kind == "delay" and fault.after:
        await asyncio.sleep(fault.seconds)
    return _status(fault, request) if fault.kind == "status" else response


def _cut(request: web.Request) -> web.Response:
    """Abort the connection: the client sees a reset. The response is never written."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)


def _status(fault: Fault, request: web.Request) -> web.Response:
    message = f"Fault of the sandbox: status {fault.status}."
    body: dict[str, Any] = {"statusCode": fault.status, "message": message}
    if request.path.startswith("/v1/"):
        limited = {"type": "invalid_request_error", "code": "rate_limit", "message": message}
        body = {"error": limited if fault.status == 429 else {"type": "api_error", "message": message}}
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    return web.json_response(body, status=fault.status, headers=headers)
