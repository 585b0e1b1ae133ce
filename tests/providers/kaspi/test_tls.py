"""Kaspi over real TLS: every scheme from settings to refund, and errors of certificate files."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import ConfigurationError, ProviderUnavailable, Refused
from procomp_pay.domain.events import EventType
from procomp_pay.domain.money import Money
from procomp_pay.domain.refunds import RefundState
from procomp_pay.domain.states import Channel
from procomp_pay.providers.kaspi.http import KaspiHttp, kaspi_http
from procomp_pay.providers.kaspi.service import KaspiPaymentService
from procomp_pay.providers.kaspi.tls import TlsFiles, make_context
from procomp_pay.providers.protocol import ProviderRef, RefundRequest
from procomp_pay.providers.registry import kaspi_certificate
from procomp_pay.sandbox.tls import Authority, Issued
from tests.support.kaspi_tls import Secure, registry, secure_sandbox
from tests.support.provider_services import tenge_request

FEE = Money.parse("24000", "KZT")


def now() -> datetime:
    """Return the present: certificates made in a test are valid from its start, not from that of the run."""
    return datetime.now(UTC)


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncIterator[Secure]:
    async with secure_sandbox(tmp_path / "tls") as made:
        yield made


def refund_of(ref: ProviderRef, scan: int | None = None) -> RefundRequest:
    zero = FEE - FEE
    return RefundRequest("refund1", "pay1", ref, FEE, "key", zero, again=False, customer_scan=scan)


@pytest.mark.parametrize("scheme", list(KaspiScheme))
async def test_every_scheme_from_creation_to_refund(secure: Secure, scheme: KaspiScheme) -> None:
    async with registry(secure.settings(scheme.value)) as providers:
        service = providers.kaspi()
        assert scheme.value in await service.check()
        made = await service.create(tenge_request(Channel.KASPI_QR))
        ref = ProviderRef(Channel.KASPI_QR, made.provider_ref)
        assert (await service.fetch(ref)).event_type is None
        await secure.phone(made.provider_ref, "scan")
        assert (await service.fetch(ref)).event_type is EventType.PROCESSING
        await secure.phone(made.provider_ref, "confirm")
        status = await service.fetch(ref)
        assert (status.event_type, status.final, status.money) == (EventType.SUCCEEDED, True, FEE)
        assert status.ids.kaspi_operation
        await _give_back(secure, service, ref)


async def _give_back(secure: Secure, service: KaspiPaymentService, ref: ProviderRef) -> None:
    if service.scheme in (KaspiScheme.BASIC, KaspiScheme.GATEWAY):
        with pytest.raises(Refused, match="no refund by API") as refused:
            service.ready_to_refund("pay1", at_desk=True)
        assert "procomp-pay refund pay1 --made-in-app" in str(refused.value.next_step)
        return
    scan = None
    if service.scheme is KaspiScheme.STANDARD:
        with pytest.raises(Refused, match="present") as refused:
            service.ready_to_refund("pay1")
        assert "procomp-pay refund pay1 --reason" in str(refused.value.next_step)
        scan = await _scanned(secure, service, ref)
    done = await service.refund(refund_of(ref, scan))
    assert done.state is RefundState.SUCCEEDED
    assert (await service.list_refunds(ref)).total == FEE


async def _scanned(secure: Secure, service: KaspiPaymentService, ref: ProviderRef) -> int:
    qr = await service.refunds().open_qr("refund1")
    assert not await service.refunds().is_scanned(qr)
    await secure.phone(qr.token, "scan")
    assert await service.refunds().is_scanned(qr)
    assert await service.refunds().is_theirs(qr, ref.provider_ref)
    assert not await service.refunds().is_theirs(qr, "19999999999")
    return qr.return_id


async def test_kaspi_denies_access_without_a_client_certificate(secure: Secure) -> None:
    files = TlsFiles(ca=Path(secure.tls["ca_cert"]))
    info = secure.sandbox.info()["kaspi"]
    service = KaspiPaymentService(
        kaspi_http(secure.tls["url"], files=files),
        scheme=KaspiScheme.STANDARD,
        device_token=info["device_token"],
        total_s=1,
    )
    with pytest.raises(ConfigurationError, match="-10000"):
        await service.check()
    await service.aclose()


async def test_kaspi_rejects_a_certificate_of_another_authority(secure: Secure, tmp_path: Path) -> None:
    cert, key = Authority("another").client().write(tmp_path, "stranger")
    given = TlsFiles(cert, key, ca=Path(secure.tls["ca_cert"]))
    http = kaspi_http(secure.tls["url"], files=given)
    service = KaspiPaymentService(http, scheme=KaspiScheme.STANDARD, total_s=0.1)
    with pytest.raises(ProviderUnavailable, match="TLS handshake") as error:
        await service.check()
    assert "KASPI_CLIENT_CERT" in str(error.value.next_step)
    await service.aclose()


async def test_nothing_is_sent_to_an_untrusted_server(secure: Secure, tmp_path: Path) -> None:
    other = tmp_path / "other.crt"
    other.write_bytes(Authority("another").pem)
    async with registry(secure.settings("basic", kaspi_ca_cert=other)) as providers:
        with pytest.raises(ConfigurationError, match="is not trusted") as error:
            await providers.kaspi().create(tenge_request(Channel.KASPI_QR))
        assert "KASPI_CA_CERT" in str(error.value.next_step)
    assert not (await secure.http.get("/_sandbox/kaspi/payments")).json()


async def test_new_files_are_used_without_a_restart(secure: Secure) -> None:
    """The bank's new certificate is installed while a call is running: no call is interrupted."""
    cert, key = Path(secure.tls["client_cert"]), Path(secure.tls["client_key"])
    issuer = secure.sandbox.tls
    assert issuer is not None
    new = issuer.authority.client("the new one", password=issuer.password)
    async with registry(secure.settings("standard")) as providers:
        service = providers.kaspi()
        slow = {"path": "/r2/v01/health/ping", "kind": "delay", "seconds": 0.8, "times": 1}
        assert (await secure.http.post("/_sandbox/faults", json=slow)).status_code < 300
        under_way = asyncio.create_task(service.check())
        await asyncio.sleep(0.3)
        cert.write_bytes(new.certificate)
        # the key does not belong to it yet: the former connection goes on
        assert await service.devices().trade_points()
        assert "the new one" not in await _certificates(secure)
        key.write_bytes(new.key)
        assert await service.devices().trade_points()
        assert (await _certificates(secure))[-1] == "the new one"
        assert "trade points" in await under_way


