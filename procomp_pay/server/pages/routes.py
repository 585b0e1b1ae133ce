"""The page of a payment, ``/p/CODE``: for a tablet that faces the customer, and for the link that is sent."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import hashlib
import io
import logging
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from procomp_pay.config import ProviderMode
from procomp_pay.domain.errors import BadSignature, NotFound, PaymentError, fault_of
from procomp_pay.domain.events import Source
from procomp_pay.domain.language import Language, preferred
from procomp_pay.domain.states import PAID_STATUSES
from procomp_pay.server.http.guard import with_access_control
from procomp_pay.server.http.route import Budget, Route
from procomp_pay.server.http.state import STATE, linking_context
from procomp_pay.server.observability import logs
from procomp_pay.server.pages.content import Content, content, target
from procomp_pay.server.pages.streams import Streams
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.receipts import receipt as receipts
from procomp_pay.services.receipts.pdf import receipt_pdf
from procomp_pay.services.registrations.changes import edit_participant
from procomp_pay.services.registrations.participants import Details, ParticipantView, participant_view
from procomp_pay.services.views import page_link
from procomp_pay.services.views.payment import Opening
from procomp_pay.translations import Translation

log = logging.getLogger(__name__)

_HTML = "text/html"
_EVENTS = "text/event-stream"
_PDF = "application/pdf"
_LANGUAGES = ((Language.KAZAKH, "Қазақша"), (Language.RUSSIAN, "Русский"), (Language.ENGLISH, "English"))
#: Seconds between two signs of life, which also find out that nobody reads any more.
HEARTBEAT_S = 15.0
#: Seconds that a browser may take to read what was sent.
_SEND_S = 10.0
#: A stream ends after so many seconds; the browser then opens another one.
_LONGEST_S = 900.0
#: Milliseconds after which a browser opens the stream again.
_RETRY_MS = 2000
#: Modules around a QR that scanners need (ISO/IEC 18004).
_QR_BORDER = 4

_THEMSELVES = Actor("participant", Source.APP)

STREAMS = web.AppKey("streams", Streams)
#: A PDF takes a tenth of a second of the processor: one is made at a time.
_ONE_PDF = web.AppKey("one_pdf", asyncio.Semaphore)
_NO_MONEY = (ProviderMode.SANDBOX, ProviderMode.TEST)


def table() -> list[Route]:
    """Every route of the pages. They are for browsers: the document of the API does not list them."""
    path = f"{page_link.PATH}/{{code}}"
    return [
        Route("GET", path, show, "showPage", "A payment's page", "pages", media=_HTML, budget=Budget.OPEN),
        Route(
            "GET", f"{path}/events", follow, "followPage", "Its content, whenever it changes", "pages",
            media=_EVENTS, budget=Budget.OPEN, head=False,
        ),
        Route(
            "GET", f"{path}/pay", pay, "payOnPage", "Lead to the provider's page", "pages",
            media=_HTML, budget=Budget.OPEN,
        ),
        Route(
            "GET", f"{path}/receipt.pdf", receipt, "getReceipt", "The receipt of a paid payment", "pages",
            media=_PDF, budget=Budget.OPEN,
        ),
        Route(
            "GET", f"{page_link.REMINDERS_PATH}/{{code}}", reminders, "showReminders", "Stop reminders?",
            "pages", media=_HTML, budget=Budget.OPEN,
        ),
        Route(
            "POST", f"{page_link.REMINDERS_PATH}/{{code}}", stop_reminders, "stopReminders",
            "Stop reminders, at once (RFC 8058)", "pages", media=_HTML, budget=Budget.OPEN,
        ),
    ]  # fmt: skip


def install(app: web.Application, ctx: AppContext) -> None:
    """Add the pages to the application; their streams end when it begins to stop."""
    streams = app[STREAMS] = Streams(ctx)
    app[_ONE_PDF] = asyncio.Semaphore(1)
    for route in table():
        handler = _for_people(with_access_control(route))
        app.router.add_route(route.method, route.path, handler)
        if route.head and route.method == "GET":
            app.router.add_route("HEAD", route.path, handler)

    async def stop(_: web.Application) -> None:
        await streams.stop()

    app.on_shutdown.append(stop)


async def show(request: web.Request) -> web.Response:
    """Return the page of a payment, in the language of the browser."""
    opening, page, translation = await _read(request)
    path = f"{page_link.PATH}/{request.match_info['code']}"
    values = _values(request, opening, page, translation) | {
        "body": "payment.html.j2",
        "title": f"{page.amount} · {page.tournament}",
        "events": None if page.is_final else f"{path}/events?lang={translation.language}",
        "version": page.version,
    }
    return _html(translation, values)


async def follow(request: web.Request) -> web.StreamResponse:
    """Send the content of a page now and whenever it changes, until it is final."""
    opening, page, translation = await _read(request)
    response = web.StreamResponse(
        headers={"Content-Type": _EVENTS, "X-Accel-Buffering": "no", "X-Robots-Tag": "noindex"}
    )
    loop = asyncio.get_running_loop()
    async with request.app[STREAMS].following(opening) as followed:
        with contextlib.suppress(ConnectionError, TimeoutError):
            await response.prepare(request)
            await _send(response, f"retry: {_RETRY_MS}\n\n")
            sent, ends_at, alive_at = "", loop.time() + _LONGEST_S, loop.time()
            while loop.time() < ends_at and not request.app[STREAMS].is_over:
                was_read = followed.read
                if followed.opening.view.participant_id != opening.view.participant_id:
                    # it was moved to somebody whom this page must not name
                    await _send(response, "event: end\ndata:\n\n")
                    break
                page = _content(request, followed.opening, translation)
                if page.version != sent:
                    fragment = (
                        _templates()
                        .get_template("payment.html.j2")
                        .render(_values(request, followed.opening, page, translation))
                    )
                    lines = "".join(f"data: {line}\n" for line in fragment.splitlines())
                    await _send(response, f"id: {page.version}\n{lines}\n")
                    sent, alive_at = page.version, loop.time()
                if page.is_final:
                    await _send(response, "event: end\ndata:\n\n")
                    break
                if loop.time() - alive_at >= HEARTBEAT_S:
                    await _send(response, ":\n\n")
                    alive_at = loop.time()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(was_read.wait(), HEARTBEAT_S)
    return response


async def pay(request: web.Request) -> web.Response:
    """Lead to the provider's page while the payment can be paid there, else back to ours."""
    opening, page, _ = await _read(request)
    url = target(opening) if page.button else None
    back = f"{page_link.PATH}/{request.match_info['code']}"
    return web.Response(status=303, headers={"Location": url or back})


