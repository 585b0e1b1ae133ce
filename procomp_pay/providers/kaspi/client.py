"""Call Kaspi or a gateway: within the rate limit, through the circuit breaker, with failures classified."""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import simplejson

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import (
    ConfigurationError,
    NotFound,
    OutcomeUnknown,
    PaymentError,
    ProviderUnavailable,
)
from procomp_pay.domain.text import N_
from procomp_pay.providers.kaspi.http import KaspiHttp
from procomp_pay.providers.kaspi.wire import read_envelope
from procomp_pay.providers.resilience.retry import NOT_SENT, TOTAL_S, whole_answer, with_retries

if TYPE_CHECKING:
    from procomp_pay.providers.resilience.circuit_breaker import Circuit
    from procomp_pay.providers.resilience.rate_limit import RateLimit

T = TypeVar("T")

_FOR_THIS_HOST = "if it persists, check that the certificate in KASPI_CLIENT_CERT is the one for this host"
PATHS = {KaspiScheme.BASIC: "r1", KaspiScheme.STANDARD: "r2", KaspiScheme.ENHANCED: "r3"}


class NoSuchCall(NotFound):
    """The host does not have this call."""


class Exchange:
    """Send one request and read its answer.

    :param circuit: ``None`` for a single check that must not be held back (``doctor``), and in tests.
    """

    def __init__(
        self, line: KaspiHttp, *, circuit: Circuit | None = None, rate_limit: RateLimit | None = None
    ) -> None:
        self._line = line
        self.circuit = circuit
        self._rate_limit = rate_limit

    async def ask(self, method: str, path: str, read: Callable[[httpx.Response], T], **options: Any) -> T:
        """Send a request, and return what ``read`` makes of the answer.

        :raises ProviderUnavailable: nothing was sent. :raises OutcomeUnknown: no answer was received.
        :raises PaymentError: raised by ``read``.
        """

        async def attempt() -> T:
            if self._rate_limit is not None:
                await self._rate_limit.wait()
            try:
                async with self._line.client() as http:
                    answer = await whole_answer(http.request(method, path, **options))
            except (httpx.HTTPError, OSError) as error:  # httpx passes on a TLS alert that it reads late
                raise _transport_error(error) from error
            return read(answer)

        return await attempt() if self.circuit is None else await self.circuit(attempt)

    async def aclose(self) -> None:
        await self._line.aclose()


class KaspiCalls:
    """Calls of Kaspi's Public QR API, for a device and, in scheme enhanced, an organisation."""

    def __init__(
        self,
        exchange: Exchange,
        *,
        scheme: KaspiScheme,
        device_token: str,
        organization_bin: str | None,
        total_s: float = TOTAL_S,
    ) -> None:
        self._exchange = exchange
        self.scheme = scheme
        self.device_token = device_token
        self.organization_bin = organization_bin
        self._total_s = total_s

    async def get(
        self, path: str, query: Mapping[str, str] | None = None, *, version: str = "v01"
    ) -> Mapping[str, Any]:
        """Send a GET request, with retries.

        :raises NoSuchCall: the host does not have this newer version of the call.
        """
        return await with_retries(
            lambda: self._send("GET", path, version=version, params=query),
            idempotent=True,
            total_s=self._total_s,
            circuit=self._exchange.circuit,
        )

    async def post(self, path: str, body: Mapping[str, Any], *, again: bool = True) -> Mapping[str, Any]:
        """Send a POST request.

        :param again: retry if Kaspi reports that nothing was done; otherwise send exactly once.
        """
        document = dict(body)
        if self.scheme is KaspiScheme.ENHANCED:
            document["OrganizationBin"] = self.organization_bin
        content = simplejson.dumps(document, use_decimal=True)
        if not again:
            return await self._send("POST", path, content=content)
        return await with_retries(
            lambda: self._send("POST", path, content=content),
            idempotent=False,
            total_s=self._total_s,
            circuit=self._exchange.circuit,
        )

    async def _send(
        self, method: str, path: str, *, version: str = "v01", **options: Any
    ) -> Mapping[str, Any]:
        def read(answer: httpx.Response) -> Mapping[str, Any]:
            if answer.status_code == 404 and version != "v01":
                raise NoSuchCall("Kaspi does not have this call")
            if answer.status_code in (401, 403):
                raise _denied(answer.status_code, self.scheme)
            if answer.status_code == 400 and b"SSL certificate" in answer.content:  # nginx in front of Kaspi
                raise ConfigurationError(
                    "Kaspi's server does not accept our client certificate", next_step=_FOR_THIS_HOST
                )
            return read_envelope(answer.status_code, answer.content, answer.headers.get("Retry-After"))

        headers = {"X-Request-ID": str(uuid.uuid4()), "Content-Type": "application/json"}
        where = f"/{PATHS[self.scheme]}/{version}{path}"
        return await self._exchange.ask(method, where, read, headers=headers, **options)


