"""A network between our processes and the sandbox, in memory, that delays, loses, repeats and reorders."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpVersion11, RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

if TYPE_CHECKING:
    from procomp_pay.sandbox.app import Sandbox
    from tests.simulation.process import Process

#: The addresses of the providers and of the platform's webhook, which nothing ever connects to.
PROVIDERS = "http://127.0.0.1:1"
PLATFORM = "http://127.0.0.1:2/hook"
#: The longest time for which a client waits for an answer, in seconds.
_PATIENCE_S = 10.0
#: What may happen to a request, and the answer's status where there is one.
_FAULTS = ("refused", "lost before", "lost after", "slow", "late", "429", "503", "503 after", "twice")

Trace = Callable[[str], None]


class Network:
    """Carries each request of a process to the sandbox or to the platform, with faults while there are any.

    :param trouble: the share of requests to which something happens.
    """

    def __init__(self, sandbox: Sandbox, chance: random.Random, trouble: float, trace: Trace) -> None:
        self._app = sandbox._app()
        self._app.freeze()
        self._chance, self._trace = chance, trace
        self.trouble = trouble
        self.faults = 0
        #: Paths that begin so are not reachable until then, by the loop's clock.
        self.outages: dict[str, float] = {}
        #: What the platform received: each message id with its body.
        self.platform: dict[str, str] = {}

    async def send(self, owner: Process, request: httpx.Request) -> httpx.Response:
        """Carry the request of a process, as ``httpx.AsyncHTTPTransport.handle_async_request`` does."""
        chance, path = self._chance, request.url.path
        await owner.step(f"{request.method} {path}")
        fault = self._fault(request)
        if fault is not None:
            self.faults += 1
            self._trace(f"{owner.name}: {request.method} {path}: {fault}")
        await asyncio.sleep(chance.uniform(0.01, 0.3))
        if fault == "refused":
            raise httpx.ConnectError("refused", request=request)
        if fault == "lost before":
            await asyncio.sleep(_PATIENCE_S)
            raise httpx.ReadTimeout("lost", request=request)
        if fault in ("429", "503"):
            headers = {"Retry-After": "2"} if fault == "429" else {}
            return httpx.Response(int(fault), json={"error": {"type": "api_error"}}, headers=headers)
        # the provider works on, whatever becomes of the process that asked
        late = chance.uniform(_PATIENCE_S, 2 * _PATIENCE_S) if fault == "late" else 0.0
        work = asyncio.get_running_loop().create_task(self._serve(request, late), context=Context())
        if fault == "slow":
            await asyncio.sleep(chance.uniform(1.0, 9.0))
        if fault in ("lost after", "late"):
            await asyncio.sleep(_PATIENCE_S)
            raise httpx.ReadTimeout("the answer was lost", request=request)
        answer = await asyncio.shield(work)
        if fault == "503 after":
            return httpx.Response(503, json={"error": {"type": "api_error"}})
        if fault == "twice":
            answer = await self._serve(request, 0.0)
        await owner.step(f"answer of {request.method} {path}")
        return answer

    def _fault(self, request: httpx.Request) -> str | None:
        path, at = request.url.path, asyncio.get_running_loop().time()
        if any(path.startswith(prefix) and at < until for prefix, until in self.outages.items()):
            return "refused"
        if self._chance.random() >= self.trouble:
            return None
        fault = self._chance.choice(_FAULTS)
        repeatable = request.method == "GET" or "Idempotency-Key" in request.headers
        return None if fault == "twice" and not repeatable else fault

    async def _serve(self, request: httpx.Request, after_s: float) -> httpx.Response:
        await asyncio.sleep(after_s)
        if str(request.url) == PLATFORM:
            key, body = request.headers["webhook-id"], request.content.decode()
            assert self.platform.setdefault(key, body) == body, "one message id, two bodies"
            return httpx.Response(200)
        target = request.url.raw_path.decode()
        return await self.ask(request.method, target, dict(request.headers), request.content)

    async def ask(self, method: str, target: str, headers: dict[str, str], body: bytes) -> httpx.Response:
        """Have the sandbox answer a request."""
        loop = asyncio.get_running_loop()
        payload = StreamReader(BaseProtocol(loop), 1 << 20, loop=loop)
        payload.feed_data(body)
        payload.feed_eof()
        fields = CIMultiDictProxy(CIMultiDict(headers))
        raw = tuple((name.encode(), value.encode()) for name, value in headers.items())
        message = RawRequestMessage(
            method, target, HttpVersion11, fields, raw, False, None, False, False, URL(target, encoded=True)
        )
        nobody: Any = _Peer()
        incoming = web.Request(message, payload, nobody, nobody, nobody, loop)
        try:
            answer = await self._app._handle(incoming)
        except web.HTTPException as refused:
            answer = refused
        assert isinstance(answer, web.Response)
        content = answer.body if isinstance(answer.body, bytes) else (answer.text or "").encode()
        return httpx.Response(answer.status, headers=list(answer.headers.items()), content=content)

    async def customer(self, url: str, **body: Any) -> int:
        """POST as a customer's browser or phone does, without faults; return the status."""
        parts = urlsplit(url)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        answer = await self.ask("POST", parts.path, headers, json.dumps(body).encode())
        assert answer.status_code < 500, answer.text
        return answer.status_code


class _Peer:
    """The other side of a connection that does not exist."""

    ssl_context = peername = sockname = transport = None