async def receipt(request: web.Request) -> web.Response:
    """Return the receipt of a paid payment as PDF; it names the person as the page does."""
    opening, _, translation = await _read(request)
    if opening.view.status not in PAID_STATUSES:
        raise NotFound("There is no receipt")
    ctx = request.app[STATE].ctx
    # by its code, which it loses when it is moved to somebody whom this page must not name
    of_payment = await receipts.of_payment(ctx, opening.view.code or opening.view.payment_id)
    mode = _mode(ctx, opening)
    mark = f"[{mode.upper()}]" if mode in _NO_MONEY else ""
    async with request.app[_ONE_PDF]:
        body = await asyncio.to_thread(receipt_pdf, translation, of_payment, is_public=True, mark=mark)
    name = f"receipt-{opening.view.code or 'payment'}.pdf"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Robots-Tag": "noindex"}
    return web.Response(body=body, content_type=_PDF, headers=headers)


async def reminders(request: web.Request) -> web.Response:
    """Ask whether reminders are to stop: mail scanners open links, so that opening one changes nothing."""
    ctx = request.app[STATE].ctx
    return _reminders(request, await participant_view(ctx, _addressee(request)))


async def stop_reminders(request: web.Request) -> web.Response:
    """Stop reminders, by the button of the page or by the mail program."""
    ctx = request.app[STATE].ctx
    stopped = Details(reminders=False)
    return _reminders(request, await edit_participant(ctx, _addressee(request), _THEMSELVES, details=stopped))


def _addressee(request: web.Request) -> str:
    return page_link.of_reminders(request.app[STATE].ctx, request.match_info["code"])


def _reminders(request: web.Request, view: ParticipantView) -> web.Response:
    translation = Translation(_language(request))
    text = translation.text
    if view.reminders:
        heading = text("No more reminders?")
        values: dict[str, Any] = {
            "tone": "over",
            "heading": heading,
            "line": text("You will get no more letters that remind of the entry fee."),
            "button": text("Stop the reminders"),
        }
    else:
        heading = text("You will get no more reminders")
        line = text("The registration desk can turn them on again.")
        values = {"tone": "paid", "heading": heading, "line": line, "button": None}
    values |= {"body": "reminders.html.j2", "title": heading, "events": None, "version": ""}
    policy = _policy().replace("form-action 'none'", "form-action 'self'")
    return _html(translation, values, headers={"Content-Security-Policy": policy})


