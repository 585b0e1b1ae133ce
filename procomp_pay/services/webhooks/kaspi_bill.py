"""Kaspi's bill protocol: the customer types an account in the Kaspi app, and Kaspi calls us.

``check`` asks whether the account can be paid and changes nothing; ``pay`` says that the money was taken.
What does not fit is refused at ``check``. At ``pay`` the money is there already: it is always kept, as a
payment of its own through the one door, or where nobody can be found whose it is, in the inbox with an alert.
The same ``txn_id`` gets the same answer, however often Kaspi asks, and is paid once.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.errors import InvalidAmount
from procomp_pay.domain.fees import Charge
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.operation_number import canonical
from procomp_pay.domain.transitions import DiscrepancyKind
from procomp_pay.services.context import AppContext
from procomp_pay.services.unapplied import keep_unapplied
from procomp_pay.services.webhooks.kaspi_bill_account import Account, Result, account_status, find
from procomp_pay.services.webhooks.kaspi_bill_payment import Arrived, confirm, take
from procomp_pay.storage.database.errors import retrying
from procomp_pay.storage.models import exact_json
from procomp_pay.storage.models.queues import WebhookEvent
from procomp_pay.storage.models.states import EventState
from procomp_pay.storage.payments import kaspi_operations as numbers
from procomp_pay.storage.registrations import lookup as people
from procomp_pay.storage.webhooks import inbox as queues
from procomp_pay.storage.webhooks.intake import IncomingEvent, insert_events

log = logging.getLogger(__name__)

PROVIDER = "kaspi_bill"
#: How far Kaspi's clock may be from ours; what is farther off is a slip, and the arrival counts.
_CLOCKS = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class BillAsk:
    """What Kaspi asks. Texts are as they came, at most 200 characters each, printable.

    :param money: ``None`` where ``sum`` is no amount; ``at`` ``None`` where ``txn_date`` is no date.
    """

    txn_id: str
    account: str
    sum_text: str
    money: Money | None = None
    at: datetime | None = None

    def document(self) -> dict[str, str | None]:
        """For the inbox."""
        at = self.at.isoformat() if self.at else None
        return {"txn_id": self.txn_id, "account": self.account, "sum": self.sum_text, "at": at}


@dataclass(frozen=True, slots=True)
class BillAnswer:
    """What Kaspi is answered.

    :param prv_txn: our number of a ``pay``: 15 digits.
    :param money: what is due (``check``) or what was taken (``pay``).
    """

    txn_id: str
    result: Result
    comment: str
    prv_txn: str | None = None
    money: Money | None = None


def read_sum(text: str) -> Money | None:
    """An amount in tenge, such as ``24000.00``; ``None`` where it is none."""
    if not (text.isascii() and text.replace(".", "", 1).isdigit() and len(text) <= 16):
        return None
    try:
        return Money.parse(text, Currency.KZT)
    except InvalidAmount:
        return None


async def check(ctx: AppContext, ask: BillAsk) -> BillAnswer:
    """Whether the account can be paid now, and how much is due. The sum that Kaspi names is a placeholder."""
    async with ctx.db.reading() as session:
        account = await find(session, ask.account)
        found = await account_status(session, account)
    return BillAnswer(ask.txn_id, found.result, found.comment, money=found.due)


async def pay(ctx: AppContext, ask: BillAsk) -> BillAnswer:
    """Take the money. When this returns, it is durable.

    :raises DatabaseUnavailable: nothing was written: Kaspi must ask again.
    """
    return await retrying(lambda: _pay(ctx, ask))


async def _pay(ctx: AppContext, ask: BillAsk) -> BillAnswer:
    async with ctx.db.writing() as session:
        arrival = IncomingEvent(
            id=ctx.new_id(),
            provider=PROVIDER,
            event_id=ask.txn_id,
            type="pay",
            payload_enc=ctx.keyring.encrypt(exact_json.dumps({"ask": ask.document()})),
            occurred_at=int(_when(ctx, ask).timestamp()),
        )
        # a twin of the same txn_id waits here for the first one's commit
        if not await insert_events(session, [arrival], ctx.clock()):
            return await _answered_before(session, ctx, ask)
        row = await queues.of_event(session, PROVIDER, ask.txn_id)
        answer = await _take(session, ctx, ask, row)
        said = {"result": answer.result.value, "comment": answer.comment, "prv_txn": answer.prv_txn}
        kept = {"ask": ask.document(), "answer": said}
        row.payload_enc = ctx.keyring.encrypt(exact_json.dumps(kept))
        row.attempts, row.handled_at, row.next_attempt_at = 1, ctx.clock(), None
        return answer


def _when(ctx: AppContext, ask: BillAsk) -> datetime:
    now = ctx.clock()
    return ask.at if ask.at is not None and abs(ask.at - now) <= _CLOCKS else now


async def _take(session: AsyncSession, ctx: AppContext, ask: BillAsk, row: WebhookEvent) -> BillAnswer:
    prv_txn = _our_number(row.id)
    account = await find(session, ask.account)
    if account is None or account.fee is None or ask.money is None:
        row.state = EventState.FOREIGN
        why = _why_not(account, ask)
        found = {**ask.document(), "why": why[1]}
        await keep_unapplied(session, ctx, PROVIDER, ask.txn_id, found)
        return BillAnswer(ask.txn_id, why[0], why[1], prv_txn, ask.money)
    row.payment_id = await _apply(session, ctx, account, account.fee, ask)
    row.state = EventState.DONE
    return BillAnswer(ask.txn_id, Result.OK, "OK", prv_txn, ask.money)


async def _apply(session: AsyncSession, ctx: AppContext, account: Account, fee: Money, ask: BillAsk) -> str:
    """The payment that the money became."""
    if ask.money is None:
        raise ValueError("money is applied that nobody can read")
    arrived = Arrived(ask.txn_id, ask.money, _when(ctx, ask))
    # a clerk who types this number at the same moment holds this lock, or waits for it
    await people.participant(session, account.who.id, lock=True)
    used = await numbers.used_by(session, canonical(ask.txn_id))
    if used is not None and await numbers.participant_of(session, used.payment_id) == account.who.id:
        return await confirm(session, ctx, used, arrived)  # a clerk was faster: the same money
    return await take(session, ctx, account, Charge(fee, fee), arrived)


async def apply_again(
    session: AsyncSession, ctx: AppContext, row: WebhookEvent
) -> tuple[str | None, EventState]:
    """What the inbox does with a ``pay`` that an operator replays: the account may be known by now. What
    Kaspi was answered stays."""
    kept = exact_json.loads(ctx.keyring.decrypt(row.payload_enc))
    before = kept.get("ask")
    if row.payment_id is not None or before is None:
        return row.payment_id, EventState.DONE if row.payment_id else EventState.FOREIGN
    at = datetime.fromisoformat(before["at"]) if before["at"] else None
    ask = BillAsk(before["txn_id"], before["account"], before["sum"], read_sum(before["sum"]), at)
    account = await find(session, ask.account)
    if account is None or account.fee is None or ask.money is None:
        return None, EventState.FOREIGN
    return await _apply(session, ctx, account, account.fee, ask), EventState.DONE


async def keep_unreadable(ctx: AppContext, query: str) -> None:
    """Money was taken, and nobody can read for whom: the request itself is kept, for a person."""
    event_id = hashlib.sha256(query.encode("utf-8", "replace")).hexdigest()
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in query[:2000])
    arrival = IncomingEvent(
        id=ctx.new_id(),
        provider=PROVIDER,
        event_id=event_id,
        type="unreadable",
        payload_enc=ctx.keyring.encrypt(exact_json.dumps({"query": shown})),
        occurred_at=int(ctx.clock().timestamp()),
    )
    async with ctx.db.writing() as session:
        if await insert_events(session, [arrival], ctx.clock()):
            row = await queues.of_event(session, PROVIDER, event_id)
            row.state, row.attempts, row.next_attempt_at = EventState.FOREIGN, 1, None
            row.handled_at = ctx.clock()
            await keep_unapplied(session, ctx, PROVIDER, event_id, {"query": shown[:300]})


def _why_not(account: Account | None, ask: BillAsk) -> tuple[Result, str]:
    if account is None:
        return Result.NO_ACCOUNT, "There is no such account"
    if ask.money is None:
        return Result.OTHER, "The sum is no amount of money"
    return Result.OTHER, "The tournament has no fee in tenge"


async def _answered_before(session: AsyncSession, ctx: AppContext, ask: BillAsk) -> BillAnswer:
    row = await queues.of_event(session, PROVIDER, ask.txn_id)
    kept = exact_json.loads(ctx.keyring.decrypt(row.payload_enc))
    before, said = kept["ask"], kept["answer"]
    if (before["account"], before["sum"]) != (ask.account, ask.sum_text):
        log.error("Kaspi sent txn_id %s twice with different contents", ask.txn_id)
        await queues.open_discrepancy(
            session,
            DiscrepancyKind.AMOUNT_MISMATCH,
            row.payment_id,
            {"first": before, "again": ask.document()},
            key=f"{PROVIDER}:{ask.txn_id}",
            row_id=ctx.new_id(),
            now=ctx.clock(),
        )
    money = read_sum(str(before["sum"]))
    return BillAnswer(ask.txn_id, Result(said["result"]), said["comment"], said["prv_txn"], money)


def _our_number(row_id: str) -> str:
    """Digits, since older forms of the protocol take no others (OSMP: an integer of at most 20)."""
    value = int.from_bytes(hashlib.sha256(row_id.encode()).digest()[:8], "big")
    return str(10**14 + value % (9 * 10**14))
