"""The checks of ``doctor``. Each reports what it found and what to do; none changes anything."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from procomp_pay.config import (
    STRIPE_API,
    KaspiScheme,
    ProviderMode,
    Settings,
    load_settings,
    sandbox_run_file,
)
from procomp_pay.domain.errors import ConfigurationError, PaymentError

if TYPE_CHECKING:
    from procomp_pay.providers.protocol import PaymentProvider

#: Seconds of clock skew that are harmless. Stripe signatures older than five minutes are refused.
_SKEW_S = 60
_HTTP_S = 5.0
#: How alike a setting a variable's name must be (0 to 1) to be taken for a misspelling of it.
_ALIKE = 0.88
_NEW_CERTIFICATE = "request a new one from Kaspi and replace its files; no restart is needed"


@dataclass(frozen=True, slots=True)
class Check:
    """The result of a check: ``ok``, ``warn`` or ``fail``, and the exit code it asks for."""

    name: str
    state: str
    found: str
    next_step: str | None = None
    exit_code: int = 0

    def full(self) -> dict[str, Any]:
        return {"name": self.name, "state": self.state, "found": self.found, "next_step": self.next_step}


def _failed(name: str, error: PaymentError) -> Check:
    """Return an error as a failed check."""
    code = 7 if isinstance(error, ConfigurationError) else 5
    return Check(name, "fail", error.message, error.next_step, code)


def examine() -> list[Check]:
    """Run all checks, in the order in which problems should be fixed."""
    checks = [_python()]
    try:
        settings = load_settings()
    except ConfigurationError as error:
        return [*checks, _failed("settings", error)]
    checks += [_settings(settings), *_misspelt(), _data_directory(settings), *_database(settings)]
    checks += [*_replica(settings), _encryption(settings), *asyncio.run(_providers(settings))]
    checks += [_webhook_secret(settings), *_callbacks(settings), _tokens(settings), *_server(settings)]
    return [*checks, *_time_zone(), *_notifications(settings)]


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < (3, 11):  # noqa: UP036 - an old version may be on the path
        return Check("Python", "fail", version, "install Python 3.11 or newer", 7)
    return Check("Python", "ok", version)


def _settings(settings: Settings) -> Check:
    names = {name.upper() for name in type(settings).model_fields}
    variables = sorted(name for name in names if os.environ.get(name))
    sources = [f"environment ({', '.join(variables)})"] if variables else []
    if Path(".env").is_file():
        sources.append(f"the file {Path('.env').resolve()}")
    if sandbox_run_file(settings).is_file() and ProviderMode.SANDBOX in (
        settings.stripe_mode,
        settings.kaspi_mode,
    ):
        sources.append(f"the sandbox's {sandbox_run_file(settings)}")
    return Check("settings", "ok", "; ".join(sources) or "built-in defaults")


def _misspelt() -> Iterator[Check]:
    """Warn of variables that look like a setting and are none: they would have no effect."""
    from dotenv import dotenv_values

    settings = [name.upper() for name in Settings.model_fields]
    given = {name.upper() for name in (*os.environ, *dotenv_values(".env"))}
    for name in sorted(given - set(settings)):
        if alike := get_close_matches(name, settings, n=1, cutoff=_ALIKE):
            how = f"write {alike[0]}, if it is meant for procomp-pay: doctor --explain {alike[0]}"
            yield Check("settings", "warn", f"{name} is not a setting and has no effect", how)


def _server(settings: Settings) -> Iterator[Check]:
    """Report what would keep ``serve`` from starting, and an address that phones cannot use safely."""
    from procomp_pay.config.delivery import is_loopback
    from procomp_pay.server.app import SETTINGS_CHECKS

    failed = []
    for check in SETTINGS_CHECKS:
        try:
            check(settings)
        except ConfigurationError as error:
            failed.append(_failed("HTTP server", error))
    address = urlsplit(settings.base_url)
    is_local = is_loopback(address.hostname or "")
    if address.scheme == "http" and not is_local:
        found = "PUBLIC_BASE_URL begins with http://: links to customers' pages cross the network unencrypted"
        failed.append(Check("HTTP server", "warn", found, "put the server behind https, and write https://"))
    who = "only this computer reaches" if is_local else "phones reach"
    yield from failed or [Check("HTTP server", "ok", f"{who} it at {settings.base_url}")]


def _time_zone() -> Iterator[Check]:
    """Report a time zone that ``report`` would refuse."""
    from procomp_pay.cli.framework.time_zone import time_zone

    try:
        time_zone()
    except PaymentError as error:
        yield Check("time zone", "fail", f"REPORT_TIMEZONE: {error.message}", error.next_step, 7)


def _data_directory(settings: Settings) -> Check:
    home, name = settings.home, "data directory"
    if not home.exists():
        return Check(name, "ok", f"{home} is created at first use")
    if not os.access(home, os.W_OK | os.X_OK):
        return Check(
            name, "fail", f"{home} is not writable", f"chown or chmod {home}, or set PROCOMP_HOME", 7
        )
    open_files = [path for path in _private_files(home) if path.stat().st_mode & 0o077]
    if open_files and os.name == "posix":
        rights = ", ".join(f"{p.name} ({stat.S_IMODE(p.stat().st_mode):04o})" for p in open_files)
        command = f"chmod 600 {' '.join(str(path) for path in open_files)}"
        return Check(name, "fail", f"other users can read {rights} in {home}", command, 7)
    return Check(name, "ok", str(home))


def _private_files(home: Path) -> Iterator[Path]:
    for name in ("procomp-pay.key", "procomp-pay.sqlite3", "sandbox.json"):
        if (home / name).is_file():
            yield home / name


def _database(settings: Settings) -> list[Check]:
    from procomp_pay.cli.operations.database import examine as examine_database
    from procomp_pay.cli.operations.database import platform_notes
    from procomp_pay.storage.database import urls

    name = "database"
    try:
        where = urls.describe(urls.parse(settings.url))
        path = urls.sqlite_path(urls.parse(settings.url)) if settings.is_embedded else None
        if path is not None and not path.exists():
            return [Check(name, "ok", f"{where} is created at first use")]
        database = examine_database(settings.url)
    except PaymentError as error:
        return [_failed(name, error)]
    if database["pending"]:
        pending = ", ".join(database["pending"])
        return [Check(name, "fail", f"{where} is missing revision {pending}", "procomp-pay db upgrade", 5)]
    checks = [Check(name, "ok", f"{where}, revision {database['revision']}")]
    notes = platform_notes(database)
    if database["platform_faults"]:
        return checks + [Check("platform", "fail", note, step, 7) for note, step in notes]
    return checks + [Check("platform", "warn", note, step) for note, step in notes]


def _replica(settings: Settings) -> Iterator[Check]:
    """Check the database that ``report`` and ``list`` read from, where it is another one."""
    if settings.database_read_url is None:
        return
    url = settings.database_read_url.get_secret_value()
    for check in _database(settings.model_copy(update={"database_url": settings.database_read_url})):
        if check.name == "database":
            step = check.next_step and check.next_step.replace("DATABASE_URL", "DATABASE_READ_URL")
            yield replace(check, name="replica", next_step=step)
    if url == settings.url:
        yield Check("replica", "warn", "it is the database itself", "leave DATABASE_READ_URL out")


def _encryption(settings: Settings) -> Check:
    from procomp_pay.services.bootstrap import keyring_for

    key_file = settings.home / "procomp-pay.key"
    try:
        if settings.encryption_keys is None and settings.is_embedded and not key_file.exists():
            return Check("encryption", "ok", f"the key file {key_file} is created at first use")
        keyring_for(settings)
    except PaymentError as error:
        return _failed("encryption", error)
    source = "ENCRYPTION_KEYS" if settings.encryption_keys is not None else f"the key file {key_file}"
    return Check("encryption", "ok", source)


async def _providers(settings: Settings) -> list[Check]:
    from procomp_pay.providers.registry import ProviderRegistry

    registry = ProviderRegistry(settings, with_circuits=False)
    try:
        modes = (settings.stripe_mode, settings.kaspi_mode)
        has_one = any(mode is not ProviderMode.OFF for mode in modes)
        return [
            await _provider("Stripe", settings.stripe_mode, registry.stripe, may_be_off=has_one),
            await _provider("Kaspi", settings.kaspi_mode, registry.kaspi, may_be_off=has_one),
            *_kaspi_certificate(settings),
            await _clock(settings),
        ]
    finally:
        await registry.aclose()


async def _provider(name: str, mode: ProviderMode, make: Any, *, may_be_off: bool) -> Check:
    """
    :param may_be_off: the other provider is configured, so that this one need not be.
    """
    if mode is ProviderMode.OFF and may_be_off:
        return Check(name, "ok", "not configured: its methods are not offered")
    try:
        provider: PaymentProvider = make()
        answer = await provider.check()
    except PaymentError as error:
        return _failed(name, error)
    if mode is ProviderMode.SANDBOX:
        return Check(name, "warn", f"SANDBOX, no real money moves; {answer}")
    if mode is ProviderMode.TEST:
        return Check(name, "warn", f"TEST KEYS, no real money moves; {answer}")
    return Check(name, "ok", f"LIVE; {answer}")


def _kaspi_certificate(settings: Settings) -> list[Check]:
    """Check how long Kaspi's certificate is valid; return nothing if none is configured."""
    from procomp_pay.providers import registry

    name = "certificate"
    try:
        life = registry.kaspi_certificate(settings, datetime.now(UTC))
    except ConfigurationError as error:
        return [_failed(name, error)]
    if life is None:
        return []
    if life.days_left < 0:
        return [Check(name, "fail", life.sentence, _NEW_CERTIFICATE, 7)]
    return [
        Check(name, "warn", life.sentence, _NEW_CERTIFICATE)
        if life.is_short
        else Check(name, "ok", life.sentence)
    ]


