"""Answer Kaspi's bill protocol: the customer types an account in the Kaspi app, and Kaspi calls us.

``check`` asks whether the account can be paid and changes nothing; ``pay`` reports that money was taken.
Every obstacle is refused at ``check``. At ``pay`` the money has been taken already, so it is always recorded:
as a payment of its own through settlement or, if the participant is unknown, in the inbox with an alert.
The same ``txn_id`` always gets the same answer and is recorded once.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.entry_fees import Charge
from procomp_pay.domain.errors import InvalidAmount
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.operation_number import canonical
from procomp_pay.services.context import AppContext
from procomp_pay.services.settlement.side_effects import keep_unapplied
from procomp_pay.services.webhooks.decided_money import was_decided_before
from procomp_pay.services.webhooks.kaspi_bill_account import (
    Account,
    BillPayment,
    Result,
    account_status,
    confirm,
    find,
    record_payment,
)
from procomp_pay.storage.audit import chain
from procomp_pay.storage.database.retry import retrying
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models import exact_json
from procomp_pay.storage.models.states import EventState
from procomp_pay.storage.models.webhooks import WebhookEvent
from procomp_pay.storage.payments import kaspi_operations as numbers
from procomp_pay.storage.reconciliation import discrepancies
from procomp_pay.storage.registrations import lookup as registrations
from procomp_pay.storage.webhooks import inbox as queues
from procomp_pay.storage.webhooks.intake import IncomingEvent, insert_events

log = logging.getLogger(__name__)

PROVIDER = "kaspi_bill"
#: Allowed difference between Kaspi's time and ours; beyond it, the time of arrival is used.
_CLOCKS = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class BillAsk:
    """A request from Kaspi. Texts are unchanged: printable, at most 200 characters each.

    :param money: ``None`` if ``sum`` is not an amount.
    :param at: ``None`` if ``txn_date`` is not a date.
    """

    txn_id: str
    account: str
    sum_text: str
    money: Money | None = None
    at: datetime | None = None

    def document(self) -> dict[str, str | None]:
        """Return the request as the inbox stores it."""
        at = self.at.isoformat() if self.at else None
        return {"txn_id": self.txn_id, "account": self.account, "sum": self.sum_text, "at": at}


@dataclass(frozen=True, slots=True)
class BillAnswer:
    """The response to Kaspi.

    :param prv_txn: our number of a ``pay``: 15 digits.
    :param money: the amount due (``check``) or taken (``pay``).
    """

    txn_id: str
    result: Result
    comment: str
    prv_txn: str | None = None
    money: Money | None = None


def read_sum(text: str) -> Money | None:
    """Parse an amount in tenge, such as ``24000.00``; ``None`` if it is not one."""
    if not (text.isascii() and text.replace(".", "", 1).isdigit() and len(text) <= 16):
        return None
    try:
        return Money.parse(text, Currency.KZT)
    except InvalidAmount:
        return None


async def check(ctx: AppContext, ask: BillAsk) -> BillAnswer:
    """Return whether the account can be paid now, and the amount due. Kaspi's own sum is a placeholder."""
    async with ctx.db.reading() as session:
        account = await find(session, ask.account, ctx.clock())
        status = await account_status(session, account)
    return BillAnswer(ask.txn_id, status.result, status.comment, money=status.due)


