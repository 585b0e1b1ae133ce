"""Malformed, slow and aborted requests, sent over a raw socket: no HTTP client would send them."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlmodel import select

from procomp_pay.server.api import requests
from procomp_pay.server.http import connections
from procomp_pay.server.http.route import BASE
from procomp_pay.storage.models.platform import Payment
from procomp_pay.storage.models.webhooks import WebhookEvent
from tests.support import openapi_contract as contract
from tests.support.http_requests import token
from tests.support.patience import PATIENCE_S
from tests.support.server import Serve, Served

INITIATE = f"POST {BASE}/initiate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
AUTHORIZED = f"Authorization: Bearer {token()}\r\n"
HOOK = f"POST {BASE}/webhooks/stripe HTTP/1.1\r\nHost: x\r\nStripe-Signature: t=1,v1=0\r\n"


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Run on SQLite alone: these requests never reach the database."""
    return sqlite_url


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the waits for the rest of a body; request it before the server."""
    monkeypatch.setattr(requests, "ARRIVAL_S", 0.3)
    monkeypatch.setattr(connections, "LINGER_S", 0.1)


class Raw:
    """A raw connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, content: str | bytes) -> None:
        self.writer.write(content.encode("latin-1") if isinstance(content, str) else content)
        await self.writer.drain()

    async def receive(self, seconds: float = PATIENCE_S) -> tuple[int, dict[str, str], Any]:
        """Read one response: its status, headers and body."""
        async with asyncio.timeout(seconds):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.split("\r\n")[:-2]
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(first.split(" ")[1]), headers, json.loads(body) if body else None

    async def is_closed(self, seconds: float = PATIENCE_S) -> bool:
        async with asyncio.timeout(seconds):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True


@pytest.fixture
async def raw(served: Served) -> AsyncIterator[Any]:
    made = []

    async def connect() -> Raw:
        host, port = served.url.removeprefix("http://").split(":")
        made.append(Raw(*await asyncio.open_connection(host, int(port))))
        return made[-1]

    yield connect
    for item in made:
        item.writer.close()


def _is_error(answer: tuple[int, dict[str, str], Any], status: int) -> None:
    code, headers, body = answer
    assert (code, body["status_code"]) == (status, status)
    contract.check_schema({"$ref": "#/components/schemas/ErrorAnswer"}, body)
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["server"] == "procomp-pay"
    assert re.fullmatch(r"[0-9a-f]{24}", headers["x-request-id"])


async def _nothing_stored(served: Served) -> None:
    async with served.ctx.db.reading() as session:
        assert (await session.exec(select(Payment))).all() == []
        assert (await session.exec(select(WebhookEvent))).all() == []


MALFORMED: dict[str, str | bytes] = {
    "nonsense": "hello\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/9": f"GET {BASE}/health HTTP/9.9\r\n\r\n",
    "odd method": "G\x00T / HTTP/1.1\r\n\r\n",
    "lower-case method": f"get {BASE}/health HTTP/1.1\r\nHost: x\r\n\r\n",
    "NUL in the address": "GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "raw bytes in the address": b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "odd target": "GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "target with a bad port": "GET http://a:99999/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "CONNECT": "CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "long address": f"GET /{'a' * 9000} HTTP/1.1\r\nHost: x\r\n\r\n",
    "long address of many parts": f"GET {BASE}/health?{'x=aaaa&' * 1500} HTTP/1.1\r\nHost: x\r\n\r\n",
    "long name of a header": f"GET / HTTP/1.1\r\nHost: x\r\n{'a' * 9000}: x\r\n\r\n",
    "long header": f"GET / HTTP/1.1\r\nHost: x\r\nX: {'a' * 9000}\r\n\r\n",
    "many headers": "GET / HTTP/1.1\r\nHost: x\r\n" + "X: a\r\n" * 200 + "\r\n",
    "NUL in a header": "GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
    "header without colon": "GET / HTTP/1.1\r\nHost: x\r\nnothing\r\n\r\n",
    "folded header": "GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n",
    "space before colon": "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    "two lengths": f"{INITIATE}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}",
    "length and chunks": f"{INITIATE}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{{}}",
    "negative length": f"{INITIATE}Content-Length: -1\r\n\r\n",
    "length in words": f"{INITIATE}Content-Length: two\r\n\r\n",
    "huge length": f"{INITIATE}Content-Length: {'9' * 40}\r\n\r\n",
    "odd coding": f"{INITIATE}Transfer-Encoding: gzip\r\n\r\n",
    "bad chunk, no token": f"{INITIATE}Transfer-Encoding: chunked\r\n\r\nzz\r\n{{}}\r\n0\r\n\r\n",
    "bad chunk": f"{INITIATE}{AUTHORIZED}Transfer-Encoding: chunked\r\n\r\nzz\r\n{{}}\r\n0\r\n\r\n",
    "chunk without end": f"{INITIATE}{AUTHORIZED}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}XX0\r\n\r\n",
    "bad chunk, webhook": f"{HOOK}Transfer-Encoding: chunked\r\n\r\n-1\r\n{{}}\r\n0\r\n\r\n",
    "unknown expectation": f"{INITIATE}{AUTHORIZED}Expect: anything-else\r\nContent-Length: 0\r\n\r\n",
}