async def _send(response: web.StreamResponse, text: str) -> None:
    """
    :raises ConnectionError: nobody reads any more. :raises TimeoutError: it is not read in time.
    """
    async with asyncio.timeout(_SEND_S):
        await response.write(text.encode())


async def _read(request: web.Request) -> tuple[Opening, Content, Translation]:
    """Return the payment of the requested page, what the page says, and its language.

    :raises BadSignature: a code that we did not make. :raises NotFound: the payment is gone.
    """
    ctx = request.app[STATE].ctx
    opening = await page_link.of_page(ctx, request.match_info["code"])
    logs.note(payment_id=opening.view.payment_id)
    translation = Translation(_language(request))
    return opening, _content(request, opening, translation), translation


def _content(request: web.Request, opening: Opening, translation: Translation) -> Content:
    ctx = linking_context(request)
    return content(translation, opening, ctx.clock(), page_link.page_url(ctx, opening.view))


def _language(request: web.Request) -> Language:
    """Return the language that was chosen on the page, else the browser's, else that of the letters."""
    chosen = preferred(request.query.get("lang")) or preferred(request.headers.get("Accept-Language"))
    return chosen or request.app[STATE].settings.mail_language


def _values(
    request: web.Request, opening: Opening, page: Content, translation: Translation
) -> dict[str, Any]:
    ctx = request.app[STATE].ctx
    return {
        "text": translation.text,
        "page": page,
        "path": f"{page_link.PATH}/{request.match_info['code']}",
        "left": page.seconds_left(ctx.clock()),
        "qr": _qr(page.qr) if page.qr else None,
        "is_test": _mode(ctx, opening) in _NO_MONEY,
    }


def _mode(ctx: AppContext, opening: Opening) -> ProviderMode:
    return ctx.senders.mode(kaspi=opening.view.channel.is_kaspi)


def _qr(payload: str) -> Markup:
    import segno

    svg = io.BytesIO()
    segno.make(payload, error="m", micro=False).save(
        svg, kind="svg", border=_QR_BORDER, xmldecl=False, svgns=False, omitsize=True, nl=False,
        svgclass=None, lineclass=None, title="QR",
    )  # fmt: skip
    return Markup(svg.getvalue().decode())  # noqa: S704 - modules alone; the payload is not in it


def _html(
    translation: Translation, values: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    text = (
        _templates()
        .get_template("page.html.j2")
        .render(
            values | {"language": translation.language, "languages": _LANGUAGES, "text": translation.text}
        )
    )
    return web.Response(
        text=text,
        status=status,
        content_type=_HTML,
        headers={"Content-Security-Policy": _policy(), "X-Robots-Tag": "noindex"} | (headers or {}),
    )


def _for_people(handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return the handler with pages in place of the API's errors, which say nothing about the payment."""

    @functools.wraps(handler)
    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except (BadSignature, NotFound):
            return _message(request, 404)
        except PaymentError as error:
            logs.note_unavailable(error)
            log.warning("%s: %s", type(error).__name__, error.message, extra=fault_of(error))
            status = error.http_status if error.http_status in (429, 503) else 503
            return _message(request, status, error.retry_after or 5)

    return handle


def _message(request: web.Request, status: int, retry_after: int | None = None) -> web.Response:
    translation = Translation(_language(request))
    text = translation.text
    heading, line = {
        404: (
            text("There is no such page"),
            text("Check the link, or ask at the registration desk."),
        ),
        429: (text("Too many requests"), text("Please wait a minute and load the page again.")),
    }.get(
        status,
        (
            text("The page is not available at the moment"),
            text("No payment is lost. Please load the page again in a minute."),
        ),
    )
    values = {"body": "message.html.j2", "title": heading, "heading": heading, "line": line}
    headers = {"Retry-After": str(retry_after)} if retry_after else {}
    return _html(translation, values | {"events": None, "version": ""}, status, headers)


@functools.cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("procomp_pay.server.pages", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["css"] = Markup(_file("page.css"))  # noqa: S704 - a file of ours
    environment.globals["script"] = Markup(_file("page.js"))  # noqa: S704 - a file of ours
    return environment


@functools.cache
def _policy() -> str:
    """Return a policy that admits our style and our script, by their hashes, and our events."""
    style, script = _hash("page.css"), _hash("page.js")
    return (
        f"default-src 'none'; style-src '{style}'; script-src '{script}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hash(name: str) -> str:
    digest = hashlib.sha256(_file(name).encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


@functools.cache
def _file(name: str) -> str:
    return (files("procomp_pay.server.pages") / name).read_text("utf-8")
