"""Make the provider behind a channel from the settings, at first use: no command pays for another one."""

from __future__ import annotations

from procomp_pay.config import STRIPE_API, KaspiScheme, ProviderMode, Settings
from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.domain.states import Channel
from procomp_pay.providers.base import PaymentProvider
from procomp_pay.providers.observed import Observe, observed

_NO_SANDBOX = "for a first try: procomp-pay sandbox (in another terminal); for real: set "


class ProviderRegistry:
    """Stripe and Kaspi as configured."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stripe: PaymentProvider | None = None
        self._kaspi: PaymentProvider | None = None
        #: Told of every call, where somebody wants to know.
        self.observe: Observe | None = None

    def of(self, channel: Channel) -> PaymentProvider:
        """
        :raises ConfigurationError: the provider is not configured.
        """
        found, name = (self.kaspi(), "kaspi") if channel.is_kaspi else (self.stripe(), "stripe")
        return found if self.observe is None else observed(found, name, self.observe)

    def stripe(self) -> PaymentProvider:
        """
        :raises ConfigurationError: no key is set and no sandbox has left its run file.
        """
        if self._stripe is None:
            self._stripe = _make_stripe(self._settings)
        return self._stripe

    def kaspi(self) -> PaymentProvider:
        """
        :raises ConfigurationError: no key, address or device is set and no sandbox has left its run file.
        """
        if self._kaspi is None:
            self._kaspi = _make_kaspi(self._settings)
        return self._kaspi

    async def aclose(self) -> None:
        for provider in (self._stripe, self._kaspi):
            if provider is not None:
                await provider.aclose()


def _make_stripe(settings: Settings) -> PaymentProvider:
    if settings.stripe_mode is ProviderMode.OFF or settings.stripe_secret_key is None:
        raise ConfigurationError("Stripe is not configured", next_step=f"{_NO_SANDBOX}STRIPE_SECRET_KEY")
    from procomp_pay.providers.stripe import StripePaymentService

    return StripePaymentService(
        settings.stripe_secret_key.get_secret_value(), api_base=settings.stripe_api_base or STRIPE_API
    )


def _make_kaspi(settings: Settings) -> PaymentProvider:
    needed = {
        "KASPI_API_URL": settings.kaspi_api_url,
        "KASPI_DEVICE_TOKEN": settings.kaspi_device_token,
    }
    if settings.kaspi_scheme is KaspiScheme.BASIC:
        needed["KASPI_API_KEY"] = settings.kaspi_api_key
    else:
        needed["KASPI_ORGANIZATION_BIN"] = settings.kaspi_organization_bin
        needed["KASPI_CLIENT_CERT"] = settings.kaspi_client_cert  # type: ignore[assignment]
        needed["KASPI_CLIENT_KEY"] = settings.kaspi_client_key  # type: ignore[assignment]
    missing = [name for name, value in needed.items() if value is None]
    if missing:
        raise ConfigurationError("Kaspi is not configured", next_step=f"{_NO_SANDBOX}{', '.join(missing)}")
    from procomp_pay.providers.kaspi import KaspiPaymentService, kaspi_http

    cert, key = settings.kaspi_client_cert, settings.kaspi_client_key
    http = kaspi_http(
        str(settings.kaspi_api_url),
        api_key=settings.kaspi_api_key.get_secret_value() if settings.kaspi_api_key else None,
        cert=(str(cert), str(key)) if cert and key else None,
    )
    token = settings.kaspi_device_token
    return KaspiPaymentService(
        http,
        scheme=settings.kaspi_scheme,
        device_token=token.get_secret_value() if token else "",
        organization_bin=settings.kaspi_organization_bin,
    )
