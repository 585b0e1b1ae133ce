"""Settings from the environment, then ``.env``, then built-in defaults.

Without a provider's key, the settings use the local sandbox if it runs: its run file (written by
``procomp-pay sandbox``, mode 0600) holds its address and its keys.
"""

from __future__ import annotations

import ipaddress
import json
import re
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from platformdirs import user_data_path
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from procomp_pay.config import delivery, platform_map
from procomp_pay.domain.errors import ConfigurationError, PaymentError
from procomp_pay.domain.language import Language
from procomp_pay.domain.money import Money
from procomp_pay.domain.operators import Limits
from procomp_pay.domain.retention import (
    LEAST_EVENT_DAYS,
    LEAST_KEY_DAYS,
    LEAST_MESSAGE_DAYS,
    LEAST_PAYLOAD_DAYS,
    Retention,
)

STRIPE_API = "https://api.stripe.com"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_RUN_FILE_KEYS = ("url", "stripe_secret_key", "webhook_secret", "kaspi_api_key", "kaspi_device_token")
#: The first label of Kaspi's test host.
_TEST_HOSTS = ("mtokentest.",)
#: Days.
_CENTURY = 36_500
_LIVE_PREFIXES = ("sk_live_", "rk_live_", "prod_")


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ProviderMode(StrEnum):
    """The environment that a provider's settings select; shown by ``doctor``, ``/health`` and every
    banner.
    """

    LIVE = "live"
    TEST = "test"
    SANDBOX = "sandbox"
    OFF = "off"


class KaspiScheme(StrEnum):
    """The contract with Kaspi, which decides what its API offers us."""

    BASIC = "basic"
    STANDARD = "standard"
    ENHANCED = "enhanced"
    GATEWAY = "gateway"

    @property
    def uses_client_certificate(self) -> bool:
        """True where mutual TLS authenticates us instead of a key."""
        return self in (KaspiScheme.STANDARD, KaspiScheme.ENHANCED)


class LogFormat(StrEnum):
    """The format of log lines."""

    JSON = "json"
    CONSOLE = "console"


class JwtAlgorithm(StrEnum):
    """The algorithm that the platform signs its tokens with (RFC 7518, RFC 8037)."""

    HS256 = "HS256"
    RS256 = "RS256"
    ES256 = "ES256"
    EDDSA = "EdDSA"

    @classmethod
    def _missing_(cls, value: object) -> JwtAlgorithm | None:
        """Return EdDSA for ``Ed25519``, its name since RFC 9864."""
        return cls.EDDSA if value == "Ed25519" else None


