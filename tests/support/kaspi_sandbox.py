"""A Kaspi sandbox on a loopback port, with a clock that a test moves by hand."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import httpx
import simplejson
from aiohttp import web

from procomp_pay.sandbox.kaspi import KaspiSandbox
from tests.support.patience import PATIENCE_S

START = 1_795_417_200.25  # 2026-11-23T12:00:00.250+05:00


class Clock:
    """Unix seconds that stand still until told."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


class Kaspi:
    """The sandbox as a client sees it, over real HTTP."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.saves: list[str] = []
        self.box = KaspiSandbox(clock=self.clock, changed=self._save, **options)
        self.http: httpx.AsyncClient

    def _save(self) -> None:
        self.saves.append(json.dumps(self.box.dump()))

    def headers(self, scheme: str) -> dict[str, str]:
        headers = {"X-Request-ID": uuid.uuid4().hex}
        headers |= {"Api-Key": self.box.api_key} if scheme == "r1" else {"X-Sandbox-Client-Cert": "present"}
        return headers

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        scheme: str = "r3",
        version: str = "v01",
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        content = None if body is None else simplejson.dumps(body, use_decimal=True)
        given = self.headers(scheme) if headers is None else headers
        if content is not None:
            given = {"Content-Type": "application/json", **given}
        return await self.http.request(method, f"/{scheme}/{version}{path}", content=content, headers=given)

    async def get(self, path: str, *, scheme: str = "r3", version: str = "v01") -> Any:
        """The whole envelope of a GET that is answered with HTTP 200."""
        answer = await self.ask("GET", path, scheme=scheme, version=version)
        assert answer.status_code == 200, answer.text
        return simplejson.loads(answer.text, use_decimal=True)

    async def post(self, path: str, body: Any, *, scheme: str = "r3") -> Any:
        """The whole envelope of a POST, HTTP 200; the enhanced scheme gets the BIN of its own accord."""
        if scheme == "r3" and not path.startswith("/test/"):
            body = {"OrganizationBin": self.box.organization_bin, **body}
        answer = await self.ask("POST", path, body, scheme=scheme)
        assert answer.status_code == 200, answer.text
        return simplejson.loads(answer.text, use_decimal=True)

    async def create(self, amount: str = "5000.00", *, scheme: str = "r3", **more: Any) -> Any:
        """Data of a new QR."""
        body = {"DeviceToken": self.box.device_token, "Amount": Decimal(amount), **more}
        answer = await self.post("/qr/create", body, scheme=scheme)
        assert answer["StatusCode"] == 0, answer
        return answer["Data"]

    async def paid(self, amount: str = "5000.00", **phone: Any) -> int:
        """The id of a payment that the phone has paid."""
        data = await self.create(amount)
        answer = await self.phone(data["QrToken"], "pay", **phone)
        assert answer.status_code == 200, answer.text
        return int(data["QrPaymentId"])

    async def status(self, payment_id: int, *, scheme: str = "r3") -> str:
        answer = await self.get(f"/payment/status/{payment_id}", scheme=scheme)
        return str(answer["Data"]["Status"])

    async def details(self, payment_id: int, *, token: str | None = None, scheme: str = "r3") -> Any:
        query = f"QrPaymentId={payment_id}&DeviceToken={token or self.box.device_token}"
        return await self.get(f"/payment/details?{query}", scheme=scheme)

    async def refund(self, payment_id: int, amount: str, **more: Any) -> Any:
        body = {"DeviceToken": self.box.device_token, "QrPaymentId": payment_id, "Amount": Decimal(amount)}
        return await self.post("/payment/return", {**body, **more})

    async def step(self, name: str, payment_id: int, *, scheme: str = "r3") -> Any:
        return await self.post(f"/test/payment/{name}", {"qrPaymentId": str(payment_id)}, scheme=scheme)

    async def phone(self, key: str | int, action: str, **more: Any) -> httpx.Response:
        return await self.http.post(
            f"/pay/{key}", json={"action": action, **more}, headers={"Accept": "application/json"}
        )

    async def control(self, path: str, body: Any = None, *, method: str = "POST") -> Any:
        answer = await self.http.request(method, f"/_sandbox/kaspi{path}", json=body)
        assert answer.status_code == 200, answer.text
        return simplejson.loads(answer.text, use_decimal=True)

    async def point(self, **more: Any) -> int:
        """A further trade point."""
        return int((await self.control("/tradepoints", more))["TradePointId"])

    async def device(self, point: int, device_id: str = "till-2", **more: Any) -> str:
        answer = await self.post("/device/register", {"DeviceId": device_id, "TradePointId": point, **more})
        return str(answer["Data"]["DeviceToken"])


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[Kaspi]:
    """A sandbox that listens on a free loopback port while the block runs."""
    kaspi = Kaspi(**options)
    app = web.Application()
    app.add_routes(kaspi.box.routes())
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    await kaspi.box.start()
    port = runner.addresses[0][1]
    try:
        async with httpx.AsyncClient(
            verify=False, base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE_S
        ) as kaspi.http:
            yield kaspi
    finally:
        await kaspi.box.stop()
        await runner.cleanup()
