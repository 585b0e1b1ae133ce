"""Real mutual TLS: the certificate is checked instead of the header that stands in without TLS."""

from __future__ import annotations

import ssl
import uuid
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.kaspi_sandbox import Kaspi
from tests.support.patience import PATIENCE_S


def certificate(folder: Path, name: str) -> Path:
    """Create a self-signed certificate for 127.0.0.1 with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path = folder / f"{name}.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize("shown", [True, False])
async def test_the_certificate_is_checked_instead_of_the_header(tmp_path: Path, shown: bool) -> None:
    server, client = certificate(tmp_path, "server"), certificate(tmp_path, "client")
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(client))
    serving.load_cert_chain(server)
    serving.verify_mode = ssl.CERT_OPTIONAL
    asking = ssl.create_default_context(cafile=str(server))
    if shown:
        asking.load_cert_chain(client)

    app = web.Application()
    app.add_routes(Kaspi().box.routes())
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=serving).start()
    headers = {"X-Request-ID": str(uuid.uuid4())} | ({} if shown else {"X-Sandbox-Client-Cert": "present"})
    try:
        url = f"https://127.0.0.1:{runner.addresses[0][1]}/r3/v01/health/ping"
        async with httpx.AsyncClient(verify=asking, trust_env=False, timeout=PATIENCE_S) as http:
            answer = await http.get(url, headers=headers)
    finally:
        await runner.cleanup()
    assert answer.json()["StatusCode"] == (0 if shown else -10000)
