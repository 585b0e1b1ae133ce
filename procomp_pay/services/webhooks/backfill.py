"""Events that never reached the webhook: Stripe's list is read from where it was last read to the end.

How far that is, is a time by Stripe's clock and is written down only when everything before it is in the
inbox: a crash at any point reads the same again, and the inbox takes each event once.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, runtime_checkable

from procomp_pay.domain.errors import ConfigurationError, Refused
from procomp_pay.domain.states import Channel
from procomp_pay.providers.stripe.webhook_events import READERS
from procomp_pay.services.context import AppContext
from procomp_pay.services.webhooks.inbox import arrival
from procomp_pay.storage.webhooks import cursors
from procomp_pay.storage.webhooks.intake import insert_events

log = logging.getLogger(__name__)

FEED = "stripe.events"
#: Between two readings by whatever process, in seconds; a little under cron's minute.
EVERY_S = 50
#: How long one reading may take until another process begins from where it was, in seconds.
LEASE_S = 300
#: An event may show in the list a little after those that are younger.
OVERLAP = timedelta(minutes=3)
#: Stripe's list reaches back as far.
KEPT = timedelta(days=30)
#: After a long standstill the list is read in pieces, so that a crash does not begin at the beginning.
PIECE = timedelta(hours=12)
#: Allowed difference between Stripe's clock and ours; the last piece is open-ended.
_SKEW = timedelta(hours=1)


@runtime_checkable
class EventSource(Protocol):
    """A provider that lists its events."""

    async def events(
        self, types: list[str], since: datetime, until: datetime | None, after: str | None
    ) -> tuple[list[dict[str, Any]], bool]:
        """A page, newest first, and whether there are more."""


async def fetch_missed(ctx: AppContext) -> int | None:
    """Put what the inbox does not have into it.

    :returns: how many events that were; ``None`` where it was not due, or there is nothing to ask.
    :raises ProviderUnavailable, OutcomeUnknown, DatabaseUnavailable: it goes on from the same place later.
    """
    try:
        provider = ctx.providers.of(Channel.STRIPE_INTENT)
    except ConfigurationError:
        return None  # no Stripe, no events
    if not isinstance(provider, EventSource):
        return None
    async with ctx.db.writing() as session:
        feed = await cursors.claim(session, FEED, ctx.clock(), lease_s=LEASE_S)
        since = (feed.read_until or await cursors.first_payment_at(session)) if feed else None
    if feed is None:
        return None
    found = 0
    try:
        if since is not None:
            found = await _read_on(ctx, provider, since)
    finally:
        async with ctx.db.writing() as session:
            await cursors.note(session, FEED, next_read_at=ctx.clock() + timedelta(seconds=EVERY_S))
    if found:
        log.warning("%d events had not reached the webhook and were fetched", found)
    return found


async def _read_on(ctx: AppContext, provider: EventSource, since: datetime) -> int:
    oldest = ctx.clock() - KEPT
    if since < oldest:
        log.warning("events from %s to %s cannot be listed any more", since.date(), oldest.date())
        since = oldest
    found = 0
    while True:
        until = since + PIECE
        last = until > ctx.clock() - _SKEW
        put, newest = await _read_piece(ctx, provider, since - OVERLAP, None if last else until)
        found += put
        reached = newest if last else until
        if reached is not None:
            async with ctx.db.writing() as session:
                await cursors.note(session, FEED, read_until=reached)
        if last:
            return found
        since = until


async def _read_piece(
    ctx: AppContext, provider: EventSource, since: datetime, until: datetime | None
) -> tuple[int, datetime | None]:
    """Everything of a span; how many were put into the inbox, and the time of the newest one there is."""
    found, after, newest = 0, None, None
    while True:
        page, more = await provider.events(sorted(READERS), since, until, after)
        if not page:
            return found, newest
        newest = newest or datetime.fromtimestamp(int(page[0]["created"]), UTC)
        found += await _keep(ctx, page)
        if not more:
            return found, newest
        after = str(page[-1]["id"])


async def _keep(ctx: AppContext, page: list[dict[str, Any]]) -> int:
    async with ctx.db.reading() as session:
        known = await cursors.known(session, "stripe", [str(event["id"]) for event in page])
    intake = []
    for event in page:
        if event["id"] not in known:
            try:
                intake.append(arrival(ctx, json.dumps(event, ensure_ascii=False).encode()))
            except Refused:
                log.error("a listed event is none: %s", str(event["id"])[:64])  # noqa: TRY400
    if not intake:
        return 0
    async with ctx.db.writing() as session:
        return len(await insert_events(session, intake, ctx.clock()))
