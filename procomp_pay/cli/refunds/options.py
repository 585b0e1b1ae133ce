"""The options of ``refund``: their combinations are checked before anything is opened."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import typer

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.language import _
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from procomp_pay.domain.money import Money
    from procomp_pay.services.views.payment import PaymentView


@dataclass(frozen=True, slots=True)
class RefundOptions:
    """The options as they were typed.

    :param reason: something printable where ``asks_reason``.
    :param asks_reason: the reason is asked for; that of one payment once it is known that it can be refunded.
    """

    payment: str | None
    reason: str
    amount: str | None
    currency: str | None
    tournament: str | None
    everything: bool
    dry_run: bool
    yes: bool
    force: bool
    idempotency_key: str | None
    made_in_app: str | None
    acting: str | None
    as_json: bool
    approver: str | None = None
    asks_reason: bool = False

    def with_reason(self) -> RefundOptions:
        """Return the options with the reason that is typed now, where it was left out.

        :raises Refused: it cannot be one.
        """
        from procomp_pay.services.refunds.create import check_reason

        if not self.asks_reason:
            return self
        reason = console.prompt(_("Reason, for the audit trail"))
        check_reason(reason)
        return replace(self, reason=reason, asks_reason=False)

    def money(self, view: PaymentView) -> Money | None:
        """Return the amount to refund, by default in the payment's currency; None for all that is left.

        :raises InvalidAmount: it is not an amount.
        """
        from procomp_pay.domain.money import Money

        return (
            None if self.amount is None else Money.typed(self.amount, self.currency or view.charged.currency)
        )


def check(options: RefundOptions) -> None:
    """Check that the options fit each other.

    :raises typer.BadParameter: they do not, or a confirmation is needed and cannot be asked for.
    """
    whole = options.tournament is not None or options.everything
    if whole and (
        options.payment or options.amount or options.currency or options.force or options.idempotency_key
    ):
        raise typer.BadParameter(
            N_("--tournament --all cannot be combined with PAYMENT, --amount, --force or a key")
        )
    if whole and not (options.tournament and options.everything):
        raise typer.BadParameter(N_("to refund a whole tournament, give both: --tournament ID --all"))
    if not whole and options.payment is None:
        raise typer.BadParameter(N_("give a PAYMENT, or a whole tournament with --tournament ID --all"))
    if options.currency is not None and options.amount is None:
        raise typer.BadParameter(N_("--currency needs --amount"))
    if not options.dry_run:
        console.check_can_ask(
            yes=options.yes, as_json=options.as_json, instead=N_("pass --yes to confirm, or --dry-run")
        )
    if options.approver is not None and not whole:
        raise typer.BadParameter(N_("--approve is for the refund of a whole tournament"))
    if options.made_in_app is not None and (
        whole or options.force or options.idempotency_key or options.dry_run
    ):
        raise typer.BadParameter(N_("--made-in-app can only be combined with PAYMENT, --amount and --reason"))
