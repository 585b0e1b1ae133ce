"""A real mail server and a real HTTP receiver, which can be made to fail first."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, cast

from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session


def _plain(message: Any, subtype: str) -> str:
    part = message.get_body(preferencelist=(subtype,))
    return str(part.get_content()) if part is not None else ""


@dataclass
class MailBox:
    """The e-mails that a mail server received.

    :param says: answers to the next e-mails' contents, before it takes any; ``rcpt`` the same for addresses.
    """

    emails: list[EmailMessage] = field(default_factory=list)
    to: list[str] = field(default_factory=list)
    says: list[str] = field(default_factory=list)
    rcpt: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    logins: list[bytes] = field(default_factory=list)
    on_email: Callable[[], None] | None = None
    port: int = 0

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.rcpt:
            return self.rcpt.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        if self.says:
            return self.says.pop(0)
        email = message_from_bytes(envelope.content, policy=default)
        assert isinstance(email, EmailMessage)
        self.emails.append(email)
        self.to += envelope.rcpt_tos
        self.encrypted.append(session.ssl is not None)
        if self.on_email:
            self.on_email()
        return "250 OK"

    def text(self, number: int = -1) -> str:
        return _plain(self.emails[number], "plain")

    def html(self, number: int = -1) -> str:
        return _plain(self.emails[number], "html")


@asynccontextmanager
async def mail_server(
    *, tls: ssl.SSLContext | None = None, password: str | None = None
) -> AsyncIterator[MailBox]:
    """Run an SMTP server on loopback; ``password`` requires the login ``desk``, ``tls`` requires STARTTLS."""
    box = MailBox()

    def check(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        box.logins.append(data.password)
        right = (data.login, data.password) == (b"desk", str(password).encode())
        return AuthResult(success=right, handled=right)

    connections: list[asyncio.Transport] = []

    class Server(SMTP):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            connections.append(cast(asyncio.Transport, transport))  # uvloop's is of no such class
            super().connection_made(transport)

    def make() -> SMTP:
        return Server(
            box,
            hostname="mail.test",
            tls_context=tls,
            require_starttls=tls is not None,
            authenticator=check if password else None,
            auth_required=password is not None,
            auth_require_tls=tls is not None,
        )

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        for connection in connections:
            connection.abort()  # also one whose handshake came to nothing
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.01)  # the aborted ones close their sockets


@dataclass
class Receiver:
    """The requests that an HTTP server received.

    :param says: answers to the next requests; a number is a status, ``hang`` never answers.
    """

    url: str = ""
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    refused: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    says: list[Any] = field(default_factory=list)
    on_request: Callable[[], None] | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        seen = ({name.lower(): value for name, value in request.headers.items()}, await request.read())
        answer = self.says.pop(0) if self.says else 204
        (self.got if answer == 204 else self.refused).append(seen)
        if self.on_request:
            self.on_request()
        if answer == "hang":
            await asyncio.sleep(30)
        if isinstance(answer, tuple):
            return web.Response(status=answer[0], headers=answer[1])
        return web.Response(status=int(answer))


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    """Run an HTTP server on loopback that accepts every POST."""
    made = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", made.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()
