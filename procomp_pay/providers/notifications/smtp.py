"""Send e-mails over SMTP."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

import aiosmtplib

from procomp_pay.config.delivery import Encryption, MailServer, is_address, one_line
from procomp_pay.domain.notifications import DeliveryOutcome, DeliveryResponse

#: The longest time of sending one e-mail, in seconds.
TOTAL_S = 20.0
_STEP_S = 10.0
#: Concurrent connections to the mail server.
_CONNECTIONS = 4

_START_TLS = {Encryption.STARTTLS: True, Encryption.IF_OFFERED: None}


@dataclass(frozen=True, slots=True)
class Email:
    """An e-mail in plain text and optionally HTML.

    :param key: determines the Message-ID: an e-mail that is sent twice has the same one.
    :param unsubscribe: the address at which one POST stops such e-mails (RFC 8058).
    """

    key: str
    to: str
    subject: str
    text: str
    html: str | None
    language: str
    at: datetime
    unsubscribe: str | None = None


class Mailer:
    """Send e-mails through an SMTP server. Failures of the server are returned, not raised.

    :param sender: name and address of the sender.
    :param tls: makes the TLS context, if other authorities than the system's are trusted.
    """

    def __init__(
        self,
        server: MailServer,
        sender: tuple[str, str],
        *,
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        self._server = server
        self._name, self._address = sender
        self._make_tls = tls
        self._tls: ssl.SSLContext | None = None
        self._slots = asyncio.Semaphore(_CONNECTIONS)

    async def send(self, email: Email) -> DeliveryResponse:
        """Send one e-mail."""
        if not is_address(email.to):
            return DeliveryResponse(DeliveryOutcome.NO_ADDRESS, "there is no valid e-mail address")
        message = self._message(email)
        async with self._slots:
            try:
                async with asyncio.timeout(TOTAL_S):
                    await self._send_message(message, email.to)
            except TimeoutError:
                return DeliveryResponse(DeliveryOutcome.AGAIN, "the mail server did not answer in time")
            except (aiosmtplib.SMTPException, OSError, ValueError) as error:
                return _failure_response(error)
        return DeliveryResponse(DeliveryOutcome.DELIVERED)

    async def _send_message(self, message: EmailMessage, to: str) -> None:
        server = self._server
        if server.encryption is not Encryption.NONE and self._tls is None:
            self._tls = self._make_tls()  # reads the system's authorities: once, and only if needed
        await aiosmtplib.send(
            message,
            sender=self._address,
            recipients=[to],
            hostname=server.host,
            port=server.port,
            username=server.user,
            password=server.password,
            use_tls=server.encryption is Encryption.TLS,
            start_tls=_START_TLS.get(server.encryption, False),
            tls_context=self._tls,
            timeout=_STEP_S,
        )

    def _message(self, email: Email) -> EmailMessage:
        message = EmailMessage(policy=SMTP)
        message["From"] = Address(one_line(self._name), addr_spec=self._address)
        message["To"] = Address(addr_spec=email.to)
        message["Subject"] = one_line(email.subject)
        message["Date"] = format_datetime(email.at)
        message["Message-ID"] = f"<{email.key}@{self._address.rpartition('@')[2]}>"
        # suppress automatic replies (RFC 3834; the second header is for Exchange)
        message["Auto-Submitted"] = "auto-generated"
        message["X-Auto-Response-Suppress"] = "All"
        if email.unsubscribe is not None:
            message["List-Unsubscribe"] = f"<{email.unsubscribe}>"
            message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        message.set_content(email.text, charset="utf-8", cte="base64")
        if email.html is not None:
            message.add_alternative(email.html, subtype="html", charset="utf-8", cte="base64")
        message["Content-Language"] = email.language
        return message


def _failure_response(error: Exception) -> DeliveryResponse:
    """Map an SMTP failure: a refused address or content stays refused, everything else is tried again.

    Refused logins and senders have to be fixed by the operator, and no e-mail may be lost meanwhile.
    """
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        refused = error.recipients[0]
        text = f"the mail server refused the address: {refused.code}"
        return DeliveryResponse(
            DeliveryOutcome.NO_ADDRESS if refused.code >= 500 else DeliveryOutcome.AGAIN, text
        )
    if isinstance(error, aiosmtplib.SMTPDataError) and error.code >= 500:
        return DeliveryResponse(DeliveryOutcome.REFUSED, f"the mail server refused the e-mail: {error.code}")
    if isinstance(error, aiosmtplib.SMTPAuthenticationError):
        return DeliveryResponse(
            DeliveryOutcome.AGAIN, f"the mail server refused the login of SMTP_URL: {error.code}"
        )
    if isinstance(error, aiosmtplib.SMTPSenderRefused):
        return DeliveryResponse(
            DeliveryOutcome.AGAIN, f"the mail server refused the sender of MAIL_FROM: {error.code}"
        )
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return DeliveryResponse(DeliveryOutcome.AGAIN, f"the mail server answered {error.code}")
    return DeliveryResponse(
        DeliveryOutcome.AGAIN, f"the mail server cannot be reached ({type(error).__name__})"
    )