OTHER_STATUSES = {
    "unknown expectation": 417,
    "CONNECT": 404,
    "long address": 414,
    "long address of many parts": 414,
    "long name of a header": 431,
    "long header": 431,
    "many headers": 431,
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_malformed_requests_get_an_error_as_json(
    served: Served, raw: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    there = await raw()
    await there.send(MALFORMED[name])
    answer = await there.receive()
    status = OTHER_STATUSES.get(name, 400)
    _is_error(answer, status)
    if status in (400, 414, 431):
        assert await there.is_closed()
        [record] = [r for r in caplog.records if r.levelno >= logging.WARNING]
        assert record.exc_info is None
        assert record.getMessage().startswith("not HTTP: ")
        assert "aaaa" not in caplog.text
    await _nothing_stored(served)


async def test_a_valid_request_before_a_malformed_one_is_answered(raw: Any) -> None:
    there = await raw()
    await there.send(f"GET {BASE}/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await there.receive())[0] == 200
    await there.send("nonsense\r\n\r\n")
    _is_error(await there.receive(), 400)
    assert await there.is_closed()


@pytest.mark.usefixtures("short_waits")
@pytest.mark.parametrize("rest", ["zz\r\n{}\r\n", "2\r\n{}XX", "-1\r\n", None])
async def test_a_broken_body(
    served: Served, raw: Any, rest: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Break the body while the handler waits for it: broken chunks end as a body that is too slow."""
    there = await raw()
    await there.send(f"{INITIATE}{AUTHORIZED}Transfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n")
    await asyncio.sleep(0.05)
    if rest is None:
        there.writer.close()
        await asyncio.sleep(0.05)
    else:
        await there.send(rest)
        _is_error(await there.receive(), 400)
        assert await there.is_closed(), "one request, one answer"
    await _nothing_stored(served)
    assert (await served.api.get(f"{BASE}/health/live")).status_code == 200
    assert all(record.exc_info is None for record in caplog.records)


@pytest.mark.usefixtures("short_waits")
@pytest.mark.parametrize("head", [INITIATE + AUTHORIZED, HOOK])
async def test_a_slow_body_is_cut_off(served: Served, raw: Any, head: str) -> None:
    there = await raw()
    await there.send(f"{head}Content-Length: 1000\r\n\r\n")
    response = asyncio.create_task(there.receive(20))  # long before the body is whole
    while not response.done():  # a byte now and then does not keep it alive
        await there.send(" ")
        await asyncio.wait([response], timeout=0.1)
    _is_error(await response, 400)
    assert await there.is_closed()
    await _nothing_stored(served)


async def test_a_slow_head_is_cut_off(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "KEEP_ALIVE_S", 0.4)
    served = await serve()
    host, port = served.url.removeprefix("http://").split(":")
    for beginning in ("", f"GET {BASE}/health/live HTTP/1.1\r\nHost: x\r\n\r\n"):
        there = Raw(*await asyncio.open_connection(host, int(port)))
        await there.send(beginning)
        if beginning:
            assert (await there.receive())[0] == 200
        closed = asyncio.create_task(there.is_closed(20))  # aiohttp itself would wait for a minute and more
        for letter in "GET /a":
            if not closed.done():
                await there.send(letter)
                await asyncio.sleep(0.1)
        assert await closed
        there.writer.close()


@pytest.mark.parametrize(
    ("head", "size"),
    [(INITIATE + AUTHORIZED, requests.BODY_BYTES), (HOOK, requests.WEBHOOK_BYTES)],
    ids=["64 KiB", "1 MiB"],
)
@pytest.mark.parametrize("way", ["length", "chunks"])
async def test_the_size_limits_of_bodies(served: Served, raw: Any, head: str, size: int, way: str) -> None:
    for more, status in ((1, 413), (0, 400)):  # the largest body is read, and is not JSON
        there = await raw()
        body = b"x" * (size + more)
        if way == "length":
            await there.send(f"{head}Content-Length: {len(body)}\r\n\r\n")
            await there.send(body)
        else:
            await there.send(f"{head}Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n")
            await there.send(body + b"\r\n0\r\n\r\n")
        _is_error(await there.receive(), status)
    await _nothing_stored(served)


async def test_a_too_large_content_length_is_refused_at_once(raw: Any) -> None:
    there = await raw()
    await there.send(f"{INITIATE}{AUTHORIZED}Content-Length: {10**12}\r\n\r\n")
    _is_error(await there.receive(), 413)


async def test_expect_100_continue(raw: Any) -> None:
    there = await raw()
    await there.send(f"{INITIATE}{AUTHORIZED}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert (await there.receive())[0] == 100
    await there.send("{}")
    _is_error(await there.receive(), 400)
