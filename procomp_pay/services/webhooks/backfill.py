"""Fetch the events that never reached the webhook, by reading on in Stripe's list of events.

The cursor is a time by Stripe's clock. It is saved only when everything before it is in the inbox: after a
crash the same part is read again, and the inbox stores each event once.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, runtime_checkable

from procomp_pay.domain.errors import ConfigurationError, Refused
from procomp_pay.domain.states import Channel
from procomp_pay.providers.stripe.webhook_events import READERS
from procomp_pay.services.context import AppContext
from procomp_pay.services.webhooks.stripe import arrival
from procomp_pay.storage.webhooks import cursors
from procomp_pay.storage.webhooks.intake import insert_events

log = logging.getLogger(__name__)

FEED = "stripe.events"
#: Seconds between two readings, by any process; a little under cron's minute.
EVERY_S = 50
#: Seconds after which another process may take an unfinished reading over.
LEASE_S = 300
#: An event may appear in the list a little later than newer ones.
OVERLAP = timedelta(minutes=3)
#: How far back Stripe lists events.
KEPT = timedelta(days=30)
#: After a long downtime the list is read in pieces of this length, so that a crash loses little work.
PIECE = timedelta(hours=12)
#: Allowed difference between Stripe's clock and ours; a piece that ends within it has no upper bound.
_SKEW = timedelta(hours=1)


@runtime_checkable
class EventSource(Protocol):
    """A provider that lists its events."""

    async def events(
        self, types: list[str], since: datetime, until: datetime | None, after: str | None
    ) -> tuple[list[dict[str, Any]], bool]:
        """Return a page of events, newest first, and whether there are more."""


async def fetch_missed(ctx: AppContext, on_progress: Callable[[], None] = lambda: None) -> int | None:
    """Store the listed events that the inbox does not have.

    :param on_progress: called after each page.
    :returns: the number of events stored; ``None`` if it was not due or Stripe is not configured.
    :raises ProviderUnavailable, OutcomeUnknown, DatabaseUnavailable: the next call continues here.
    """
    try:
        provider = ctx.providers.of(Channel.STRIPE_INTENT)
    except ConfigurationError:
        return None  # no Stripe, no events
    if not isinstance(provider, EventSource):
        return None
    async with ctx.db.writing() as session:
        cursor = await cursors.claim(session, FEED, ctx.clock(), lease_s=LEASE_S)
        since = (cursor.read_until or await cursors.first_payment_at(session)) if cursor else None
    if cursor is None:
        return None
    stored = 0
    try:
        if since is not None:
            stored = await _read_on(ctx, provider, since, on_progress)
    finally:
        async with ctx.db.writing() as session:
            await cursors.note(session, FEED, next_read_at=ctx.clock() + timedelta(seconds=EVERY_S))
    if stored:
        log.warning("%d events had not reached the webhook and were fetched", stored)
    return stored


async def _read_on(
    ctx: AppContext, provider: EventSource, since: datetime, on_progress: Callable[[], None]
) -> int:
    oldest = ctx.clock() - KEPT
    if since < oldest:
        log.warning("Stripe no longer lists the events from %s to %s", since.date(), oldest.date())
        since = oldest
    stored = 0
    while True:
        until = since + PIECE
        last = until > ctx.clock() - _SKEW
        count, newest = await _read_piece(
            ctx, provider, since - OVERLAP, None if last else until, on_progress
        )
        stored += count
        reached = newest if last else until
        if reached is not None:
            async with ctx.db.writing() as session:
                await cursors.note(session, FEED, read_until=reached)
        if last:
            return stored
        since = until


async def _read_piece(
    ctx: AppContext,
    provider: EventSource,
    since: datetime,
    until: datetime | None,
    on_progress: Callable[[], None],
) -> tuple[int, datetime | None]:
    """Store the events of a time span; return how many were new, and the time of the newest event."""
    stored, after, newest = 0, None, None
    while True:
        page, more = await provider.events(sorted(READERS), since, until, after)
        if not page:
            return stored, newest
        newest = newest or datetime.fromtimestamp(int(page[0]["created"]), UTC)
        stored += await _store_new(ctx, page)
        on_progress()
        if not more:
            return stored, newest
        after = str(page[-1]["id"])


async def _store_new(ctx: AppContext, page: list[dict[str, Any]]) -> int:
    """Store the events of a page that the inbox does not have; return how many."""
    async with ctx.db.reading() as session:
        known = await cursors.known(session, "stripe", [str(event["id"]) for event in page])
    intake = []
    for event in page:
        if event["id"] not in known:
            try:
                intake.append(arrival(ctx, json.dumps(event, ensure_ascii=False).encode()))
            except Refused:
                log.error("Stripe lists an event that cannot be read: %s", str(event["id"])[:64])  # noqa: TRY400
    if not intake:
        return 0
    async with ctx.db.writing() as session:
        return len(await insert_events(await session.connection(), intake, ctx.clock()))
