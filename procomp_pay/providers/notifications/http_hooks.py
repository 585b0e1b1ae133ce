"""POSTs to addresses that the operator set: the platform's signed webhook, a chat's incoming webhook."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx

from procomp_pay.config.delivery import is_loopback
from procomp_pay.domain.notifications import DeliveryOutcome, DeliveryResponse
from procomp_pay.providers.resilience.retry import retry_after_s

#: The longest that one POST may take, in seconds (Standard Webhooks says 15 to 30).
TOTAL_S = 15.0
#: Answers below 500 that may be other ones later.
_PASSING = frozenset({408, 425, 429})


class Hook:
    """One address. Redirects are not followed: a signed body goes to whom it was signed for.

    :param total_s: the longest that one POST may take.
    """

    def __init__(self, url: str, *, total_s: float = TOTAL_S) -> None:
        self._url = url
        self._total_s = total_s
        self._http: httpx.AsyncClient | None = None

    @property
    def host(self) -> str:
        """For a person: the address itself may be a secret, as Slack's are."""
        return urlsplit(self._url).hostname or ""

    async def post(self, body: str, headers: dict[str, str], now: datetime) -> DeliveryResponse:
        """POST a JSON document. Of the answer only its status and ``Retry-After`` are read."""
        sent = headers | {"Content-Type": "application/json", "User-Agent": "procomp-pay"}
        try:
            async with (
                asyncio.timeout(self._total_s),
                self._client().stream("POST", self._url, content=body.encode(), headers=sent) as got,
            ):
                return _answer(got, now)
        except (TimeoutError, httpx.TimeoutException):
            return DeliveryResponse(DeliveryOutcome.AGAIN, f"{self.host} did not answer in time")
        except (httpx.HTTPError, OSError) as error:
            return DeliveryResponse(
                DeliveryOutcome.AGAIN, f"{self.host} cannot be reached ({type(error).__name__})"
            )

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            here = is_loopback(self.host)
            self._http = httpx.AsyncClient(
                timeout=self._total_s,
                follow_redirects=False,
                # the bundle of authorities is read for https alone, and no proxy stands before this machine
                verify=self._url.startswith("https:"),
                trust_env=not here,
            )
        return self._http

    async def aclose(self) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None


class SignedHook:
    """The platform's webhook, by Standard Webhooks: https://github.com/standard-webhooks/standard-webhooks.

    :param secrets: ``whsec_…``, newest first; while one rotates the body is signed by each.
    """

    def __init__(self, hook: Hook, secrets: Sequence[str]) -> None:
        self._hook = hook
        self._secrets = tuple(secrets)

    async def send(self, key: str, body: str, now: datetime) -> DeliveryResponse:
        """Sign and send a body.

        :param key: the same at every attempt, so that the receiver can tell a repetition.
        :param now: the attempt's time; receivers refuse what is older than some minutes.
        """
        from standardwebhooks import Webhook

        stamp = now.astimezone(UTC)
        signatures = [Webhook(secret).sign(key, stamp, body) for secret in self._secrets]
        headers = {
            "webhook-id": key,
            "webhook-timestamp": str(int(stamp.timestamp())),
            "webhook-signature": " ".join(signatures),
        }
        return await self._hook.post(body, headers, now)

    async def aclose(self) -> None:
        await self._hook.aclose()


class ChatHook:
    """An incoming webhook of Slack, or of a chat that takes the same (Mattermost, Rocket.Chat)."""

    def __init__(self, hook: Hook) -> None:
        self._hook = hook

    async def send(self, text: str, now: datetime) -> DeliveryResponse:
        """Say something in the channel. ``text`` is mrkdwn, with what comes from outside escaped."""
        return await self._hook.post(json.dumps({"text": text}, ensure_ascii=False), {}, now)

    async def aclose(self) -> None:
        await self._hook.aclose()


def _answer(got: httpx.Response, now: datetime) -> DeliveryResponse:
    status, host = got.status_code, got.url.host
    if got.is_success:
        return DeliveryResponse(DeliveryOutcome.DELIVERED)
    if status >= 500 or status in _PASSING:
        return DeliveryResponse(
            DeliveryOutcome.AGAIN, f"{host} answered {status}", _asked_s(got.headers.get("Retry-After"), now)
        )
    if got.has_redirect_location:
        return DeliveryResponse(
            DeliveryOutcome.REFUSED, f"{host} answered {status}: a redirect is not followed"
        )
    gone = ": it wants no more" if status == 410 else ""
    return DeliveryResponse(DeliveryOutcome.REFUSED, f"{host} answered {status}{gone}")


def _asked_s(header: str | None, now: datetime) -> int | None:
    """The seconds of a ``Retry-After``, which may also be a date."""
    seconds = retry_after_s(header)
    if seconds is not None or header is None:
        return seconds
    try:
        return max(0, int((parsedate_to_datetime(header) - now).total_seconds()))
    except (TypeError, ValueError, OverflowError):
        return None