async def pay(ctx: AppContext, ask: BillAsk) -> BillAnswer:
    """Record the money durably before returning.

    :raises DatabaseUnavailable: nothing was written; Kaspi must ask again.
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
        # a concurrent request with the same txn_id waits here for the first one's commit
        if not await insert_events(await session.connection(), [arrival], ctx.clock()):
            return await _earlier_answer(session, ctx, ask)
        row = await queues.of_event(session, PROVIDER, ask.txn_id)
        answer = await _record(session, ctx, ask, row)
        response = {"result": answer.result.value, "comment": answer.comment, "prv_txn": answer.prv_txn}
        content = {"ask": ask.document(), "answer": response}
        row.payload_enc = ctx.keyring.encrypt(exact_json.dumps(content))
        row.attempts, row.handled_at, row.next_attempt_at = 1, ctx.clock(), None
        return answer


def _when(ctx: AppContext, ask: BillAsk) -> datetime:
    now = ctx.clock()
    return ask.at if ask.at is not None and abs(ask.at - now) <= _CLOCKS else now


async def _record(session: AsyncSession, ctx: AppContext, ask: BillAsk, row: WebhookEvent) -> BillAnswer:
    prv_txn = _our_number(row.id)
    account = await find(session, ask.account, _when(ctx, ask))
    if account is None or account.fee is None or ask.money is None:
        row.state = EventState.FOREIGN
        result, comment = _obstacle(account, ask)
        await keep_unapplied(session, ctx, PROVIDER, ask.txn_id, {**ask.document(), "why": comment})
        return BillAnswer(ask.txn_id, result, comment, prv_txn, ask.money)
    row.payment_id, row.state = await _apply(session, ctx, account, ask, ask.money, row)
    # OK also if it was decided about before: on a refusal Kaspi might give it back once more
    return BillAnswer(ask.txn_id, Result.OK, "OK", prv_txn, ask.money)


async def _apply(
    session: AsyncSession, ctx: AppContext, account: Account, ask: BillAsk, money: Money, row: WebhookEvent
) -> tuple[str | None, EventState]:
    """Record the money through settlement; return the id of its payment and the state of its row.

    Money that was nobody's, and about which somebody decided, is kept for manual review: it may have been
    given back.
    """
    fee = account.charged(money)
    if fee is None:
        raise ValueError("the tournament has no fee in tenge")
    received = BillPayment(ask.txn_id, money, account.at)
    # an operator who enters this number at the same moment has this lock, or waits for it
    await registrations.participant(session, account.participant.id, lock=True)
    used = await numbers.used_by(session, canonical(ask.txn_id))
    if used is not None and await _was_recorded_for(session, used.payment_id, account.participant.id):
        # an operator recorded the same money before
        return await confirm(session, ctx, used, received), EventState.DONE
    if used is None and await was_decided_before(session, ctx, row, canonical(ask.txn_id), ask.document()):
        return None, EventState.FOREIGN
    return await record_payment(session, ctx, account, Charge(fee, fee), received), EventState.DONE


async def _was_recorded_for(session: AsyncSession, payment_id: str, participant_id: str) -> bool:
    """Return whether an operator recorded the payment for this participant, also if it was moved since."""
    if await numbers.participant_of(session, payment_id) == participant_id:
        return True
    return any(
        entry.action == chain.PAYMENT_MOVED and entry.before["participant_id"] == participant_id
        for entry in await chain.entries(session, payment_id)
    )


async def apply_again(
    session: AsyncSession, ctx: AppContext, row: WebhookEvent
) -> tuple[str | None, EventState]:
    """Apply a ``pay`` that an operator replays: the account may be known by now. The answer to Kaspi stays
    the same.
    """
    content = exact_json.loads(ctx.keyring.decrypt(row.payload_enc))
    request = content.get("ask")
    if row.payment_id is not None or request is None:
        return row.payment_id, EventState.DONE if row.payment_id else EventState.FOREIGN
    at = datetime.fromisoformat(request["at"]) if request["at"] else None
    ask = BillAsk(request["txn_id"], request["account"], request["sum"], read_sum(request["sum"]), at)
    # by the fee of then: a replay may come days later
    account = await find(session, ask.account, row.occurred_at)
    if account is None or account.fee is None or ask.money is None:
        return None, EventState.FOREIGN
    return await _apply(session, ctx, account, ask, ask.money, row)


async def keep_unreadable(ctx: AppContext, query: str) -> None:
    """Store an unreadable request for manual review: money was taken, but it is unknown for whom."""
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
        if await insert_events(await session.connection(), [arrival], ctx.clock()):
            row = await queues.of_event(session, PROVIDER, event_id)
            row.state, row.attempts, row.next_attempt_at = EventState.FOREIGN, 1, None
            row.handled_at = ctx.clock()
            await keep_unapplied(session, ctx, PROVIDER, event_id, {"query": shown[:300]})


def _obstacle(account: Account | None, ask: BillAsk) -> tuple[Result, str]:
    if account is None:
        return Result.NO_ACCOUNT, "There is no such account"
    if ask.money is None:
        return Result.OTHER, "The sum is no amount of money"
    return Result.OTHER, "The tournament has no fee in tenge"


async def _earlier_answer(session: AsyncSession, ctx: AppContext, ask: BillAsk) -> BillAnswer:
    """Return the answer that this ``txn_id`` got before; open a discrepancy if the contents differ."""
    row = await queues.of_event(session, PROVIDER, ask.txn_id)
    content = exact_json.loads(ctx.keyring.decrypt(row.payload_enc))
    request, response = content["ask"], content["answer"]
    if (request["account"], request["sum"]) != (ask.account, ask.sum_text):
        log.error("Kaspi sent txn_id %s twice with different contents", ask.txn_id)
        await discrepancies.open_discrepancy(
            session,
            DiscrepancyKind.AMOUNT_MISMATCH,
            row.payment_id,
            {"first": request, "again": ask.document()},
            key=f"{PROVIDER}:{ask.txn_id}",
            row_id=ctx.new_id(),
            now=ctx.clock(),
        )
    money = read_sum(str(request["sum"]))
    return BillAnswer(ask.txn_id, Result(response["result"]), response["comment"], response["prv_txn"], money)


def _our_number(row_id: str) -> str:
    """Return our number of a ``pay``: 15 digits, since older forms of the protocol take an integer of at most
    20 digits (OSMP).
    """
    value = int.from_bytes(hashlib.sha256(row_id.encode()).digest()[:8], "big")
    return str(10**14 + value % (9 * 10**14))
