"""Kaspi by API: it has no list to read, so each open or recent payment is asked for, at a bounded rate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from procomp_pay.domain.errors import NotFound, Refused, Unavailable
from procomp_pay.domain.reconciliation.records import Theirs
from procomp_pay.domain.states import Channel, CreateState
from procomp_pay.services.reconciliation.compare import judge_page
from procomp_pay.services.reconciliation.context import Court, keep
from procomp_pay.services.reconciliation.our_records import held_by_id, ids_in, open_ids
from procomp_pay.services.reconciliation.repair import ask
from procomp_pay.storage.payments.repository import Held
from procomp_pay.storage.reconciliation.staging import Suspect

#: Questions at a time, and payments of one page.
AT_ONCE = 4
PAGE = 100
WORD = "payments asked for"

Seen = Callable[[str, int], None]


async def ask_each(court: Court, seen: Seen) -> None:
    """Judge every payment that was started in the window, and every open one of any age. Where Kaspi stops
    answering, ``report.cut`` says how far it got; what was judged stays judged.

    :raises ConfigurationError: Kaspi is not configured, or does not let us in.
    """
    desk, report = court.desk, court.report
    try:
        await _window(court, seen)
        await _open_ones(court, seen)
    except Unavailable as error:
        report.cut = f"{error.message}, after {report.read[WORD]} {WORD}"
    try:
        desk.providers.of(Channel.KASPI_QR).ready_to_refund()
    except Refused:
        report.notes.append(
            "Kaspi's basic scheme tells neither amounts nor refunds: compare those with the Kaspi Pay "
            "statement (--statement FILE)"
        )


async def _window(court: Court, seen: Seen) -> None:
    report, after = court.report, ""
    while True:
        async with court.desk.db.reading() as session:
            ids = await ids_in(session, "kaspi", report.since, report.until, after=after, limit=PAGE)
        if not ids:
            return
        await _judge(court, ids, seen)
        after = ids[-1]


async def _open_ones(court: Court, seen: Seen) -> None:
    report, after = court.report, ""
    while True:
        async with court.desk.db.reading() as session:
            ids = await open_ids(session, "kaspi", after=after, limit=PAGE)
            held = await held_by_id(session, ids)
        if not ids:
            return
        older = [each for each in ids if each in held and held[each].detail.created_at < report.since]
        if older:
            await _judge(court, older, seen)
        after = ids[-1]


async def _judge(court: Court, ids: list[str], seen: Seen) -> None:
    async with court.desk.db.reading() as session:
        held = await held_by_id(session, ids)
    gate = asyncio.Semaphore(AT_ONCE)

    async def said(each: Held) -> list[Theirs] | None:
        async with gate:
            if court.pace is not None:
                await court.pace()
            try:
                return await ask(court.desk, each)
            except NotFound:
                return []

    # a question that fails ends the others: none is left behind to talk to a provider that is gone
    tasks: dict[str, asyncio.Task[list[Theirs] | None]] = {}
    try:
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(said(held[name])) for name in ids if _is_there(held.get(name))}
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    theirs = [each for task in tasks.values() for each in task.result() or []]
    court.report.read[WORD] += len(tasks)
    court.report.compared += len(ids)
    seen(WORD, court.report.read[WORD])
    untold = {name for name, task in tasks.items() if task.result() is None}
    suspects = [Suspect(name, name) for name in ids if name not in untold]
    await keep(court, await judge_page(court, suspects, sorted(theirs, key=lambda each: each.key)))
    # a gateway that cannot be asked misses nothing: there our own books alone are looked at
    alone = replace(court, reach=replace(court.reach, whole=False))
    await keep(court, await judge_page(alone, [Suspect(name, name) for name in ids if name in untold], []))


def _is_there(held: Held | None) -> bool:
    return held is not None and held.detail.create_state is CreateState.OPEN