class Settings(BaseSettings):
    """All settings. ``repr`` never shows secrets."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    procomp_home: Path | None = None
    database_url: SecretStr | None = None
    #: A replica, from which ``report`` and ``list`` read. It lags, so nothing is decided by it.
    database_read_url: SecretStr | None = None
    #: A TOML file with the platform's names of its tables; see :mod:`procomp_pay.config.platform_map`.
    platform_map: Path | None = None
    log_level: str = "INFO"
    #: By default JSON, or console lines where stderr is a terminal.
    log_format: LogFormat | None = None

    stripe_secret_key: SecretStr | None = None
    stripe_webhook_secret: SecretStr | None = None
    stripe_api_base: str | None = None

    kaspi_api_key: SecretStr | None = None
    kaspi_api_secret: SecretStr | None = None
    kaspi_api_url: str | None = None
    kaspi_scheme: KaspiScheme = KaspiScheme.BASIC
    kaspi_device_token: SecretStr | None = None
    kaspi_trade_point_id: int | None = None
    kaspi_organization_bin: str | None = None
    kaspi_client_cert: Path | None = None
    #: PEM; by default the key is in the same file as the certificate.
    kaspi_client_key: Path | None = None
    kaspi_callback_allow: str | None = None
    kaspi_client_key_password: SecretStr | None = None
    #: PEM; the only certificate authority trusted for Kaspi's server. Kaspi has its own.
    kaspi_ca_cert: Path | None = None
    #: The most requests per second to Kaspi of one ``serve`` with all its workers, and of each other command.
    kaspi_requests_per_second: float = Field(default=10.0, ge=1, le=1000)

    jwt_secret: SecretStr | None = None
    jwt_algorithm: JwtAlgorithm | None = None
    jwt_public_key: str | None = None
    jwt_jwks_url: str | None = None
    jwt_audience: str | None = None
    jwt_issuer: str | None = None
    encryption_keys: SecretStr | None = None
    #: Hours between two seals of the audit trail by ``maintain``; without it, ``maintain`` makes none.
    audit_seal_hours: Annotated[int, Field(ge=1, le=8760)] | None = None
    #: Days that finished rows are kept; see :mod:`procomp_pay.domain.retention`.
    retain_payloads_days: int = Field(default=90, ge=LEAST_PAYLOAD_DAYS, le=_CENTURY)
    retain_events_days: int = Field(default=400, ge=LEAST_EVENT_DAYS, le=_CENTURY)
    retain_messages_days: int = Field(default=180, ge=LEAST_MESSAGE_DAYS, le=_CENTURY)
    retain_keys_days: int = Field(default=90, ge=LEAST_KEY_DAYS, le=_CENTURY)
    public_base_url: str | None = None
    metrics_token: SecretStr | None = None

    #: Rate limits per client in one process: by user, or by address without a token. ``off``: no limit.
    rate_limit_reads: str = "1200/minute"
    rate_limit_writes: str = "300/minute"
    rate_limit_open: str = "1200/minute"
    rate_limit_failures: str = "60/minute"
    #: Comma-separated: addresses and networks of our proxies; origins whose pages may call the API.
    trusted_proxies: str = ""
    cors_origins: str = ""

    platform_webhook_url: str | None = None
    platform_webhook_secret: SecretStr | None = None
    alert_webhook_url: SecretStr | None = None
    alert_mail_to: str | None = None
    smtp_url: SecretStr | None = None
    mail_from: str | None = None
    mail_language: Language = Language.RUSSIAN

    procomp_operator: str | None = None
    #: An operator's token, for scripts; PINs for commands that ask for one where there is no terminal.
    procomp_operator_token: SecretStr | None = None
    procomp_pin: SecretStr | None = None
    procomp_approver_pin: SecretStr | None = None
    #: Tenge: a verification against a failed check above it needs a second operator.
    approve_overrides_above: Decimal = Field(default=Decimal(0), ge=0)
    #: The most that the role desk gives back of one payment, such as ``50000 KZT, 100 USD``.
    desk_refund_limit: str = ""
    #: The time zone whose midnight ends a day of a report.
    report_timezone: str = "Asia/Almaty"

    @property
    def home(self) -> Path:
        """The directory of the embedded database, its key and the sandbox's run file."""
        return self.procomp_home or user_data_path("procomp-pay")

    @property
    def url(self) -> str:
        """The URL of the database; by default a SQLite file in :attr:`home`."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.home / 'procomp-pay.sqlite3'}"

    @property
    def is_embedded(self) -> bool:
        return self.url.startswith("sqlite")

    @property
    def base_url(self) -> str:
        """The base URL by which participants' phones reach us: QR images, the page after a payment."""
        return (self.public_base_url or "http://127.0.0.1:8080").rstrip("/")

    @property
    def retention(self) -> Retention:
        """How long finished rows are kept; an event at least as long as its payload."""
        payloads = timedelta(days=self.retain_payloads_days)
        return Retention(
            payloads=payloads,
            events=max(payloads, timedelta(days=self.retain_events_days)),
            messages=timedelta(days=self.retain_messages_days),
            keys=timedelta(days=self.retain_keys_days),
        )

    @property
    def limits(self) -> Limits:
        """The sums above which more is asked of operators."""
        return Limits(self.approve_overrides_above, _sums(self.desk_refund_limit))

    @field_validator("desk_refund_limit")
    @classmethod
    def _are_sums(cls, text: str) -> str:
        _sums(text)
        return text

    @property
    def webhook_secrets(self) -> list[str]:
        """Stripe's signing secrets, newest first; several during a rotation."""
        text = self.stripe_webhook_secret.get_secret_value() if self.stripe_webhook_secret else ""
        return [part.strip() for part in text.split(",") if part.strip()]

    def secret_values(self) -> list[str]:
        """Return every configured secret, for redaction."""
        secrets: list[str] = []
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, SecretStr):
                text = value.get_secret_value()
                secrets += [text, *(part.strip() for part in text.split(","))]
        password = urlsplit(self.url).password if "://" in self.url else None
        return [*secrets, unquote(password), password] if password else secrets

    @field_validator("kaspi_api_url", "public_base_url")
    @classmethod
    def _is_web_address(cls, text: str | None) -> str | None:
        if text is not None and not (text.startswith(("https://", "http://")) and urlsplit(text).hostname):
            raise ValueError("not a web address")
        return text

    @field_validator("kaspi_organization_bin")
    @classmethod
    def _is_bin(cls, text: str | None) -> str | None:
        if text is not None and not re.fullmatch(r"[0-9]{12}", text):
            raise ValueError("a BIN has 12 digits")
        return text

    @field_validator("kaspi_callback_allow")
    @classmethod
    def _are_networks(cls, text: str | None) -> str | None:
        _networks(text)
        return text

    @property
    def callback_networks(self) -> list[Network]:
        """The networks from which Kaspi may call us; where there are none, it may not."""
        return _networks(self.kaspi_callback_allow)

    @property
    def stripe_mode(self) -> ProviderMode:
        return _mode(self.stripe_secret_key, self.stripe_api_base)

    @property
    def kaspi_mode(self) -> ProviderMode:
        url = self.kaspi_api_url
        if self.kaspi_scheme.uses_client_certificate:
            return _mode_of_url(url) if self.kaspi_client_cert is not None else ProviderMode.OFF
        if self.kaspi_scheme is KaspiScheme.GATEWAY and self.kaspi_api_key is not None:
            # a gateway's key has no prefix that tells live from test
            is_test = "test" in self.kaspi_api_key.get_secret_value().lower()
            return ProviderMode.TEST if is_test and not _is_loopback(url or "") else _mode_of_url(url)
        return _mode(self.kaspi_api_key, url)

    @property
    def is_live(self) -> bool:
        """True where real money moves."""
        return ProviderMode.LIVE in (self.stripe_mode, self.kaspi_mode)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings, and the sandbox's run file where no provider key is configured.

    :raises ConfigurationError: a value has the wrong form (the setting is named, its value never shown), or
        a live key is combined with a local address, or a provider is to be reached without encryption.
    """
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        problems = [f"{str(item['loc'][0]).upper()} ({_in_words(item['msg'])})" for item in error.errors()]
        name = str(error.errors()[0]["loc"][0]).upper()
        raise ConfigurationError(
            f"These settings have the wrong form: {', '.join(problems)}",
            next_step=f"procomp-pay doctor --explain {name}",
        ) from None
    for mode, base, name in (
        (settings.stripe_mode, settings.stripe_api_base, "STRIPE_API_BASE"),
        (settings.kaspi_mode, settings.kaspi_api_url, "KASPI_API_URL"),
    ):
        if mode is ProviderMode.LIVE and base and _is_loopback(base):
            raise ConfigurationError(
                f"A live key is set together with a local {name}: live keys are not used with a sandbox",
                next_step=f"unset {name}, or use a test key",
            )
        if base and urlsplit(base).scheme.lower() == "http" and not _is_loopback(base):
            raise ConfigurationError(
                f"{name} begins with http://: keys and payments would cross the network unencrypted",
                next_step=f"write {name} with https://; http:// is for this computer alone",
            )
    _check_delivery(settings)
    _check_map(settings)
    return settings if settings.is_live else _with_sandbox(settings)


def _in_words(message: str) -> str:
    """Return pydantic's message without its first words; it has the allowed values, never the given one."""
    return message.removeprefix("Value error, ").removeprefix("Input ")


