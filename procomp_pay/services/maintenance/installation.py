"""Make the files of an installation: an environment file with new keys, units for systemd, a proxy's example.

The files in ``deploy/`` are the templates; the package contains them.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from procomp_pay.domain.errors import ConfigurationError, PaymentError, Refused
from procomp_pay.storage.database import migrate
from procomp_pay.storage.encryption.keyring import new_key

#: Settings that are taken from the environment of ``init`` where they are set, in the order of the file.
TAKEN = (
    "DATABASE_URL", "DATABASE_READ_URL", "PLATFORM_MAP", "PUBLIC_BASE_URL",
    "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET", "STRIPE_API_BASE",
    "KASPI_API_URL", "KASPI_SCHEME", "KASPI_API_KEY", "KASPI_API_SECRET", "KASPI_DEVICE_TOKEN",
    "KASPI_TRADE_POINT_ID", "KASPI_ORGANIZATION_BIN", "KASPI_CLIENT_CERT", "KASPI_CLIENT_KEY",
    "KASPI_CLIENT_KEY_PASSWORD", "KASPI_CA_CERT", "KASPI_CALLBACK_ALLOW", "JWT_SECRET", "JWT_ALGORITHM",
    "JWT_PUBLIC_KEY", "JWT_JWKS_URL", "JWT_AUDIENCE", "JWT_ISSUER", "ENCRYPTION_KEYS", "METRICS_TOKEN",
    "TRUSTED_PROXIES", "SMTP_URL", "MAIL_FROM", "MAIL_LANGUAGE", "PLATFORM_WEBHOOK_URL",
    "PLATFORM_WEBHOOK_SECRET", "ALERT_WEBHOOK_URL", "ALERT_MAIL_TO", "REPORT_TIMEZONE", "PROCOMP_HOME",
)  # fmt: skip
_HEAD = "# Settings of procomp-pay: docs/configuration.md. It holds keys: keep it 0600, and a copy safe.\n"
#: Names of the environment file and of the proxies' examples.
ENV_FILE = "procomp-pay.env"
PROXIES = {"caddy": "Caddyfile", "nginx": "nginx.conf"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where and how it will run.

    :param directory: of the files. :param program: the path of the command. :param home: of the data.
    """

    directory: Path
    program: Path
    user: str
    port: int
    proxy: str
    home: Path

    @property
    def env_file(self) -> Path:
        return self.directory / ENV_FILE


def settings_of(given: Mapping[str, str], place: Place) -> dict[str, str]:
    """Return the settings of the environment file: what is given, and new keys for what is not."""
    settings = {name: given[name] for name in TAKEN if given.get(name)}
    if "DATABASE_URL" in settings:
        settings.setdefault("ENCRYPTION_KEYS", new_key())
    else:
        settings.setdefault("PROCOMP_HOME", str(place.home))
    if not any(name in settings for name in ("JWT_SECRET", "JWT_PUBLIC_KEY", "JWT_JWKS_URL")):
        settings["JWT_SECRET"] = secrets.token_urlsafe(48)
    settings.setdefault("METRICS_TOKEN", secrets.token_urlsafe(24))
    settings.setdefault("TRUSTED_PROXIES", "127.0.0.1")
    return settings


def check_keys(given: Mapping[str, str]) -> None:
    """Check that new encryption keys do not shut out a database that has payments.

    :raises ConfigurationError: they would.
    """
    if not given.get("DATABASE_URL") or given.get("ENCRYPTION_KEYS"):
        return
    try:
        has_encrypted = migrate.has_encrypted(given["DATABASE_URL"])
    except PaymentError:
        return  # it does not answer, as the checks say
    if has_encrypted:
        raise ConfigurationError(
            "The database has payments already, and new keys could not read what is encrypted in it; nothing "
            "was written",
            next_step="set ENCRYPTION_KEYS to those in its environment file (SQLite: in procomp-pay.key)",
        )


def env_text(settings: Mapping[str, str]) -> str:
    """Return the environment file: systemd, a shell and python-dotenv read it alike.

    :raises Refused: a value has a quote or a line break, which they read differently.
    """
    return _HEAD + "".join(env_line(name, value) for name, value in settings.items())


def env_line(name: str, value: str) -> str:
    """Return the line of one setting.

    :raises Refused: as :func:`env_text`.
    """
    if re.search(r"['\\\x00-\x1f\x7f]", value):
        raise Refused(
            f"{name} has a quote, a backslash or a line break, which not everything reads alike",
            next_step=f"give another value, or a file's name, for {name}",
        )
    return f"{name}='{value}'\n"


def files(place: Place, public_base_url: str | None) -> dict[str, str]:
    """Return the units and the proxy's example, by name."""
    folder, made = _templates(), {}
    for path in sorted((folder / "systemd").iterdir()):
        text = path.read_text("utf-8").replace("8080", str(place.port))  # first: a path may hold these digits
        text = text.replace("/etc/procomp-pay/procomp-pay.env", str(place.env_file))
        text = text.replace("/opt/procomp-pay/bin/procomp-pay", str(place.program))
        made[path.name] = text.replace("User=procomp\n", f"User={place.user}\n")
    name = PROXIES[place.proxy]
    host = urlsplit(public_base_url or "").hostname
    text = (folder / name).read_text("utf-8").replace("pay:8080", "127.0.0.1:8080")
    text = text.replace("8080", str(place.port))
    made[name] = text.replace("pay.example.com", host) if host else text
    return made


def _templates() -> Path:
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "_deploy", package.parent / "deploy"):
        if (folder / "systemd").is_dir():
            return folder
    raise ConfigurationError("The templates of the units are missing", next_step="install procomp-pay again")


def check_free(place: Place, names: list[str]) -> None:
    """Check that nothing would be overwritten.

    :raises Refused: a file exists. :raises ConfigurationError: there is no such directory.
    """
    if not place.directory.is_dir():
        raise ConfigurationError(
            f"There is no directory {place.directory}", next_step=f"mkdir -p {place.directory}"
        )
    for name in (ENV_FILE, *names):
        if os.path.lexists(place.directory / name):
            raise Refused(
                f"{place.directory / name} exists, and is not overwritten",
                next_step="move it away, or give another directory",
            )


def write(path: Path, text: str, mode: int) -> None:
    """Write a new file.

    :raises Refused: it exists. :raises ConfigurationError: it cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise Refused(f"{path} exists, and is not overwritten", next_step="move it away") from None
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written: {error.strerror}",
            next_step="run init as the user who owns the directory, or give another one",
        ) from None
