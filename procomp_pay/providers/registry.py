"""Create providers from the settings at first use, so that no command imports a provider it does not need."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from procomp_pay.config import STRIPE_API, KaspiScheme, ProviderMode, Settings
from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.domain.states import Channel

if TYPE_CHECKING:
    from procomp_pay.providers.kaspi.service import KaspiPaymentService
    from procomp_pay.providers.kaspi.tls import CertificateLife, TlsFiles
    from procomp_pay.providers.protocol import PaymentProvider
    from procomp_pay.providers.resilience.circuit_breaker import Circuit
    from procomp_pay.providers.resilience.timing import Observe

#: The longest time of a call with its retries if the registry is not guarded, in seconds.
_SHORT_TOTAL_S = 2.0
_NO_SANDBOX = "for a first try: procomp-pay sandbox (in another terminal); for real: set "


class ProviderRegistry:
    """Stripe and Kaspi as configured.

    :param with_circuits: False for a single check (``doctor``): it ends within a few seconds, and no circuit
        breaker hides why a provider does not answer.
    """

    def __init__(self, settings: Settings, *, with_circuits: bool = True) -> None:
        self._settings, self._with_circuits = settings, with_circuits
        self._stripe: PaymentProvider | None = None
        self._kaspi: KaspiPaymentService | None = None
        self._circuits: dict[str, Circuit] = {}
        #: Called with every provider call, if set.
        self.observe: Observe | None = None

    def of(self, channel: Channel) -> PaymentProvider:
        """Return the provider of a channel.

        :raises ConfigurationError: the provider is not configured.
        """
        provider, name = (self.kaspi(), "kaspi") if channel.is_kaspi else (self.stripe(), "stripe")
        if self.observe is None:
            return provider
        from procomp_pay.providers.resilience.timing import timed

        return timed(provider, name, self.observe)

    def stripe(self) -> PaymentProvider:
        """Return the Stripe provider.

        :raises ConfigurationError: no key is set, and no sandbox is running.
        """
        if self._stripe is None:
            self._stripe = _make_stripe(self._settings, self._circuit("Stripe"), self._time_limit_s)
        return self._stripe

    def kaspi(self) -> KaspiPaymentService:
        """Return the Kaspi provider.

        :raises ConfigurationError: no key, address or device is set, and no sandbox is running.
        """
        if self._kaspi is None:
            self._kaspi = _make_kaspi(self._settings, self._circuit("Kaspi"), self._time_limit_s)
        return self._kaspi

    @property
    def stripe_mode(self) -> ProviderMode:
        """Return the mode of the Stripe key."""
        return self._settings.stripe_mode

    @property
    def circuits(self) -> list[Circuit]:
        """Return the circuit breakers of the providers used so far."""
        return list(self._circuits.values())

    def certificate(self, now: datetime) -> CertificateLife | None:
        """Return the validity of Kaspi's client certificate; see :func:`kaspi_certificate`."""
        return kaspi_certificate(self._settings, now)

    @property
    def _time_limit_s(self) -> float:
        from procomp_pay.providers.resilience.retry import TOTAL_S

        return TOTAL_S if self._with_circuits else _SHORT_TOTAL_S

    def _circuit(self, name: str) -> Circuit | None:
        if not self._with_circuits:
            return None
        from procomp_pay.providers.resilience.circuit_breaker import Circuit

        return self._circuits.setdefault(name, Circuit(name))

    async def aclose(self) -> None:
        for provider in (self._stripe, self._kaspi):
            if provider is not None:
                await provider.aclose()


def _make_stripe(settings: Settings, circuit: Circuit | None, total_s: float) -> PaymentProvider:
    if settings.stripe_mode is ProviderMode.OFF or settings.stripe_secret_key is None:
        raise ConfigurationError("Stripe is not configured", next_step=f"{_NO_SANDBOX}STRIPE_SECRET_KEY")
    from procomp_pay.providers.stripe.service import StripePaymentService

    return StripePaymentService(
        settings.stripe_secret_key.get_secret_value(),
        api_base=settings.stripe_api_base or STRIPE_API,
        total_s=total_s,
        circuit=circuit,
    )