def _check_map(settings: Settings) -> None:
    """Read the map of the platform's names, where it is set.

    :raises ConfigurationError: it is not valid, or the database is SQLite, which no platform shares with us.
    """
    if settings.platform_map is None:
        return
    if settings.is_embedded:
        raise ConfigurationError(
            "PLATFORM_MAP has names of the platform's PostgreSQL, and DATABASE_URL is SQLite",
            next_step="set DATABASE_URL to the platform's database, or unset PLATFORM_MAP",
        )
    platform_map.read(settings.platform_map)


def _check_delivery(settings: Settings) -> None:
    """Check the settings of notifications: half of them would fail when the first message is due.

    :raises ConfigurationError: a value has the wrong form, or one of a pair is missing.
    """
    if settings.smtp_url is not None:
        delivery.mail_server(settings.smtp_url.get_secret_value())
    if settings.mail_from is not None:
        delivery.sender(settings.mail_from)
    if settings.alert_webhook_url is not None:
        delivery.check_hook_url("ALERT_WEBHOOK_URL", settings.alert_webhook_url.get_secret_value())
    if settings.alert_mail_to is not None:
        delivery.addresses("ALERT_MAIL_TO", settings.alert_mail_to)
    if settings.platform_webhook_url is not None:
        delivery.check_hook_url("PLATFORM_WEBHOOK_URL", settings.platform_webhook_url)
    if settings.platform_webhook_secret is not None:
        secret = settings.platform_webhook_secret.get_secret_value()
        delivery.hook_secrets("PLATFORM_WEBHOOK_SECRET", secret)
    for name, value, needed, needed_value in (
        ("SMTP_URL", settings.smtp_url, "MAIL_FROM", settings.mail_from),
        ("ALERT_MAIL_TO", settings.alert_mail_to, "SMTP_URL", settings.smtp_url),
        (
            "PLATFORM_WEBHOOK_URL",
            settings.platform_webhook_url,
            "PLATFORM_WEBHOOK_SECRET",
            settings.platform_webhook_secret,
        ),
    ):
        if value is not None and needed_value is None:
            raise ConfigurationError(f"{name} is set and {needed} is not", next_step=f"set {needed}")


