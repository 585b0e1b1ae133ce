"""Follow payments for the pages that show them: one reader for each payment, however many look at it.

The provider is polled by the background loops and by the desk; here only the database is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from procomp_pay.domain.errors import PaymentError, Unavailable, fault_of
from procomp_pay.services.context import AppContext
from procomp_pay.services.views import payment as views
from procomp_pay.services.views.payment import Opening
from procomp_pay.storage.database.connection_queue import begin_request

log = logging.getLogger(__name__)

#: Seconds between two reads of a payment, and of one that is over but may still turn out to be paid.
READ_S = 1.0
READ_LATER_S = 5.0
#: The most pages that are followed at a time, in all and of one payment.
MOST = 1000
MOST_OF_ONE = 20


@dataclass(eq=False, slots=True)
class Followed:
    """A payment that pages are following."""

    opening: Opening
    pages: int = 0
    #: Replaced after each read, and set then.
    read: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Streams:
    """The payments that this process follows."""

    def __init__(self, ctx: AppContext) -> None:
        self._ctx = ctx
        self._followed: dict[str, Followed] = {}
        self._over = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """True once the server stops: no page is followed further."""
        return self._over.is_set()

    @contextlib.asynccontextmanager
    async def following(self, opening: Opening) -> AsyncIterator[Followed]:
        """Follow a payment for one page.

        :param opening: the payment as it was just read.
        :raises Unavailable: too many pages are followed already, or the server stops.
        """
        payment_id = opening.view.payment_id
        followed = self._followed.get(payment_id)
        pages = sum(each.pages for each in self._followed.values())
        if self.is_over or pages >= MOST or (followed is not None and followed.pages >= MOST_OF_ONE):
            raise Unavailable("Too many pages are open", retry_after=30)
        if followed is None:
            followed = self._followed[payment_id] = Followed(opening)
            followed.task = asyncio.create_task(self._read_on(payment_id, followed))
        followed.pages += 1
        try:
            yield followed
        finally:
            followed.pages -= 1
            if not followed.pages and self._followed.get(payment_id) is followed:
                del self._followed[payment_id]  # its reader ends after the read in hand

    async def stop(self) -> None:
        """End all pages' streams, and wait for the reads in hand."""
        self._over.set()
        tasks = [each.task for each in self._followed.values() if each.task is not None]
        for each in self._followed.values():
            each.read.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read_on(self, payment_id: str, followed: Followed) -> None:
        while self._followed.get(payment_id) is followed:
            pause = READ_LATER_S if followed.opening.view.is_final else READ_S
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), pause)
                return
            if self._followed.get(payment_id) is not followed:
                return
            begin_request()  # the page's own has long had its answer: this read waits like a new one
            try:
                followed.opening = await views.opening(self._ctx, payment_id)
            except PaymentError as error:
                log.warning("a page's payment cannot be read: %s", error.message, extra=fault_of(error))
                continue
            except Exception:
                log.exception("a page's payment cannot be read")
                continue
            finally:
                followed.read.set()
                followed.read = asyncio.Event()
