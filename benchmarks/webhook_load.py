"""Generate the load of ``webhooks.py`` in a process of its own: freshly signed events over kept connections.

    python webhook_load.py JOB.json FOUND.json

The job says where to, what, how many connections, and how fast (``rate`` 0: as fast as the answers come).
Each tenth delivery is one that was sent before. What it finds is one JSON document: per unique event when it
was sent and when the 200 came (Unix seconds), and what else was answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import sys
import time
from pathlib import Path
from typing import Any

DUPLICATE_EACH = 10


class Line(asyncio.Protocol):
    """A kept connection with one request at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[int] | None = None
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(rest) >= length and self._answer is not None and not self._answer.done():
            self._buffer = rest[length:]
            self._answer.set_result(int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError())

    def post(self, request: bytes) -> asyncio.Future[int]:
        """Send a request; the future returns the HTTP status."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer


class Load:
    """Send every event of a job once, and some of them twice."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._template = job["template"]
        self._secret = job["secret"].encode()
        self._next: int = job["first"]
        self._sent = 0
        self._begun = 0.0
        self.at: dict[int, tuple[float, float]] = {}
        self.other: dict[str, int] = {}

    def request(self, number: int) -> bytes:
        """Return the request for the event of a payment, signed now."""
        now = int(time.time())
        text: str = self._template.replace("NUMBER", f"{number:08d}").replace("1234567890", str(now))
        body = text.encode()
        digest = hmac.new(self._secret, b"%d." % now + body, hashlib.sha256).hexdigest()
        return (
            f"POST {self._job['path']} HTTP/1.1\r\nHost: benchmark\r\nContent-Type: application/json\r\n"
            f"Stripe-Signature: t={now},v1={digest}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    async def run(self) -> None:
        """Run the whole job."""
        self._begun = time.perf_counter()
        await asyncio.gather(*(self._line() for _ in range(self._job["connections"])))

    async def _line(self) -> None:
        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(Line, self._job["host"], self._job["port"])
        while (number := await self._turn()) is not None:
            sent = time.time()
            status = await line.post(self.request(number))
            if status == 200:
                self.at.setdefault(number, (sent, time.time()))
            else:
                self.other[str(status)] = self.other.get(str(status), 0) + 1

    async def _turn(self) -> int | None:
        """Return the number of the next event when it is due."""
        if self._next >= self._job["first"] + self._job["count"]:
            return None
        self._sent += 1
        position = self._sent
        if position % DUPLICATE_EACH == 0:
            number = self._next - 1
        else:
            number = self._next
            self._next += 1
        if self._job["rate"]:
            wait = self._begun + position / self._job["rate"] - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
        return number

    @property
    def deliveries(self) -> int:
        return self._sent


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    load = Load(job)
    with contextlib.suppress(ImportError):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    begun, cpu = time.time(), time.process_time()
    asyncio.run(load.run())
    results = {
        "begun": begun,
        "ended": time.time(),
        "cpu": time.process_time() - cpu,
        "deliveries": load.deliveries,
        "at": load.at,
        "other": load.other,
    }
    Path(sys.argv[2]).write_text(json.dumps(results), "utf-8")


if __name__ == "__main__":
    main()
