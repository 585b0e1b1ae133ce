"""The links of our pages, short enough for a QR in a terminal, and signed: ``/p/CODE`` of a payment,
``/r/CODE`` to stop reminders.

CODE is the payment's code, or its id where it has no code (for reminders the participant's id), and 80 bits
of a signature: nobody finds another page by guessing. Letters and digits alone, so that no messenger cuts the
link.
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import replace

from procomp_pay.domain.errors import BadSignature
from procomp_pay.domain.states import Channel
from procomp_pay.services.context import AppContext
from procomp_pay.services.views.payment import Opening, PaymentView, one, opening

#: The first segment of a page's path.
PATH = "/p"
#: The same for the page that stops reminders.
REMINDERS_PATH = "/r"
_PURPOSE = "payment-page"
_REMINDERS = "stop-reminders"
#: Bytes of the signature that are kept: 16 letters.
_SIGNED = 10


def page_url(ctx: AppContext, view: PaymentView) -> str:
    """Return the address of a payment's page."""
    return page_address(ctx, _key(view))


def _key(view: PaymentView) -> str:
    return view.code.replace("-", "").lower() if view.code else view.payment_id


def page_address(ctx: AppContext, key: str) -> str:
    """Return the address of a page.

    :param key: the payment's code in lower case without a hyphen, or its id.
    """
    return f"{ctx.base_url}{PATH}/{key}-{_short(ctx.keyring.sign(_PURPOSE, key))}"


def public_page_url(ctx: AppContext, view: PaymentView) -> str | None:
    """Return the address of a payment's page; ``None`` where no phone reaches the server."""
    return page_url(ctx, view) if ctx.is_public else None


def with_short_link(ctx: AppContext, shown: Opening) -> Opening:
    """Return a payment as the desk shows it: for a wallet, the link and the QR are those of our page.

    Stripe's own link has some 380 characters, whose QR fits no usual terminal. Where no phone reaches the
    server, it is left as it is.
    """
    url = public_page_url(ctx, shown.view) if shown.view.channel is Channel.STRIPE_CHECKOUT else None
    return shown if url is None else replace(shown, payment_url=url, qr_payload=url)


async def of_page(ctx: AppContext, code: str) -> Opening:
    """Return the payment of a page. A code that we did not sign is not looked up.

    :raises BadSignature: another code, or one that the payment had before it was moved to another
        participant, of whom the holder of that link must learn nothing.
    :raises NotFound: the payment is gone.
    """
    key = _signed(ctx, _PURPOSE, code)
    shown = await opening(ctx, (await one(ctx, key)).payment_id)
    if _key(shown.view) != key:
        raise _no_page()
    return shown


def reminders_url(ctx: AppContext, participant_id: str) -> str | None:
    """Return the link by which a participant gets no more reminders; ``None`` where no phone reaches us."""
    signature = _short(ctx.keyring.sign(_REMINDERS, participant_id))
    return f"{ctx.base_url}{REMINDERS_PATH}/{participant_id}-{signature}" if ctx.is_public else None


def of_reminders(ctx: AppContext, code: str) -> str:
    """Return the participant of a link that stops reminders.

    :raises BadSignature: a code that we did not sign.
    """
    return _signed(ctx, _REMINDERS, code)


def _signed(ctx: AppContext, purpose: str, code: str) -> str:
    key, _, signature = code.rpartition("-")
    expected = [_short(full) for full in ctx.keyring.signatures(purpose, key)] if code.isascii() else []
    matches = [hmac.compare_digest(each, signature) for each in expected]
    if not any(matches):
        raise _no_page()
    return key


def _no_page() -> BadSignature:
    return BadSignature("There is no such page")


def _short(signature: str) -> str:
    digest = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    return base64.b32encode(digest[:_SIGNED]).decode().lower()