async def _certificates(secure: Secure) -> list[str]:
    lines = (await secure.http.get("/_sandbox/requests")).json()["requests"]
    return [line["certificate"] for line in lines]


def files(tmp_path: Path, authority: Authority, **changes: object) -> TlsFiles:
    password = changes.pop("password", None)
    made = authority.client(password=password if isinstance(password, str) else None, **changes)  # type: ignore[arg-type]
    cert, key = made.write(tmp_path, "client")
    ca = tmp_path / "ca.crt"
    ca.write_bytes(authority.pem)
    return TlsFiles(cert, key, password if isinstance(password, str) else None, ca)


def test_errors_of_certificate_files(tmp_path: Path) -> None:
    authority = Authority()
    good = files(tmp_path, authority, password="open sesame")
    assert make_context(good, now()).minimum_version.name == "TLSv1_2"
    assert good.cert is not None
    assert good.key is not None
    other = authority.client(password="open sesame").write(tmp_path, "other")[1]
    nothing = tmp_path / "nothing"
    text = tmp_path / "text"
    text.write_text("hello")
    wrong = {
        "password for the key in .* is wrong": TlsFiles(good.cert, good.key, "wrong", good.ca),
        "protected by a password": TlsFiles(good.cert, good.key, None, good.ca),
        "is not the key of": TlsFiles(good.cert, other, good.password, good.ca),
        "cannot be read": TlsFiles(nothing, good.key, good.password, good.ca),
        "key cannot be read|cannot be read": TlsFiles(good.cert, nothing, good.password, good.ca),
        "no certificate in PEM": TlsFiles(text, good.key, good.password, good.ca),
        "no private key": TlsFiles(good.cert, text, None, good.ca),
        "contains the certificate, but not its key": TlsFiles(good.cert, None, None, good.ca),
        "of an authority": TlsFiles(good.cert, good.key, good.password, text),
    }
    for words, item in wrong.items():
        with pytest.raises(ConfigurationError, match=words) as error:
            make_context(item, now())
        assert error.value.next_step
        assert "open sesame" not in f"{error.value.message}{item}"