def _transport_error(error: httpx.HTTPError | OSError) -> PaymentError:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _untrusted(cause)
        if isinstance(cause, ssl.SSLError) and (why := _about_ours(cause)) is not None:
            return ConfigurationError(
                f"Kaspi's server does not accept our client certificate: {why}", next_step=_FOR_THIS_HOST
            )
    if isinstance(error, NOT_SENT) and any(isinstance(cause, ssl.SSLError) for cause in _causes(error)):
        return ProviderUnavailable(
            "Kaspi aborted the TLS handshake, as servers do for a client certificate of another authority",
            next_step=_FOR_THIS_HOST,
        )
    if isinstance(error, NOT_SENT):
        return ProviderUnavailable(N_("Kaspi cannot be reached"), next_step=N_("try again in a minute"))
    return OutcomeUnknown(
        N_("Kaspi did not answer"), next_step=N_("nothing is lost: procomp-pay maintain follows it up")
    )


def _untrusted(error: ssl.SSLCertVerificationError) -> ConfigurationError:
    """Return why the server's certificate is not accepted; the codes are OpenSSL's (X509_V_ERR_…)."""
    if error.verify_code in (9, 10):
        when = "has expired" if error.verify_code == 10 else "is not valid yet"
        return ConfigurationError(
            f"The certificate of Kaspi's server {when}, by this computer's clock",
            next_step="check the date of this computer; if it is right, tell your Kaspi manager",
        )
    if error.verify_code in (62, 64):
        return ConfigurationError(
            "The certificate of Kaspi's server is for another host",
            next_step="check that KASPI_API_URL is the address that Kaspi gave you",
        )
    return ConfigurationError(
        "The certificate of Kaspi's server is not trusted",
        next_step="set KASPI_CA_CERT to Kaspi's root certificate (kbs_root_ca.crt)",
    )


def _about_ours(error: ssl.SSLError) -> str | None:
    """Return what the server's TLS alert says about our certificate: the request was not read. ``None`` if it
    is no such alert.
    """
    text = str(error).upper().replace("_", " ")
    if "ALERT" not in text:
        return None
    if "UNKNOWN CA" in text:
        return "it was issued by an authority that the server does not know"
    if "CERTIFICATE REQUIRED" in text:
        return "none was sent"
    for name in ("EXPIRED", "REVOKED"):
        if name in text:
            return f"it is {name.lower()}"
    return "it is not the right one" if "CERTIFICATE" in text else None


def _denied(status: int, scheme: KaspiScheme) -> ConfigurationError:
    """Return the error for HTTP 401 or 403, by what the scheme proves its right with."""
    step = {
        KaspiScheme.BASIC: "check KASPI_API_KEY: the test host and the real one have keys of their own",
        KaspiScheme.STANDARD: "check KASPI_CLIENT_CERT and KASPI_CLIENT_KEY",
    }.get(
        scheme,
        "check KASPI_CLIENT_CERT, and that Kaspi has the internet address of this computer on its list",
    )
    return ConfigurationError(
        f"Kaspi denies access (HTTP {status})", next_step=f"{step}; then: procomp-pay doctor"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    for _ in range(10):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or cause.__context__
