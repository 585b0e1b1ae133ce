"""Propose the sum that goes back by the refund policy of a tournament."""

from __future__ import annotations

from dataclasses import dataclass

from procomp_pay.domain.errors import Conflict, Refused
from procomp_pay.domain.money import Money
from procomp_pay.domain.refund_policy import amount_back
from procomp_pay.domain.refunds import reserved_amount
from procomp_pay.domain.text import N_
from procomp_pay.services.context import AppContext
from procomp_pay.services.refunds.create import RefundCommand
from procomp_pay.storage.payments import refunds as refund_repository
from procomp_pay.storage.payments.repository import load_payment
from procomp_pay.storage.registrations import lookup as registrations
from procomp_pay.storage.registrations.terms import refund_policy


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a refund policy says about a payment.

    :param money: what goes back now, without earlier refunds; zero if nothing does.
    :param rule: the step of the policy, in words.
    """

    money: Money
    rule: str

    def check(self, command: RefundCommand) -> None:
        """Check that there is a sum to refund: one that is asked for, or the one of the policy.

        :raises Conflict: there is none.
        """
        if command.money is None and self.money.amount <= 0:
            raise Conflict(
                N_("By the refund policy nothing goes back: %(rule)s", rule=self.rule),
                next_step=N_(
                    "refund another sum with a reason: "
                    'procomp-pay refund %(payment)s --amount 20 --reason "…"',
                    payment=command.payment_id,
                ),
            )


async def propose(ctx: AppContext, payment_id: str, asked: Money | None = None) -> Proposal | None:
    """Return what the refund policy of the tournament says about a payment.

    :param asked: the sum that a person named, which needs no policy.

    ``None`` if there is no policy, or the payment settles no fee: money that came twice or too late is not
    the participant's withdrawal, and goes back in full.

    :raises NotFound: no such payment.
    :raises Refused: no sum was asked for, and the policy counts days before a start that is not known.
    """
    async with ctx.db.reading() as session:
        locked = await load_payment(session, payment_id)
        settles_nothing = locked.detail.is_duplicate or (locked.detail.is_late and locked.settled_by is None)
        # a registration that was deleted or lost its link to the payment changes nothing
        if settles_nothing or locked.settled_by not in (None, locked.payment.id):
            return None
        policy = await refund_policy(session, locked.payment.tournament_id)
        if policy is None:
            return None
        tournament = await registrations.tournament(session, locked.payment.tournament_id)
        rows = await refund_repository.of_payment(session, locked.payment.id)
    rule = policy.rule(tournament.starts_at, ctx.clock())
    if rule is None and policy.steps and asked is None:
        raise Refused(
            N_("The refund policy counts days before the start of the tournament, which is not known"),
            next_step=N_(
                'name the sum: procomp-pay refund %(payment)s --amount 20 --reason "…"', payment=payment_id
            ),
        )
    if rule is None:
        return None
    step, last = rule
    money = amount_back(step, locked.charged, reserved_amount(refund_repository.amounts(rows)))
    if step is None:
        return Proposal(money, N_("nothing after %(day)s", day=last))
    if step.kept is not None and step.kept.currency == locked.charged.currency:
        return Proposal(
            money,
            N_(
                "%(percent)s until %(day)s, less %(kept)s that is kept",
                percent=f"{step.percent}%",
                day=last,
                kept=step.kept,
            ),
        )
    return Proposal(money, N_("%(percent)s until %(day)s", percent=f"{step.percent}%", day=last))