def _callbacks(settings: Settings) -> Iterator[Check]:
    """Report whose calls to ``/webhooks/kaspi`` are accepted: by signature or by address."""
    if settings.kaspi_mode is ProviderMode.OFF:
        return
    name, networks = "callbacks", ", ".join(str(network) for network in settings.callback_networks)
    if settings.kaspi_scheme is not KaspiScheme.GATEWAY:
        description = f"bills are accepted from {networks or 'no address (KASPI_CALLBACK_ALLOW)'}"
        yield Check(name, "ok", description)
    elif settings.kaspi_api_secret is None:
        how = "set KASPI_API_SECRET to the gateway's signing secret; until then payments are polled"
        yield Check(name, "warn", "the gateway's are refused: their signature cannot be verified", how)
    else:
        yield Check(name, "ok", f"the gateway's are accepted by signature, from {networks or 'any address'}")


async def _clock(settings: Settings) -> Check:
    """Compare the clock with the Date header that Stripe's server sends with every response."""
    import httpx

    if settings.stripe_mode is ProviderMode.OFF:
        return Check("clock", "ok", "not compared: Stripe is not configured")
    try:
        async with httpx.AsyncClient(timeout=_HTTP_S) as http:
            answer = await http.head(settings.stripe_api_base or STRIPE_API)
    except httpx.HTTPError:
        return Check("clock", "warn", "not compared: Stripe does not answer")
    skew = _skew_s(answer.headers.get("Date"))
    if skew is None:
        return Check("clock", "warn", "not compared: the response has no Date")
    if abs(skew) > _SKEW_S:
        difference = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} Stripe's"
        return Check(
            "clock", "fail", f"this computer's clock is {difference}", "turn on time synchronisation", 7
        )
    return Check("clock", "ok", f"within {max(2, abs(skew)):.0f} s of Stripe's")


