"""Parse the settings of notifications. Errors name the setting and never show its value."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from procomp_pay.domain.errors import ConfigurationError

#: Standard Webhooks: a secret has 24 to 64 bytes.
_SECRET_BYTES = range(24, 65)
_LONGEST_ADDRESS = 254


class Encryption(StrEnum):
    """The encryption of a connection to a mail server."""

    TLS = "tls"  # from the first byte
    STARTTLS = "starttls"  # required
    IF_OFFERED = "if_offered"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class MailServer:
    """An SMTP server that sends our e-mails."""

    host: str
    port: int
    encryption: Encryption
    user: str | None = None
    password: str | None = field(default=None, repr=False)


def mail_server(text: str) -> MailServer:
    """Parse ``smtp://user:password@host:587`` or ``smtps://…``.

    With a password, the connection is encrypted unless the server is on this machine; without one, where the
    server offers it. ``?starttls=always`` and ``?starttls=never`` override this.

    :raises ConfigurationError: not such a URL.
    """
    parts = _split("SMTP_URL", text)
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise _wrong("SMTP_URL", "write it as smtp://user:password@mail.example.com:587, or smtps://…")
    if parts.username is not None and parts.password is None:
        raise _wrong("SMTP_URL", "a user needs a password: smtp://user:password@host:587")
    return MailServer(
        host=parts.hostname,
        port=parts.port or (465 if parts.scheme == "smtps" else 587),
        encryption=_encryption(parts),
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.username and parts.password else None,
    )


def _encryption(parts: SplitResult) -> Encryption:
    starttls = parse_qs(parts.query).get("starttls", [None])[-1]
    if starttls not in (None, "always", "never"):
        raise _wrong("SMTP_URL", "starttls must be always or never")
    if parts.scheme == "smtps":
        return Encryption.TLS
    if starttls is not None:
        return Encryption.STARTTLS if starttls == "always" else Encryption.NONE
    if is_loopback(parts.hostname or ""):
        return Encryption.NONE
    return Encryption.STARTTLS if parts.username else Encryption.IF_OFFERED


def check_hook_url(setting: str, text: str) -> None:
    """Check the URL of a webhook that we call: https, or http on this machine.

    :raises ConfigurationError: another URL.
    """
    parts = _split(setting, text)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
    if not is_safe or not parts.hostname or parts.fragment or not text.isprintable() or " " in text:
        raise _wrong(setting, "it must be an https URL (http is allowed on this machine only)")


def hook_secrets(setting: str, text: str) -> tuple[str, ...]:
    """Parse signing secrets in the form of Standard Webhooks (``whsec_`` and base64), newest first.

    :raises ConfigurationError: none, or one that has another form or not 24 to 64 bytes.
    """
    secrets = tuple(part.strip() for part in text.split(",") if part.strip())
    for number, secret in enumerate(secrets, start=1):
        try:
            size = len(base64.b64decode(secret.removeprefix("whsec_"), validate=True))
        except (binascii.Error, ValueError):
            size = 0
        if not secret.startswith("whsec_") or size not in _SECRET_BYTES:
            raise _wrong(setting, f"secret number {number} is not whsec_ with base64 of 24 to 64 bytes")
    if not secrets:
        raise _wrong(setting, "make one with: echo whsec_$(openssl rand -base64 32)")
    return secrets


def addresses(setting: str, text: str) -> tuple[str, ...]:
    """Parse plain e-mail addresses, separated by commas.

    :raises ConfigurationError: none, or an invalid one.
    """
    parsed = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not parsed or not all(is_address(address) for address in parsed):
        raise _wrong(setting, "write e-mail addresses separated by commas: ops@example.com,boss@example.com")
    return parsed


def sender(text: str) -> tuple[str, str]:
    """Return the name and the address of ``ProComp <pay@example.com>`` or ``pay@example.com``.

    :raises ConfigurationError: it has neither form.
    """
    from email.utils import parseaddr

    name, address = parseaddr(text)
    if not is_address(address) or not text.isprintable():
        raise _wrong("MAIL_FROM", "write it as: ProComp <pay@example.com>")
    return name, address


def is_address(text: str) -> bool:
    """Return whether the text is one plain ASCII e-mail address with nothing around it."""
    from email.errors import MessageError
    from email.headerregistry import Address

    local, _, domain = text.rpartition("@")
    if not (
        local and "." in domain and len(text) <= _LONGEST_ADDRESS and text.isascii() and text.isprintable()
    ):
        return False
    try:
        return Address(addr_spec=text).addr_spec == text and " " not in text and '"' not in text
    except (MessageError, ValueError, IndexError):
        return False


def one_line(text: str) -> str:
    """Return text from outside as one line: line ends and invisible characters become spaces.

    No-break spaces stay: amounts contain them.
    """
    visible = "".join(c if c.isprintable() or c == "\N{NO-BREAK SPACE}" else " " for c in text)
    return re.sub(" +", " ", visible).strip()


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _split(setting: str, text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises for an invalid port
    except ValueError:
        raise _wrong(setting, "it is not a URL") from None
    return parts


def _wrong(setting: str, how: str) -> ConfigurationError:
    return ConfigurationError(f"{setting} cannot be used: {how}", next_step=f"correct {setting}")
