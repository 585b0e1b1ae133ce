"""A person vouches for a Kaspi payment: with the operation number of the receipt, through the one door.

Kaspi is asked first where it can be: its word settles the payment, and its "no" refuses a receipt, since
those are forged. Where Kaspi does not answer, the clerk's word counts, and the QR stays watched: if Kaspi's
last word is that it was never paid, the door opens a discrepancy with the clerk's name.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.errors import Conflict, PaymentError, Refused
from procomp_pay.domain.events import EventType, PaymentEvent, ProviderIds
from procomp_pay.domain.kaspi_verification import Claim, KaspiWord, Life, Objection, objections
from procomp_pay.domain.money import Money
from procomp_pay.domain.operation_number import read as read_number
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.domain.transitions import DiscrepancyKind, Outcome
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.kaspi_verification.provider_check import Asked, ask_kaspi
from procomp_pay.services.lifecycle.polling import kaspi_schedule
from procomp_pay.services.settlement import side_effects
from procomp_pay.services.settlement.apply import apply_event_in
from procomp_pay.services.settlement.operation_numbers import number_already_used, payment_already_settled
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.models import exact_json
from procomp_pay.storage.payments import idempotency, refunds
from procomp_pay.storage.payments import kaspi_operations as numbers
from procomp_pay.storage.payments.repository import OrmLockedPayment, load_payment, lock_payment

_LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class VerificationRequest:
    """What a person says.

    :param number: the operation number as it was typed.
    :param money: what was paid; ``None`` for what was charged.
    :param paid_at: when, with a zone; ``None`` where nobody looked.
    :param override: take it although something speaks against it; then ``reason`` says why.
    """

    payment_id: str
    number: str
    money: Money | None = None
    paid_at: datetime | None = None
    override: bool = False
    reason: str | None = None
    idempotency_key: str | None = None

    def fingerprint(self) -> str:
        """The same for the same request."""
        content = {
            "payment_id": self.payment_id,
            "number": self.number,
            "money": [self.money.amount, self.money.currency.value] if self.money else None,
            "paid_at": self.paid_at.isoformat() if self.paid_at else None,
            "override": self.override,
            "reason": self.reason,
        }
        return hashlib.sha256(exact_json.dumps(content, canonical=True).encode()).hexdigest()

    def claim(self, actor: Actor) -> idempotency.Claim | None:
        """The key under which ``actor`` asks."""
        if self.idempotency_key is None:
            return None
        return idempotency.Claim(f"verify:{actor.scope}", self.idempotency_key, self.fingerprint())


@dataclass(frozen=True, slots=True)
class Verified:
    """The payment is COMPLETED with this number.

    :param already: it was before: nothing was written.
    :param overridden: what spoke against it and was overridden; each is an open discrepancy.
    """

    payment_id: str
    status: PaymentStatus
    number: str
    money: Money
    already: bool
    late: bool
    duplicate: bool
    kaspi: KaspiWord
    overridden: tuple[str, ...] = field(default=())


async def verify(ctx: AppContext, order: VerificationRequest, actor: Actor) -> Verified:
    """Settle a Kaspi payment on a person's word.

    :raises NotFound: no such payment.
    :raises Refused: not Kaspi's, not an operation number, or another amount, and no override.
    :raises Conflict: the number settled another payment, the payment has another number or went back; or
        Kaspi or the date speak against it, and no override.
    """
    number = read_number(order.number)
    _check_override(order)
    try:
        async with ctx.db.reading() as session:
            locked = await load_payment(session, order.payment_id)
            if await _is_known(session, order, actor):
                return _answer(locked, order, number, KaspiWord.CANNOT_BE_ASKED)
            _check_kind(locked)
            await _check_number(session, locked, number)  # told at once, before Kaspi is asked
        asked = Asked(KaspiWord.CANNOT_BE_ASKED)
        if locked.payment.status is not PaymentStatus.COMPLETED:
            asked = await ask_kaspi(ctx, locked, actor)
        async with ctx.db.writing() as session:
            return await _settled(session, ctx, order, number, actor, asked)
    except (Refused, Conflict) as error:
        await _note_refusal(ctx, order, number, actor, error)
        raise


def _check_override(order: VerificationRequest) -> None:
    reason = order.reason or ""
    if order.override and not reason.strip():
        raise Refused("An override needs a reason", next_step='add: --reason "…"')
    if len(reason) > _LONGEST_REASON or not reason.isprintable():
        raise Refused(f"A reason is 1 to {_LONGEST_REASON} printable characters")


def _check_kind(locked: OrmLockedPayment) -> None:
    if not locked.detail.channel.is_kaspi:
        raise Refused(
            f"Payment {locked.payment.id} is not Kaspi's: Stripe says itself how it stands",
            next_step=f"procomp-pay status --payment {locked.payment.id} --refresh",
        )
    if locked.payment.status is PaymentStatus.REFUNDED:
        raise Conflict(
            f"Payment {locked.payment.id} has been paid back in full",
            next_step=f"start a new one: procomp-pay initiate {locked.detail.participant_id}"
            " --method kaspi_qr",
        )


async def _check_number(session: AsyncSession, locked: OrmLockedPayment, number: str) -> bool:
    """Whether the payment has been settled with this number already.

    :raises Conflict: the number is another payment's, or the payment has another number.
    """
    used = await numbers.used_by(session, number)
    if used is not None and used.payment_id != locked.payment.id:
        raise await number_already_used(session, used)
    if used is None:
        await _check_money(session, locked, number)
        await _check_went_in(session, number)
    of_qr = await numbers.qr_of(session, number)
    if of_qr not in (None, locked.payment.id):
        who = await numbers.owner(session, str(of_qr))
        raise Conflict(
            f"{number} is the receipt of another QR: {who.full_name or 'a removed participant'}, "
            f"payment {of_qr}",
            next_step=f"verify that one: procomp-pay verify-kaspi {of_qr} --transaction-id {number}",
        )
    mine = await numbers.of_payment(session, locked.payment.id)
    if used is not None or (mine and of_qr == locked.payment.id):
        return True  # its own number, or its own QR's, beside the one that Kaspi named
    if mine:
        raise await payment_already_settled(session, mine[0])
    return False


async def _check_money(session: AsyncSession, locked: OrmLockedPayment, number: str) -> None:
    """
    :raises Conflict: another payment's money came under this number; of another amount, it settled nothing.
    """
    whose = await numbers.came_under(session, number)
    if whose not in (None, locked.payment.id):
        who = await numbers.owner(session, str(whose))
        raise Conflict(
            f"The money of {number} came for {who.full_name or 'a removed participant'}, payment {whose}",
            next_step=f"see it: procomp-pay status --payment {whose}",
        )


async def _check_went_in(session: AsyncSession, number: str) -> None:
    """
    :raises Conflict: money went back under this number.
    """
    back = await refunds.by_provider_id(session, refunds.kaspi_name(number))
    if back is not None:
        raise Conflict(
            f"{number} is the number of a refund, of payment {back.payment_id}: nothing came in under it",
            next_step=f"see it: procomp-pay status --payment {back.payment_id}",
        )


async def _is_known(session: AsyncSession, order: VerificationRequest, actor: Actor) -> bool:
    """
    :raises Conflict: the idempotency key was used for something else.
    """
    claim = order.claim(actor)
    return claim is not None and await idempotency.known(session, claim) is not None


async def _settled(
    session: AsyncSession,
    ctx: AppContext,
    order: VerificationRequest,
    number: str,
    actor: Actor,
    asked: Asked,
) -> Verified:
    locked = await lock_payment(session, order.payment_id)  # twins queue up here
    if await _is_known(session, order, actor):
        return _answer(locked, order, number, asked.word)
    _check_kind(locked)
    if await _check_number(session, locked, number) and locked.payment.status is PaymentStatus.COMPLETED:
        return _answer(locked, order, number, asked.word, already=True)
    order = replace(order, money=order.money or asked.money)
    against = await _against(session, ctx, locked, order, asked.word)
    if against and not order.override:
        raise _refusal(against[0])
    if order.money is None and any(each.about_amount for each in against):
        raise Refused(
            "Money of another amount came for this payment: an override says how much",
            next_step="compare in the Kaspi Pay app, and add: --amount PAID",
        )
    asked_for = locked.charged
    settled = await apply_event_in(session, ctx, _fact(ctx, order, number, actor, locked), locked)
    if settled.status is not PaymentStatus.COMPLETED or settled.outcome is Outcome.STALE:
        raise Conflict(f"Payment {locked.payment.id} is {settled.status} and cannot be settled so")
    for each in against:
        found: dict[str, Any] = {"operation": number, "override": order.reason, "by": actor.name}
        found["against"] = each.sentence
        if each.about_amount:
            paid = side_effects.as_document(order.money or asked_for)
            found |= {"charged": side_effects.as_document(asked_for), "paid": paid}
        key = None if each.apart is None else f"{each.apart}:{number}"
        await side_effects.open_discrepancy(session, ctx, locked, each.kind, found, key, told=False)
    if (claim := order.claim(actor)) is not None:
        await idempotency.remember(session, claim, locked.payment.id, ctx.clock())
    return _answer(locked, order, number, asked.word, against=against)


async def _against(
    session: AsyncSession,
    ctx: AppContext,
    locked: OrmLockedPayment,
    order: VerificationRequest,
    word: KaspiWord,
) -> list[Objection]:
    paid = locked.payment.status is PaymentStatus.COMPLETED  # Kaspi has said so: only its number is added
    in_doubt = not paid and await numbers.is_amount_in_doubt(session, locked.payment.id)
    life = Life(locked.charged, locked.detail.created_at, _ends(ctx, locked))
    claim = Claim(order.money, order.paid_at, in_doubt)
    return objections(claim, life, KaspiWord.PAID if paid else word, ctx.clock())


def _ends(ctx: AppContext, locked: OrmLockedPayment) -> datetime:
    """Until when a customer can have paid. By bill they can at any time."""
    if locked.detail.provider_ref is None:
        return ctx.clock()
    return kaspi_schedule(locked).final_poll_at


def _refusal(objection: Objection) -> PaymentError:
    of_money = (DiscrepancyKind.AMOUNT_MISMATCH, DiscrepancyKind.CURRENCY_MISMATCH)
    kind = Refused if objection.kind in of_money else Conflict
    return kind(objection.sentence, next_step=objection.do)


def _fact(
    ctx: AppContext, order: VerificationRequest, number: str, actor: Actor, locked: OrmLockedPayment
) -> PaymentEvent:
    return PaymentEvent(
        payment_id=locked.payment.id,
        event_type=EventType.SUCCEEDED,
        at=order.paid_at or ctx.clock(),
        source=actor.source,
        actor=actor.name,
        source_id=number,
        request_id=actor.request_id,
        money=order.money,
        amount_accepted=order.override,
        ids=ProviderIds(kaspi_operation=number),
        reason=order.reason,
    )


def _answer(
    locked: OrmLockedPayment,
    order: VerificationRequest,
    number: str,
    word: KaspiWord,
    *,
    already: bool = False,
    against: list[Objection] | None = None,
) -> Verified:
    return Verified(
        payment_id=locked.payment.id,
        status=locked.payment.status,
        number=number,
        money=locked.charged if already else order.money or locked.charged,
        already=already,
        late=locked.detail.is_late,
        duplicate=locked.detail.is_duplicate,
        kaspi=word,
        overridden=tuple(each.sentence for each in against or ()),
    )


async def _note_refusal(
    ctx: AppContext, order: VerificationRequest, number: str, actor: Actor, error: PaymentError
) -> None:
    """Who tried what, in the payment's audit: a number that is tried on many payments shows."""
    record = audit.AuditRecord(
        actor=actor.name,
        source=actor.source,
        action="verify_refused",
        source_id=number,
        request_id=actor.request_id,
        note=error.message[:500],
    )
    async with ctx.db.writing() as session:
        await lock_payment(session, order.payment_id)
        await audit.append(session, order.payment_id, record, ctx.clock())
