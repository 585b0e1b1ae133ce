"""The doctor's checks of what is Kaspi's alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from procomp_pay.cli.operations.check import Check, failed
from procomp_pay.config import KaspiScheme, ProviderMode, Settings
from procomp_pay.domain.errors import ConfigurationError

NEW_CERTIFICATE = "ask Kaspi for a new one and put its files in place; nothing needs to be restarted"


def kaspi_certificate(settings: Settings) -> list[Check]:
    """How long it holds; nothing where none is configured."""
    from procomp_pay.providers import registry

    name = "certificate"
    try:
        life = registry.kaspi_certificate(settings, datetime.now(UTC))
    except ConfigurationError as error:
        return [failed(name, error)]
    if life is None:
        return []
    if life.days_left < 0:
        return [Check(name, "fail", life.sentence, NEW_CERTIFICATE, 7)]
    return [
        Check(name, "warn", life.sentence, NEW_CERTIFICATE)
        if life.is_short
        else Check(name, "ok", life.sentence)
    ]


def callbacks(settings: Settings) -> Iterator[Check]:
    """Whose calls to ``/webhooks/kaspi`` are taken: a gateway's by signature, Kaspi's bills by address."""
    if settings.kaspi_mode is ProviderMode.OFF:
        return
    name, networks = "callbacks", ", ".join(str(each) for each in settings.callback_networks)
    if settings.kaspi_scheme is not KaspiScheme.GATEWAY:
        found = f"Kaspi's bills are taken from {networks or 'nobody (KASPI_CALLBACK_ALLOW)'}"
        yield Check(name, "ok", found)
    elif settings.kaspi_api_secret is None:
        how = "set KASPI_API_SECRET to what the gateway signs with; until then payments are polled"
        yield Check(name, "warn", "the gateway's are refused: their signature cannot be checked", how)
    else:
        yield Check(name, "ok", f"the gateway's are taken by their signature, from {networks or 'anywhere'}")
