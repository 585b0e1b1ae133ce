"""POST to configured addresses: the platform's signed webhook, and a chat's incoming webhook."""

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

#: The longest time of one POST, in seconds (Standard Webhooks recommends 15 to 30).
TOTAL_S = 15.0
#: Status codes below 500 after which another attempt may succeed.
_TEMPORARY = frozenset({408, 425, 429})


class Hook:
    """One address. Redirects are not followed: a signed body is sent only to its configured receiver.

    :param total_s: the longest time of one POST, in seconds.
    """

    def __init__(self, url: str, *, total_s: float = TOTAL_S) -> None:
        self._url = url
        self._total_s = total_s
        self._http: httpx.AsyncClient | None = None

    @property
    def host(self) -> str:
        """Return the host, for messages: the address itself may be a secret, as Slack's are."""
        return urlsplit(self._url).hostname or ""

    async def post(self, body: str, headers: dict[str, str], now: datetime) -> DeliveryResponse:
        """POST a JSON document. Only the status and ``Retry-After`` of the answer are read."""
        all_headers = headers | {"Content-Type": "application/json", "User-Agent": "procomp-pay"}
        try:
            async with (
                asyncio.timeout(self._total_s),
                self._client().stream(
                    "POST", self._url, content=body.encode(), headers=all_headers
                ) as response,
            ):
                return _delivery_response(response, now)
        except (TimeoutError, httpx.TimeoutException):
            return DeliveryResponse(DeliveryOutcome.AGAIN, f"{self.host} did not answer in time")
        except (httpx.HTTPError, OSError) as error:
            return DeliveryResponse(
                DeliveryOutcome.AGAIN, f"{self.host} cannot be reached ({type(error).__name__})"
            )

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            local = is_loopback(self.host)
            self._http = httpx.AsyncClient(
                timeout=self._total_s,
                follow_redirects=False,
                # the bundle of authorities is read only for https, and loopback needs no proxy
                verify=self._url.startswith("https:"),
                trust_env=not local,
            )
        return self._http

    async def aclose(self) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None


class SignedHook:
    """The platform's webhook, by Standard Webhooks: https://github.com/standard-webhooks/standard-webhooks.

    :param secrets: ``whsec_…``, newest first; during a rotation the body is signed with each.
    """

    def __init__(self, hook: Hook, secrets: Sequence[str]) -> None:
        self._hook = hook
        self._secrets = tuple(secrets)

    async def send(self, key: str, body: str, now: datetime) -> DeliveryResponse:
        """Sign and send a body.

        :param key: the message id, the same at every attempt, so that the receiver recognises a repetition.
        :param now: the time of the attempt; receivers reject signatures older than some minutes.
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
    """An incoming webhook of Slack, or of a compatible chat (Mattermost, Rocket.Chat)."""

    def __init__(self, hook: Hook) -> None:
        self._hook = hook

    async def send(self, text: str, now: datetime) -> DeliveryResponse:
        """Post to the channel.

        :param text: mrkdwn, with outside text escaped.
        """
        return await self._hook.post(json.dumps({"text": text}, ensure_ascii=False), {}, now)

    async def aclose(self) -> None:
        await self._hook.aclose()


def _delivery_response(response: httpx.Response, now: datetime) -> DeliveryResponse:
    status, host = response.status_code, response.url.host
    if response.is_success:
        return DeliveryResponse(DeliveryOutcome.DELIVERED)
    if status >= 500 or status in _TEMPORARY:
        wait = _retry_after_s(response.headers.get("Retry-After"), now)
        return DeliveryResponse(DeliveryOutcome.AGAIN, f"{host} answered {status}", wait)
    if response.has_redirect_location:
        return DeliveryResponse(
            DeliveryOutcome.REFUSED, f"{host} answered {status}: a redirect is not followed"
        )
    gone = ": the webhook no longer exists there" if status == 410 else ""
    return DeliveryResponse(DeliveryOutcome.REFUSED, f"{host} answered {status}{gone}")


def _retry_after_s(header: str | None, now: datetime) -> int | None:
    """Return the seconds of a ``Retry-After``, which may also be a date."""
    seconds = retry_after_s(header)
    if seconds is not None or header is None:
        return seconds
    try:
        return max(0, int((parsedate_to_datetime(header) - now).total_seconds()))
    except (TypeError, ValueError, OverflowError):
        return None
