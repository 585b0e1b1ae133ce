"""E-mails over a real SMTP server: encryption, logins, and headers that cannot be injected."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import trustme

from procomp_pay.config.delivery import mail_server as parse
from procomp_pay.domain.notifications import DeliveryOutcome
from procomp_pay.providers.notifications.smtp import Email, Mailer
from tests.support.receivers import mail_server

AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
EMAIL = Email("key1", "a@example.com", "Hello", "text\n", "<p>html</p>", "kk", AT)
Trust = Callable[[], ssl.SSLContext]


@pytest.fixture(scope="module")
def certificate() -> tuple[ssl.SSLContext, Trust]:
    """Make a server certificate, and a context that trusts it."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)

    def trusting() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(context)
        return context

    return server, trusting


def foreign() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trustme.CA().configure_trust(context)
    return context


@pytest.mark.parametrize(
    ("offers", "trusts", "password", "says"),
    [
        (True, True, "hush", ""),
        (True, True, "wrong", "refused the login of SMTP_URL: 535"),
        (True, False, "hush", "cannot be reached"),
        (False, True, "hush", "cannot be reached"),
    ],
)
async def test_a_password_is_sent_only_over_an_encrypted_connection(
    certificate: tuple[ssl.SSLContext, Trust], offers: bool, trusts: bool, password: str, says: str
) -> None:
    """Nothing is sent to a server without STARTTLS or with an untrusted certificate."""
    server, trusting = certificate
    async with mail_server(tls=server if offers else None, password="hush" if offers else None) as box:
        address = f"smtp://desk:{password}@127.0.0.1:{box.port}?starttls=always"
        mailer = Mailer(parse(address), ("", "pay@procomp.test"), tls=trusting if trusts else foreign)
        answer = await mailer.send(EMAIL)
    expected = (DeliveryOutcome.AGAIN, []) if says else (DeliveryOutcome.DELIVERED, [True])
    assert (answer.outcome, box.encrypted) == expected, answer
    assert says in answer.text
    assert "hush" not in answer.text
    assert box.logins == ([] if says else [b"hush"]) or password == "wrong"


async def test_an_unreachable_server_is_a_temporary_failure() -> None:
    mailer = Mailer(parse("smtp://127.0.0.1:9"), ("", "pay@procomp.test"))
    assert (await mailer.send(EMAIL)).outcome is DeliveryOutcome.AGAIN


async def test_headers_cannot_be_injected() -> None:
    async with mail_server() as box:
        mailer = Mailer(parse(f"smtp://127.0.0.1:{box.port}"), ("ПроКомп, ЖШС", "pay@procomp.test"))
        for subject in ("Кубок\r\nBcc: all@example.com", "a\u2028b\x00c\x1b[31m"):
            assert (await mailer.send(replace(EMAIL, subject=subject))).outcome is DeliveryOutcome.DELIVERED
    first, second = box.emails
    assert first["Subject"] == "Кубок Bcc: all@example.com"
    assert second["Subject"] == "a b c [31m"
    assert first["Bcc"] is None
    assert set(box.to) == {"a@example.com"}
    assert first["From"].addresses[0].display_name == "ПроКомп, ЖШС"
    assert first["Message-ID"] == second["Message-ID"] == "<key1@procomp.test>"
    assert (first["Auto-Submitted"], first["Content-Language"]) == ("auto-generated", "kk")
    assert first["Date"].datetime == AT
    assert [part.get_content_type() for part in first.iter_parts()] == ["text/plain", "text/html"]
