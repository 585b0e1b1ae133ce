"""``verify-kaspi``: the queue of unverified Kaspi payments, and the manual verification of one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.context import (
    load_settings,
    mode_notice,
    named_payment,
    operator,
    run_with_context,
    show_mode_notice,
)
from procomp_pay.cli.framework.language import _, translated
from procomp_pay.cli.framework.options import ApproveOption, AsOption, JsonOption, OptionalPaymentArgument
from procomp_pay.domain.states import PaymentMethod
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from procomp_pay.config import Settings
    from procomp_pay.services.context import Actor, AppContext
    from procomp_pay.services.kaspi_verification.verify import VerificationRequest, Verified
    from procomp_pay.services.views.payment import PaymentView

_EXAMPLES = """[bold]Examples[/]

  procomp-pay verify-kaspi
  procomp-pay verify-kaspi K7QX-2M9R --transaction-id 19000000001
  procomp-pay verify-kaspi PAYMENT --transaction-id 19000000001 --paid-at 14:05
  procomp-pay verify-kaspi PAYMENT --transaction-id 19000000001 --override --reason "…"

Without arguments, the live queue: type a row's number or a part of a name.
The operation number is on the receipt (with or without "QR") and in the Kaspi Pay
app. Kaspi is asked first; a receipt that Kaspi contradicts is refused. An override
needs a reason and opens a discrepancy.

Exit codes: 0 paid, 3 refused, 4 no such payment."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify-kaspi", epilog=_EXAMPLES)(verify_kaspi)