def _make_kaspi(settings: Settings, circuit: Circuit | None, total_s: float) -> KaspiPaymentService:
    _check_complete(settings)
    from procomp_pay.providers.kaspi.http import KaspiHttp, kaspi_http
    from procomp_pay.providers.kaspi.service import KaspiPaymentService
    from procomp_pay.providers.resilience.rate_limit import RateLimit

    url, scheme, token = str(settings.kaspi_api_url), settings.kaspi_scheme, settings.kaspi_device_token
    key = settings.kaspi_api_key.get_secret_value() if settings.kaspi_api_key else None
    bearer = {"Authorization": f"Bearer {key}"} if scheme is KaspiScheme.GATEWAY else None
    api_key = key if scheme is KaspiScheme.BASIC else None
    files = tls_files(settings)
    line = KaspiHttp(lambda: kaspi_http(url, headers=bearer, api_key=api_key, files=files), files.paths)
    return KaspiPaymentService(
        line,
        scheme=scheme,
        device_token=token.get_secret_value() if token else "",
        organization_bin=settings.kaspi_organization_bin,
        url=url,
        total_s=total_s,
        circuit=circuit,
        rate_limit=RateLimit(settings.kaspi_requests_per_second),
    )


def _check_complete(settings: Settings) -> None:
    """Check that every setting of the scheme is there.

    :raises ConfigurationError: nothing is configured, or a setting that the scheme needs is missing.
    """
    needed = _needed(settings)
    missing = ", ".join(name for name, value in needed.items() if value is None)
    if missing and all(value is None for value in needed.values()):
        raise ConfigurationError("Kaspi is not configured", next_step=f"{_NO_SANDBOX}{missing}")
    if missing:
        how = f"set {missing}"
        if missing == "KASPI_DEVICE_TOKEN":
            how += "; a new one: procomp-pay kaspi devices register"
        raise ConfigurationError(f"Kaspi's scheme {settings.kaspi_scheme} needs {missing}", next_step=how)


def _needed(settings: Settings) -> dict[str, object]:
    """Return the settings that a scheme requires."""
    scheme = settings.kaspi_scheme
    needed: dict[str, object] = {"KASPI_API_URL": settings.kaspi_api_url}
    if scheme is not KaspiScheme.GATEWAY:
        needed["KASPI_DEVICE_TOKEN"] = settings.kaspi_device_token
    if scheme.uses_client_certificate:
        needed["KASPI_CLIENT_CERT"] = settings.kaspi_client_cert
    else:
        needed["KASPI_API_KEY"] = settings.kaspi_api_key
    if scheme is KaspiScheme.ENHANCED:
        needed["KASPI_ORGANIZATION_BIN"] = settings.kaspi_organization_bin
    return needed


def tls_files(settings: Settings) -> TlsFiles:
    """Return the configured files of mutual TLS; a scheme without a client certificate has none."""
    from procomp_pay.providers.kaspi.tls import TlsFiles

    if not settings.kaspi_scheme.uses_client_certificate:
        return TlsFiles(ca=settings.kaspi_ca_cert)
    password = settings.kaspi_client_key_password
    return TlsFiles(
        cert=settings.kaspi_client_cert,
        key=settings.kaspi_client_key,
        password=password.get_secret_value() if password else None,
        ca=settings.kaspi_ca_cert,
    )


def kaspi_certificate(settings: Settings, now: datetime) -> CertificateLife | None:
    """Return the validity of Kaspi's client certificate; ``None`` if none is configured. For metrics, the
    log and ``doctor``.

    :raises ConfigurationError: the file cannot be read.
    """
    from procomp_pay.providers.kaspi.tls import certificate_life

    cert = tls_files(settings).cert
    return None if cert is None else certificate_life(cert, now)
