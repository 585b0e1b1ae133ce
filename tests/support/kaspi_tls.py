"""A sandbox with TLS, and the settings to reach it, as an operator would write them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from procomp_pay.config import Settings
from procomp_pay.providers.registry import ProviderRegistry
from procomp_pay.sandbox.app import Sandbox, SandboxOptions
from tests.support.patience import PATIENCE_S

PHONE_JSON = {"Accept": "application/json"}


@dataclass
class Secure:
    """The sandbox, an HTTP client for its control pages, and the files that a client needs for TLS."""

    sandbox: Sandbox
    http: httpx.AsyncClient

    @property
    def tls(self) -> dict[str, str]:
        paths: dict[str, str] = self.sandbox.info()["tls"]
        return paths

    def settings(self, scheme: str, **changes: Any) -> Settings:
        info, tls = self.sandbox.info(), self.tls
        path = "/gateway/payments" if scheme == "gateway" else ""
        values: dict[str, Any] = {
            "kaspi_scheme": scheme,
            "kaspi_api_url": f"{tls['url']}{path}",
            "kaspi_ca_cert": tls["ca_cert"],
        }
        if scheme in ("basic", "gateway"):
            values["kaspi_api_key"] = info["kaspi_api_key"]
        else:
            values |= {
                "kaspi_client_cert": tls["client_cert"],
                "kaspi_client_key": tls["client_key"],
                "kaspi_client_key_password": tls["client_key_password"],
            }
        if scheme != "gateway":
            values["kaspi_device_token"] = info["kaspi"]["device_token"]
        if scheme == "enhanced":
            values["kaspi_organization_bin"] = info["kaspi"]["organization_bin"]
        return Settings(_env_file=None, **(values | changes))

    async def phone(self, key: str, action: str) -> None:
        """Do an action in the customer's Kaspi app."""
        answer = await self.http.post(f"/pay/{key}", json={"action": action}, headers=PHONE_JSON)
        assert answer.status_code == 200, answer.text

    async def control(self, path: str, body: Any) -> None:
        answer = await self.http.post(f"/_sandbox/kaspi{path}", json=body)
        assert answer.status_code == 200, answer.text


@asynccontextmanager
async def secure_sandbox(folder: Path) -> AsyncIterator[Secure]:
    sandbox = Sandbox(SandboxOptions(tls_folder=folder))
    await sandbox.start()
    try:
        async with httpx.AsyncClient(verify=False, base_url=sandbox.url, timeout=PATIENCE_S) as http:
            yield Secure(sandbox, http)
    finally:
        await sandbox.stop()


@asynccontextmanager
async def registry(settings: Settings) -> AsyncIterator[ProviderRegistry]:
    made = ProviderRegistry(settings)
    try:
        yield made
    finally:
        await made.aclose()