def _skew_s(date: str | None) -> float | None:
    from email.utils import parsedate_to_datetime

    try:
        return (datetime.now(UTC) - parsedate_to_datetime(date or "")).total_seconds()
    except (TypeError, ValueError):
        return None


def _webhook_secret(settings: Settings) -> Check:
    count = len(settings.webhook_secrets)
    if settings.stripe_mode is ProviderMode.OFF:
        return Check("webhook secret", "ok", "not needed: Stripe is not configured")
    if not count:
        how = "copy it from Stripe's dashboard into STRIPE_WEBHOOK_SECRET; until then payments are polled"
        return Check("webhook secret", "warn", "not set: `serve` refuses Stripe's webhooks", how)
    return Check("webhook secret", "ok", "set" if count == 1 else f"{count} set (rotation)")


def _tokens(settings: Settings) -> Check:
    from procomp_pay.server.auth import keys as jwt_keys

    is_set = settings.jwt_secret or settings.jwt_public_key or settings.jwt_jwks_url
    if not is_set and not settings.is_embedded:
        how = "set JWT_SECRET, JWT_PUBLIC_KEY or JWT_JWKS_URL before: procomp-pay serve"
        return Check("JWT", "warn", "not set: only `serve` needs it", how)
    try:
        plan = jwt_keys.plan(settings)
        if plan.kind is jwt_keys.Kind.SECRET:
            jwt_keys.check_secret(settings)
        elif plan.kind is jwt_keys.Kind.PUBLIC_KEY:
            jwt_keys.public_key(settings, plan.algorithm)
        elif plan.kind is jwt_keys.Kind.JWKS:
            jwt_keys.jwks_url(settings)
    except PaymentError as error:
        return _failed("JWT", error)
    if plan.kind is jwt_keys.Kind.JWKS and settings.jwt_audience is None:
        found = f"{plan.kind}, {plan.algorithm}; also its tokens for other services are taken"
        return Check(
            "JWT", "warn", found, "set JWT_AUDIENCE to the aud of tokens that are meant for procomp-pay"
        )
    return Check("JWT", "ok", f"{plan.kind}, {plan.algorithm}")