def verify_kaspi(
    payment: OptionalPaymentArgument = None,
    transaction_id: Annotated[
        str | None, typer.Option(metavar="N", help="The operation number on the receipt.")
    ] = None,
    amount: Annotated[
        str | None, typer.Option(metavar="24000", help="The amount on the receipt, in tenge, to compare.")
    ] = None,
    paid_at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help='The time on the receipt, as "14:05" or "02.05.2026 14:05".'),
    ] = None,
    override: Annotated[
        bool, typer.Option("--override", help="Accept the payment despite a failed check.")
    ] = False,
    reason: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="The reason, for the audit trail. Required with --override."),
    ] = None,
    approve: ApproveOption = None,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a Kaspi payment by its receipt, or show the queue."""
    given = (transaction_id, amount, paid_at, reason)
    if payment is None and (override or any(value is not None for value in given)):
        raise typer.BadParameter(
            N_("give the PAYMENT (its id or code), or no arguments at all for the queue")
        )
    if approve is not None and not override:
        raise typer.BadParameter(N_("--approve is for an override"))
    if override and not (reason or "").strip():
        raise typer.BadParameter(N_('an override needs a reason: --reason "…"'))
    if payment is None:
        _queue(acting, as_json=as_json)
        return
    if transaction_id is None:
        if as_json or not console.is_interactive():
            raise typer.BadParameter(N_("give the operation number: --transaction-id N"))
        transaction_id = console.prompt(_("Operation number on the receipt"))
    given_texts = (transaction_id, amount, paid_at, reason)
    _one(payment, given_texts, acting, override=override, approver=approve, as_json=as_json)


def _queue(acting: str | None, *, as_json: bool) -> None:
    settings = load_settings()
    if as_json or not console.is_interactive():
        _list(as_json=as_json)
        return
    from procomp_pay.cli.kaspi.live_queue import attend

    actor = operator(acting)
    show_mode_notice(settings, kaspi=True)
    notice = mode_notice(settings, kaspi=True)
    run_with_context(lambda ctx: attend(ctx, actor, notice), settings=settings)


def _list(*, as_json: bool) -> None:
    from datetime import UTC, datetime

    from procomp_pay.cli.kaspi.wording import minutes, short_state
    from procomp_pay.services.kaspi_verification.queue import waiting

    views, now = run_with_context(waiting), datetime.now(UTC)
    if as_json:
        more = [{"minutes": minutes(view, now), "state": short_state(view)} for view in views]
        console.print_json({"items": [view.full() | extra for view, extra in zip(views, more, strict=True)]})
        return
    if not views:
        console.say(_("No payments to verify"), dim=True)
        return

    head = (_("NAME"), _("CATEGORY"), _("AMOUNT"), _("MIN"), _("STATE"), _("CODE"), _("PAYMENT"))
    rows = [
        (
            console.clean(view.participant_name),
            console.clean(view.category or "-"),
            formats.money(view.charged),
            str(minutes(view, now)),
            _(short_state(view)),
            view.code or "-",
            view.payment_id,
        )
        for view in views
    ]
    console.print_lines(console.table(head, rows, right=(2, 3)))


def _one(
    payment: str, given: tuple[str, str | None, str | None, str | None], acting: str | None, *,
    override: bool, approver: str | None, as_json: bool,
) -> None:  # fmt: skip
    settings, actor = load_settings(), operator(acting)
    show_mode_notice(settings, kaspi=True, as_json=as_json)

    async def work(ctx: AppContext) -> tuple[Verified, PaymentView]:
        from procomp_pay.cli.framework.progress import asking
        from procomp_pay.services.kaspi_verification.verify import verify
        from procomp_pay.services.views import payment as views

        named = await named_payment(
            ctx, payment, as_json=as_json, whole_name=True, method=PaymentMethod.KASPI_QR
        )
        view = await views.one(ctx, named)
        order = _order(ctx, view, given, override=override)
        acting = actor
        if override:
            acting = await _approved(ctx, settings, actor, view, order, approver)
        async with asking("Kaspi", quiet=as_json):
            result = await verify(ctx, order, acting)
        return result, await views.one(ctx, view.payment_id)

    result, view = run_with_context(work, settings=settings)
    if as_json:
        console.print_json(_document(result, view) | {"mode": settings.kaspi_mode.value})
    else:
        _show(result, view)


async def _approved(
    ctx: AppContext, settings: Settings, actor: Actor, view: PaymentView, order: VerificationRequest,
    approver: str | None,
) -> Actor:  # fmt: skip
    """Return the actor with the second operator, where the sum needs one or one was named."""
    from procomp_pay.cli.framework.second_person import approved
    from procomp_pay.domain.operators import ApprovalAction, ApprovalRequest, Right

    booked = order.money or view.charged
    if approver is None and max(booked.amount, view.charged.amount) <= settings.approve_overrides_above:
        return actor
    # No name: what is approved stays in the audit trail, also after the person was erased.
    subject = {"payment": view.payment_id, "code": view.code or "", "number": order.number}
    subject |= {"charged": str(view.charged), "booked": str(booked)}
    subject |= {"reason": order.reason or "", "paid_at": order.paid_at.isoformat() if order.paid_at else ""}
    request = ApprovalRequest(
        ApprovalAction.OVERRIDE,
        subject,
        {str(booked.currency): booked.amount},
        Right.DESK,
        view.tournament_id,
    )
    return await approved(ctx, settings, actor, request, approver)


def _order(
    ctx: AppContext,
    view: PaymentView,
    given: tuple[str, str | None, str | None, str | None],
    *,
    override: bool,
) -> VerificationRequest:
    from procomp_pay.cli.kaspi.wording import paid_at as read_time
    from procomp_pay.domain.money import Currency, Money
    from procomp_pay.services.kaspi_verification.verify import VerificationRequest

    number, amount, paid_at, reason = given
    return VerificationRequest(
        payment_id=view.payment_id,
        number=number,
        money=None if amount is None else Money.typed(amount, Currency.KZT),
        paid_at=read_time(paid_at, ctx.clock()),
        override=override,
        reason=reason,
    )


def _document(result: Verified, view: PaymentView) -> dict[str, Any]:
    return view.full() | {
        "transaction_id": result.number,
        "already": result.already,
        "kaspi": result.kaspi.value,
        "overridden": list(result.overridden),
    }


def _show(result: Verified, view: PaymentView) -> None:
    from procomp_pay.cli.kaspi.wording import KASPI

    if sys.stdout.isatty():
        from procomp_pay.cli.display import screens

        screens.print_final_panel(view)
    else:
        from procomp_pay.cli.display.tables import status_lines

        console.print_lines(status_lines(view))
    if result.already:
        console.say(_("It was paid already, by operation %(number)s.", number=result.number), dim=True)
    elif result.kaspi.value in ("no_answer", "cannot_be_asked"):
        console.say(
            _("Kaspi has not confirmed it: recorded as verified by you. Kaspi is still asked."), dim=True
        )
    elif result.kaspi.value == "paid":
        console.say(_(KASPI["paid"]) + ".", dim=True)
    for sentence in result.overridden:
        console.say(
            _(
                "Overridden, and opened as a discrepancy: %(sentence)s",
                sentence=console.clean(translated(sentence)),
            ),
            fg="yellow",
        )