def test_an_unneeded_password_is_ignored(tmp_path: Path) -> None:
    plain = files(tmp_path, Authority())
    make_context(TlsFiles(plain.cert, plain.key, "not needed", plain.ca), now())


@pytest.mark.parametrize(
    ("begins", "words"), [(timedelta(days=-400), "expired on"), (timedelta(days=2), "is not valid before")]
)
def test_a_certificate_is_rejected_outside_its_validity(
    tmp_path: Path, begins: timedelta, words: str
) -> None:
    given = files(tmp_path, Authority(), begins=now() + begins, life=timedelta(days=365))
    with pytest.raises(ConfigurationError, match=words):
        make_context(given, now())


@pytest.mark.parametrize(("days", "short"), [(400, False), (59, True)])
def test_expiry_of_the_certificate_is_reported_in_advance(
    secure: Secure, tmp_path: Path, days: int, short: bool
) -> None:
    given = files(tmp_path, Authority(), life=timedelta(days=days, hours=1))
    certificate = kaspi_certificate(secure.settings("standard", kaspi_client_cert=given.cert), now())
    assert certificate is not None
    assert (certificate.days_left, certificate.is_short) == (days, short)
    assert kaspi_certificate(secure.settings("basic"), now()) is None


def open_still(http: httpx.AsyncClient) -> bool:
    return not http.is_closed


async def test_the_old_client_is_closed_after_its_last_call(tmp_path: Path) -> None:
    watched = tmp_path / "file"
    watched.write_text("1")
    line = KaspiHttp(lambda: kaspi_http("http://127.0.0.1:9"), (watched,))
    async with line.client() as first:
        watched.write_text("22")
        async with line.client() as second:
            assert second is not first
        assert open_still(first)
    assert not open_still(first)
    async with line.client() as third:
        assert third is second
    await line.aclose()


@contextmanager
def tls_server(
    certificate: Issued, authority: Authority, version: ssl.TLSVersion, folder: Path
) -> Iterator[str]:
    """A server that demands a client certificate of this authority, and sends TLS alerts; yield its URL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(*certificate.write(folder, "server"))
    context.load_verify_locations(cadata=authority.pem.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    secured = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                    with secured, suppress(OSError):
                        try:
                            secured.do_handshake()
                        except ssl.SSLError:
                            # read what the client sends: a reset would discard the alert
                            while socket.socket.recv(secured, 4096):
                                pass

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("begins", "client", "match"),
    [
        (timedelta(), "another", "issued by an authority that the server does not know"),
        (timedelta(days=-400), "the same", "server has expired"),
        (timedelta(days=2), "the same", "server is not valid yet"),
    ],
)
async def test_the_cause_of_a_refused_certificate(
    tmp_path: Path, version: ssl.TLSVersion, begins: timedelta, client: str, match: str
) -> None:
    authority = Authority("Kaspi")
    life = timedelta(days=365)
    names = [x509.IPAddress(ip_address("127.0.0.1"))]
    server = authority._issue(
        "server", ExtendedKeyUsageOID.SERVER_AUTH, names=names, begins=now() + begins, life=life
    )
    given = files(tmp_path, authority if client == "the same" else Authority("another"))
    ca = tmp_path / "kaspi.crt"
    ca.write_bytes(authority.pem)
    with tls_server(server, authority, version, tmp_path) as url:
        http = kaspi_http(url, files=TlsFiles(given.cert, given.key, ca=ca))
        service = KaspiPaymentService(http, scheme=KaspiScheme.STANDARD, total_s=0.1)
        with pytest.raises(ConfigurationError, match=match):
            await service.check()
        await service.aclose()


@pytest.mark.parametrize(
    ("scheme", "words"),
    [
        (KaspiScheme.BASIC, "KASPI_API_KEY"),
        (KaspiScheme.STANDARD, "KASPI_CLIENT_CERT and KASPI_CLIENT_KEY"),
        (KaspiScheme.ENHANCED, "internet address"),
    ],
)
@pytest.mark.parametrize("status", [401, 403])
async def test_denied_access_names_what_the_scheme_needs(
    scheme: KaspiScheme, words: str, status: int
) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(status))
    http = httpx.AsyncClient(transport=transport, base_url="https://127.0.0.1")
    service = KaspiPaymentService(http, scheme=scheme, total_s=0.1)
    with pytest.raises(ConfigurationError, match=f"HTTP {status}") as error:
        await service.check()
    assert words in str(error.value.next_step)
    await service.aclose()