def sandbox_run_file(settings: Settings) -> Path:
    """Return the file in which a running sandbox leaves its address and keys, readable by this user only."""
    return settings.home / "sandbox.json"


def _with_sandbox(settings: Settings) -> Settings:
    """Take the settings of each provider that is not configured from the sandbox's run file."""
    try:
        info = json.loads(sandbox_run_file(settings).read_text("utf-8"))
        keys = {name: str(info[name]) for name in _RUN_FILE_KEYS}
    except (OSError, ValueError, KeyError, TypeError):
        return settings  # no sandbox runs, or the file is not ours
    update: dict[str, Any] = {}
    if settings.stripe_secret_key is None and settings.stripe_api_base is None:
        update["stripe_secret_key"] = SecretStr(keys["stripe_secret_key"])
        update["stripe_api_base"] = keys["url"]
        update["stripe_webhook_secret"] = settings.stripe_webhook_secret or SecretStr(keys["webhook_secret"])
    if settings.kaspi_api_key is None and settings.kaspi_api_url is None:
        update["kaspi_api_key"] = SecretStr(keys["kaspi_api_key"])
        update["kaspi_api_url"] = keys["url"]
        update["kaspi_device_token"] = settings.kaspi_device_token or SecretStr(keys["kaspi_device_token"])
        update["kaspi_scheme"] = KaspiScheme.BASIC
    return settings.model_copy(update=update)


def _networks(text: str | None) -> list[Network]:
    """Parse addresses and networks, separated by commas.

    :raises ValueError: a part is neither.
    """
    parts = [part.strip() for part in (text or "").split(",")]
    return [ipaddress.ip_network(part, strict=False) for part in parts if part]


def _sums(text: str) -> dict[str, Decimal]:
    """Parse sums of money, one for a currency, separated by commas.

    :raises ValueError: a part is none.
    """
    sums: dict[str, Decimal] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        amount, _, currency = part.rpartition(" ")
        try:
            money = Money.parse(amount, currency)
        except PaymentError:
            raise ValueError("write it as 50000 KZT, 100 USD") from None
        sums[money.currency.value] = money.amount
    return sums


def _mode(key: SecretStr | None, base: str | None) -> ProviderMode:
    if key is None:
        return ProviderMode.OFF
    if key.get_secret_value().startswith(_LIVE_PREFIXES):
        return ProviderMode.LIVE
    return ProviderMode.SANDBOX if base and _is_loopback(base) else ProviderMode.TEST


def _mode_of_url(url: str | None) -> ProviderMode:
    """Return the mode that a URL alone implies."""
    if url is None:
        return ProviderMode.OFF
    if _is_loopback(url):
        return ProviderMode.SANDBOX
    return ProviderMode.TEST if (urlsplit(url).hostname or "").startswith(_TEST_HOSTS) else ProviderMode.LIVE


def _is_loopback(url: str) -> bool:
    return (urlsplit(url).hostname or "") in LOOPBACK