def _notifications(settings: Settings) -> Iterator[Check]:
    """Report which notifications are configured. Nothing is sent; ``outbox test`` does that."""
    from procomp_pay.config.delivery import mail_server

    quiet = "warn" if settings.is_live else "ok"
    try_it = "try it: procomp-pay outbox test"
    if settings.smtp_url is None:
        yield Check("letters", quiet, "not configured (SMTP_URL): participants get no e-mails")
    else:
        server = mail_server(settings.smtp_url.get_secret_value())
        login = "with a login" if server.user else "without a login"
        description = f"{settings.mail_from} by {server.host}:{server.port}, {server.encryption}, {login}"
        yield Check(
            "letters", "ok", f"{description}; language {settings.mail_language}", f"{try_it} --to ADDRESS"
        )
    if settings.platform_webhook_url is None:
        yield Check(
            "webhook out", "ok", "not configured (PLATFORM_WEBHOOK_URL): the platform gets no webhooks"
        )
    else:
        host = urlsplit(settings.platform_webhook_url).netloc.rpartition("@")[2]
        yield Check("webhook out", "ok", f"signed, to {host}", try_it)
    given = ["a chat (ALERT_WEBHOOK_URL)"] if settings.alert_webhook_url else []
    given += [settings.alert_mail_to] if settings.alert_mail_to else []
    if not given:
        how = "set ALERT_WEBHOOK_URL or ALERT_MAIL_TO"
        unconfigured = "not configured: nobody is alerted to duplicate payments, disputes or stalled work"
        yield Check("alerts", quiet, unconfigured, how)
    else:
        yield Check("alerts", "ok", f"to {' and '.join(given)}", try_it)
