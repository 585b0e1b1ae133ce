"""The options of ``refund``: their combinations are checked before anything is opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from procomp_pay.cli.framework import console

if TYPE_CHECKING:
    from procomp_pay.domain.money import Money
    from procomp_pay.services.views.payment import PaymentView


@dataclass(frozen=True, slots=True)
class Wish:
    """What was typed."""

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

    def money(self, view: PaymentView) -> Money | None:
        """Return the part to give back, by default in the payment's currency; None for all.

        :raises InvalidAmount: it is not an amount.
        """
        from procomp_pay.domain.money import Money

        return (
            None if self.amount is None else Money.parse(self.amount, self.currency or view.charged.currency)
        )


def check(wish: Wish) -> None:
    """Check that the options fit each other.

    :raises typer.BadParameter: they do not, or an answer is needed and nobody can give one.
    """
    whole = wish.tournament is not None or wish.everything
    if whole and (wish.payment or wish.amount or wish.currency or wish.force or wish.idempotency_key):
        raise typer.BadParameter("--tournament --all stands alone: no PAYMENT, part, --force or key with it")
    if whole and not (wish.tournament and wish.everything):
        raise typer.BadParameter("a whole tournament is named by both: --tournament ID --all")
    if not whole and wish.payment is None:
        raise typer.BadParameter("name a PAYMENT, or a whole tournament with --tournament ID --all")
    if wish.currency is not None and wish.amount is None:
        raise typer.BadParameter("--currency goes with --amount")
    if not wish.dry_run:
        console.check_can_ask(
            yes=wish.yes, as_json=wish.as_json, instead="say --yes if you mean it, or --dry-run"
        )
    if wish.made_in_app is not None and (whole or wish.force or wish.idempotency_key or wish.dry_run):
        raise typer.BadParameter("--made-in-app goes with PAYMENT, --amount and --reason alone")
