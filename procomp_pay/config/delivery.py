"""Where notifications go, as settings say it. Every error names the setting and never shows its value."""

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
    """How a connection to a mail server is encrypted."""

    TLS = "tls"  # from the first byte
    STARTTLS = "starttls"  # asked for, and insisted on
    IF_OFFERED = "if_offered"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class MailServer:
    """The SMTP server that sends e-mails."""

    host: str
    port: int
    encryption: Encryption
    user: str | None = None
    password: str | None = field(default=None, repr=False)


def mail_server(text: str) -> MailServer:
    """Read ``smtp://user:password@host:587`` or ``smtps://…``.

    With a password the connection is encrypted, unless the server is this machine; without one it is
    encrypted
    where the server offers it. ``?starttls=always`` and ``?starttls=never`` say otherwise.

    :raises ConfigurationError: not such an address.
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
    asked = parse_qs(parts.query).get("starttls", [None])[-1]
    if asked not in (None, "always", "never"):
        raise _wrong("SMTP_URL", "starttls is always or never")
    if parts.scheme == "smtps":
        return Encryption.TLS
    if asked is not None:
        return Encryption.STARTTLS if asked == "always" else Encryption.NONE
    if is_loopback(parts.hostname or ""):
        return Encryption.NONE
    return Encryption.STARTTLS if parts.username else Encryption.IF_OFFERED


def hook_url(setting: str, text: str) -> str:
    """An address that gets POSTs: https, or http on this machine.

    :raises ConfigurationError: another one.
    """
    parts = _split(setting, text)
    safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
    if not safe or not parts.hostname or parts.fragment or not text.isprintable() or " " in text:
        raise _wrong(setting, "it must be an https address (http is for this machine alone)")
    return text


def hook_secrets(setting: str, text: str) -> tuple[str, ...]:
    """Signing secrets as Standard Webhooks writes them (``whsec_`` and base64), newest first.

    :raises ConfigurationError: none, or one that is not of that form or has not 24 to 64 bytes.
    """
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    for number, secret in enumerate(found, start=1):
        try:
            size = len(base64.b64decode(secret.removeprefix("whsec_"), validate=True))
        except (binascii.Error, ValueError):
            size = 0
        if not secret.startswith("whsec_") or size not in _SECRET_BYTES:
            raise _wrong(setting, f"secret number {number} is not whsec_ with base64 of 24 to 64 bytes")
    if not found:
        raise _wrong(setting, "make one with: echo whsec_$(openssl rand -base64 32)")
    return found


def addresses(setting: str, text: str) -> tuple[str, ...]:
    """Bare mail addresses, separated by commas.

    :raises ConfigurationError: none, or an invalid one.
    """
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not found or not all(is_address(each) for each in found):
        raise _wrong(setting, "write mail addresses separated by commas: ops@example.com,boss@example.com")
    return found


def sender(text: str) -> tuple[str, str]:
    """Name and address of ``ProComp <pay@example.com>`` or ``pay@example.com``.

    :raises ConfigurationError: it is neither.
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
    """Return outside text as one line: what could end it or hide in it becomes a space. Amounts are kept
    whole.
    """
    seen = "".join(c if c.isprintable() or c == "\N{NO-BREAK SPACE}" else " " for c in text)
    return re.sub(" +", " ", seen).strip()


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _split(setting: str, text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises for an invalid one
    except ValueError:
        raise _wrong(setting, "it is not an address") from None
    return parts


def _wrong(setting: str, how: str) -> ConfigurationError:
    return ConfigurationError(f"{setting} cannot be used: {how}", next_step=f"correct {setting}")
