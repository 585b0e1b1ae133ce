"""Read and hash the audit trail in several processes, a range of chains at a time."""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, NamedTuple

from procomp_pay.services.audit.chain_check import Chain, Heads, note_head
from procomp_pay.storage.audit import read as audit_read
from procomp_pay.storage.audit.erasure import Erasures
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.encryption.keyring import Keyring, new_key

#: Entries of a range, about: a second's work, so that no process waits long for the last one.
RANGE = 5000


class CheckedChain(NamedTuple):
    """A chain as another process has read it.

    :param entries: how many it has. :param heads: what each seal that ends in it covers.
    :param end: the attributes of :class:`Chain` after its last entry; ``None`` if it is not plain, or has a
        fault.
    """

    payment_id: str
    entries: int
    heads: Heads
    end: tuple[Any, ...] | None


async def checked_chains(
    db: PaymentDatabaseService, bounds: Sequence[int], cut_until: int, processes: int
) -> AsyncIterator[CheckedChain]:
    """Yield all chains in their order.

    The processes begin anew: a copy of this one would share its connections to the database.

    :param bounds: the last entry of each seal. :param cut_until: as of :class:`Chain`.
    """
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _open, (db.url, list(bounds), cut_until))
    pending: deque[tuple[audit_read.ChainRange, Future[list[tuple[Any, ...]]]]] = deque()
    try:
        async for chains in audit_read.ranges(db, RANGE):
            pending.append((chains, _submitted(pool, chains)))
            if len(pending) > 2 * processes:
                for checked in await _result(db, bounds, cut_until, *pending.popleft()):
                    yield checked
        while pending:
            for checked in await _result(db, bounds, cut_until, *pending.popleft()):
                yield checked
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _submitted(pool: ProcessPoolExecutor, chains: audit_read.ChainRange) -> Future[list[tuple[Any, ...]]]:
    try:
        return pool.submit(_check, chains)
    except BrokenProcessPool as error:  # a process was killed: none takes any more
        future: Future[list[tuple[Any, ...]]] = Future()
        future.set_exception(error)
        return future


async def _result(
    db: PaymentDatabaseService,
    bounds: Sequence[int],
    cut_until: int,
    chains: audit_read.ChainRange,
    future: Future[list[tuple[Any, ...]]],
) -> list[CheckedChain]:
    """Return what a process found; read the range here if its process was killed."""
    try:
        return [CheckedChain(*checked) for checked in await asyncio.wrap_future(future)]
    except BrokenProcessPool:
        return await check_range(db, bounds, cut_until, chains)


async def check_range(
    db: PaymentDatabaseService, bounds: Sequence[int], cut_until: int, chains: audit_read.ChainRange
) -> list[CheckedChain]:
    """Read and check the chains of a range."""
    keyring = Keyring([new_key()])  # it proves no erasure, so those chains are judged where the keys are
    checked: list[CheckedChain] = []
    chain, entries, heads, has_flaw = Chain("", Erasures(keyring)), 0, Heads(), False

    def end() -> None:
        if entries:
            is_plain = chain.is_plain and not has_flaw
            values = (chain.seq, chain.hash, chain.row_id, chain.status, chain.refunded, chain.is_platforms)
            checked.append(CheckedChain(chain.payment_id, entries, heads, values if is_plain else None))

    async for link in audit_read.links(db, chains=chains):
        if link.payment_id != chain.payment_id:
            end()
            chain = Chain(link.payment_id, Erasures(keyring), archived_until=cut_until)
            entries, heads, has_flaw = 0, {}, False
        entries += 1
        has_flaw = bool(chain.take(link)) or has_flaw
        note_head(heads, bounds, link)
    end()
    return checked


_opened: tuple[asyncio.Runner, PaymentDatabaseService, list[int], int]


def _open(url: str, bounds: list[int], cut_until: int) -> None:
    """Prepare a new process."""
    global _opened  # noqa: PLW0603 - a pool's process has no other place
    _opened = asyncio.Runner(), PaymentDatabaseService(url), bounds, cut_until
    gc.disable()  # it looks for garbage among the entries: a fifth of the time
    gc.freeze()


def _check(chains: audit_read.ChainRange) -> list[tuple[Any, ...]]:
    """Return what :func:`check_range` does, as tuples, which are sent in half of the time."""
    runner, db, bounds, cut_until = _opened
    checked = [tuple(chain) for chain in runner.run(check_range(db, bounds, cut_until, chains))]
    gc.collect()
    return checked
