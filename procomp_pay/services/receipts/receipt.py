"""The receipt of a payment: what it says, and the number of the fiscal receipt that belongs to it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from procomp_pay.config.delivery import one_line
from procomp_pay.domain.errors import Conflict, Refused
from procomp_pay.domain.names import first_name_and_initial
from procomp_pay.domain.operators import Right
from procomp_pay.domain.refunds import RefundState
from procomp_pay.domain.states import PAID_STATUSES, method_name
from procomp_pay.domain.text import N_
from procomp_pay.domain.topics import Topic
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.operators import authorize
from procomp_pay.services.views import payment as views
from procomp_pay.services.views.payment import PaymentView
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.notifications import outbox
from procomp_pay.storage.payments import repository as payments
from procomp_pay.translations import Translation

#: The action of the audit entry that holds the number of the fiscal receipt; the last one counts.
_RECORDED = "fiscal_receipt"
_NUMBER = re.compile(r"[0-9A-Za-zА-Яа-яЁё№#/., -]{1,64}")


@dataclass(frozen=True, slots=True)
class Receipt:
    """A paid payment and the number of its fiscal receipt, if one was recorded."""

    view: PaymentView
    fiscal_number: str | None = None


async def of_payment(ctx: AppContext, payment: str) -> Receipt:
    """Return the receipt of a payment.

    :param payment: its id or code.
    :raises NotFound: no such payment. :raises Conflict: it is not paid.
    """
    view = await views.one(ctx, payment)
    if view.status not in PAID_STATUSES:
        raise Conflict(
            N_(
                "Payment %(payment)s is %(status)s: only a paid one has a receipt",
                payment=view.payment_id,
                status=view.status,
            ),
            next_step=f"procomp-pay status --payment {view.payment_id} --refresh",
        )
    async with ctx.db.reading() as session:
        entries = await audit.entries(session, view.payment_id)
    numbers = [(entry.after or {}).get("number") for entry in entries if entry.action == _RECORDED]
    return Receipt(view, str(numbers[-1]) if numbers else None)


async def record_fiscal_number(ctx: AppContext, payment: str, number: str, actor: Actor) -> Receipt:
    """Record the number of the fiscal receipt in the payment's audit trail; another one corrects it.

    :raises Refused: not a number as a receipt shows it. :raises NotFound: no such payment.
    :raises Conflict: it is not paid.
    """
    cleaned = one_line(number)
    if not _NUMBER.fullmatch(cleaned):
        raise Refused(
            N_(
                "%(text)s is no number of a receipt: letters, digits and №#/.,- only, 64 at most",
                text=repr(cleaned[:64]),
            ),
            next_step=N_("type the number as the fiscal receipt shows it"),
        )
    receipt = await of_payment(ctx, payment)
    if receipt.fiscal_number == cleaned:
        return receipt
    async with ctx.db.writing() as session:
        locked = await payments.lock_payment(session, receipt.view.payment_id)
        await authorize.check(ctx, session, Right.DESK, locked.payment.tournament_id)
        record = actor.record(
            _RECORDED,
            before={"number": receipt.fiscal_number} if receipt.fiscal_number else None,
            after={"number": cleaned},
            note=cleaned,
        )
        await audit.append(session, receipt.view.payment_id, record, ctx.clock())
    return Receipt(receipt.view, cleaned)


async def send(ctx: AppContext, receipt: Receipt) -> None:
    """Enqueue the receipt as a letter to the participant's user.

    :raises Refused: letters are not configured, or there is no address.
    """
    view = receipt.view
    async with ctx.db.reading() as session:
        addressee = await outbox.addressee(session, view.payment_id)
    if addressee.email is None:
        raise Refused(
            N_("%(name)s has no address", name=view.participant_name),
            next_step=f"procomp-pay receipt {view.payment_id} --pdf FILE",
        )
    payload = {
        "payment_id": view.payment_id,
        "amount": view.charged.amount,
        "currency": view.charged.currency.value,
        "fiscal_number": receipt.fiscal_number,
    }
    async with ctx.db.writing() as session:
        await authorize.check(ctx, session, Right.DESK, view.tournament_id)
        await outbox.enqueue(
            session,
            Topic.LETTER_RECEIPT,
            payload,
            row_id=ctx.new_id(),
            now=ctx.clock(),
            payment_id=view.payment_id,
            # asked for twice within a minute, it is sent once
            dedup_key=f"{Topic.LETTER_RECEIPT}:{view.payment_id}:{ctx.clock():%Y%m%d%H%M}",
        )


def rows(translation: Translation, receipt: Receipt, *, is_public: bool = False) -> list[tuple[str, str]]:
    """Return what a receipt says, as labels and values.

    :param is_public: for whoever has the link of the page: no surname, and no ids.
    """
    text, view = translation.text, receipt.view
    number = view.code if is_public else " · ".join(filter(None, (view.code, view.payment_id)))
    name = first_name_and_initial(view.participant_name) if is_public else view.participant_name
    stripe_number = None if is_public or view.channel.is_kaspi else view.provider_ref
    refunds = [refund for refund in view.refunds if refund.state is RefundState.SUCCEEDED]
    lines = [
        (text("Payment number"), number),
        (text("Date"), translation.moment(view.completed_at or view.updated_at)),
        (text("Participant"), name),
        (text("Tournament"), view.tournament_name),
        (text("Category"), view.category),
        (text("Amount"), translation.money(view.charged)),
        (text("Method"), method_name(view.method)),
        (text("Kaspi receipt"), view.operation_number),
        (text("Number at Stripe"), stripe_number),
        *(
            (
                text("Paid back on %(moment)s", moment=translation.moment(refund.updated_at)),
                translation.money(refund.money),
            )
            for refund in refunds
        ),
        (text("Paid back in all"), translation.money(view.refunded) if view.refunded.amount else None),
        (text("Fiscal receipt"), receipt.fiscal_number),
    ]
    return [(label, one_line(value)) for label, value in lines if value]


def heading(translation: Translation) -> str:
    """Return the title of a receipt."""
    return translation.text("Payment receipt")


def disclaimer(translation: Translation) -> str:
    """Return what a receipt is not."""
    return translation.text("This confirms the payment. It is not a fiscal receipt.")
