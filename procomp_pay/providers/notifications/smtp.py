"""Letters over SMTP."""

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

#: The longest that handing over one letter may take, in seconds.
TOTAL_S = 20.0
_STEP_S = 10.0
#: Connections to the mail server at the same time.
_SIDE_BY_SIDE = 4

_START_TLS = {Encryption.STARTTLS: True, Encryption.IF_OFFERED: None}


@dataclass(frozen=True, slots=True)
class Email:
    """A letter in plain text and HTML.

    :param key: makes its Message-ID: the same letter sent twice has the same one.
    """

    key: str
    to: str
    subject: str
    text: str
    html: str | None
    language: str
    at: datetime


class Mailer:
    """Hands letters to an SMTP server, and says what it answered. Raises nothing for what a server does.

    :param sender: name and address of the letters.
    :param tls: trusts other authorities than the system's.
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
        self._turn = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def send(self, letter: Email) -> DeliveryResponse:
        """Hand one letter over."""
        if not is_address(letter.to):
            return DeliveryResponse(
                DeliveryOutcome.NO_ADDRESS, "there is no address that a letter could go to"
            )
        message = self._message(letter)
        async with self._turn:
            try:
                async with asyncio.timeout(TOTAL_S):
                    await self._hand_over(message, letter.to)
            except TimeoutError:
                return DeliveryResponse(DeliveryOutcome.AGAIN, "the mail server did not answer in time")
            except (aiosmtplib.SMTPException, OSError, ValueError) as error:
                return _answer(error)
        return DeliveryResponse(DeliveryOutcome.DELIVERED)

    async def _hand_over(self, message: EmailMessage, to: str) -> None:
        server = self._server
        if server.encryption is not Encryption.NONE and self._tls is None:
            self._tls = self._make_tls()  # reads the system's authorities: once, and only where it is needed
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

    def _message(self, letter: Email) -> EmailMessage:
        message = EmailMessage(policy=SMTP)
        message["From"] = Address(one_line(self._name), addr_spec=self._address)
        message["To"] = Address(addr_spec=letter.to)
        message["Subject"] = one_line(letter.subject)
        message["Date"] = format_datetime(letter.at)
        message["Message-ID"] = f"<{letter.key}@{self._address.rpartition('@')[2]}>"
        # nobody's holiday notice need answer it (RFC 3834; the second one is for Exchange)
        message["Auto-Submitted"] = "auto-generated"
        message["X-Auto-Response-Suppress"] = "All"
        message.set_content(letter.text, charset="utf-8", cte="base64")
        if letter.html is not None:
            message.add_alternative(letter.html, subtype="html", charset="utf-8", cte="base64")
        message["Content-Language"] = letter.language
        return message


def _answer(error: Exception) -> DeliveryResponse:
    """What a failure means: a refused address or content will stay refused, everything else may pass.

    Refused logins and senders are the operator's to mend, and the letters must not be lost meanwhile.
    """
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        refused = error.recipients[0]
        words = f"the mail server refused the address: {refused.code}"
        return DeliveryResponse(
            DeliveryOutcome.NO_ADDRESS if refused.code >= 500 else DeliveryOutcome.AGAIN, words
        )
    if isinstance(error, aiosmtplib.SMTPDataError) and error.code >= 500:
        return DeliveryResponse(DeliveryOutcome.REFUSED, f"the mail server refused the letter: {error.code}")
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
