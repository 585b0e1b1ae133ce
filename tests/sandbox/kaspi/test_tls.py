"""Real mutual TLS: the certificate is checked instead of the header that stands in without TLS."""

from __future__ import annotations

import ssl
import uuid
from pathlib import Path

import httpx
import pytest

from tests.support.kaspi_tls import secure_sandbox


@pytest.mark.parametrize("shown", [True, False])
async def test_the_certificate_is_checked_instead_of_the_header(tmp_path: Path, shown: bool) -> None:
    headers = {"X-Request-ID": str(uuid.uuid4())} | ({} if shown else {"X-Sandbox-Client-Cert": "present"})
    async with secure_sandbox(tmp_path / "tls") as secure:
        tls = secure.tls
        asking = ssl.create_default_context(cafile=tls["ca_cert"])
        if shown:
            asking.load_cert_chain(tls["client_cert"], tls["client_key"], tls["client_key_password"])
        async with httpx.AsyncClient(verify=asking, trust_env=False) as http:
            answer = await http.get(f"{tls['url']}/r3/v01/health/ping", headers=headers)
    assert answer.json()["StatusCode"] == (0 if shown else -10000)
