"""``verify-kaspi``: the queue of payments that wait for a person, and the clerk's word for one of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from procomp_pay.cli.framework.common import (
    AsOption,
    JsonOption,
    clean,
    is_interactive,
    operator,
    play_money,
    print_json,
    run_with_context,
    say,
    settings,
    warn_of_play_money,
)

if TYPE_CHECKING:
    from procomp_pay.services.context import AppContext
    from procomp_pay.services.kaspi_verification.verify import VerificationRequest, Verified
    from procomp_pay.services.views.payment import PaymentView

_EXAMPLES = """[bold]Examples[/]

  procomp-pay verify-kaspi
  procomp-pay verify-kaspi K7QX-2M9R --transaction-id 19000000001
  procomp-pay verify-kaspi PAYMENT --transaction-id 19000000001 --paid-at 14:05
  procomp-pay verify-kaspi PAYMENT --transaction-id 19000000001 --override --reason "…"

Without arguments: who waits, live; type a number or a part of the name.
The operation number stands on the receipt (with or without QR) and in the Kaspi Pay
app. Kaspi is asked first; a receipt that Kaspi does not confirm is refused. An
override needs a reason and stays open as a discrepancy.
Exit codes: 0 paid, 3 refused, 4 no such payment."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify-kaspi", epilog=_EXAMPLES)(verify_kaspi)


def verify_kaspi(
    payment: Annotated[
        str | None, typer.Argument(help="The payment's id or code.", metavar="PAYMENT")
    ] = None,
    transaction_id: Annotated[
        str | None, typer.Option(metavar="N", help="The operation number on the receipt.")
    ] = None,
    amount: Annotated[
        str | None, typer.Option(metavar="24000", help="What was paid, in tenge, if you looked.")
    ] = None,
    paid_at: Annotated[
        str | None, typer.Option(metavar="TIME", help='When, as "14:05" or "02.05.2026 14:05".')
    ] = None,
    override: Annotated[
        bool, typer.Option("--override", help="Take it although something speaks against it.")
    ] = False,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why; kept in the audit. Needed with --override.")
    ] = None,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Settle a Kaspi payment by the operation number on its receipt; without arguments, see who waits."""
    given = (transaction_id, amount, paid_at, reason)
    if payment is None and (override or any(value is not None for value in given)):
        raise typer.BadParameter("name the PAYMENT (its id or code), or give nothing at all for the queue")
    if override and not (reason or "").strip():
        raise typer.BadParameter('an override needs a reason: --reason "…"')
    if payment is None:
        _queue(acting, as_json=as_json)
        return
    if transaction_id is None:
        if as_json or not is_interactive():
            raise typer.BadParameter("give the operation number: --transaction-id N")
        transaction_id = typer.prompt("Operation number on the receipt", err=True)
    _one(payment, (transaction_id, amount, paid_at, reason), acting, override=override, as_json=as_json)


def _queue(acting: str | None, *, as_json: bool) -> None:
    using = settings()
    if as_json or not is_interactive():
        _list(as_json=as_json)
        return
    from procomp_pay.cli.kaspi.live_queue import attend

    actor = operator(acting)
    warn_of_play_money(using, kaspi=True)
    mark = play_money(using, kaspi=True)
    run_with_context(lambda ctx: attend(ctx, actor, mark), using=using)


def _list(*, as_json: bool) -> None:
    from datetime import UTC, datetime

    from procomp_pay.cli.kaspi.wording import minutes, short_state
    from procomp_pay.services.kaspi_verification.queue import waiting

    found, now = run_with_context(waiting), datetime.now(UTC)
    if as_json:
        more = [{"minutes": minutes(view, now), "state": short_state(view)} for view in found]
        print_json({"items": [view.full() | each for view, each in zip(found, more, strict=True)]})
        return
    if not found:
        say("Nobody waits", dim=True)
        return
    from procomp_pay.cli.payments.tables import grid

    head = ("NAME", "CATEGORY", "AMOUNT", "MIN", "STATE", "CODE", "PAYMENT")
    rows = [
        (
            clean(view.participant_name),
            clean(view.category or "-"),
            str(view.charged),
            str(minutes(view, now)),
            short_state(view),
            view.code or "-",
            view.payment_id,
        )
        for view in found
    ]
    for line in grid(head, rows, right=(2, 3)):
        typer.echo(line)


def _one(
    payment: str, given: tuple[str, str | None, str | None, str | None], acting: str | None, *,
    override: bool, as_json: bool,
) -> None:  # fmt: skip
    using, actor = settings(), operator(acting)
    warn_of_play_money(using, kaspi=True, as_json=as_json)

    async def work(ctx: AppContext) -> tuple[Verified, PaymentView]:
        from procomp_pay.services.kaspi_verification.verify import verify
        from procomp_pay.services.views import payment as views

        view = await views.one(ctx, payment)
        done = await verify(ctx, _order(ctx, view, given, override=override), actor)
        return done, await views.one(ctx, view.payment_id)

    done, view = run_with_context(work, using=using)
    if as_json:
        print_json(_document(done, view) | {"mode": using.kaspi_mode.value})
    else:
        _show(done, view)


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
        money=None if amount is None else Money.parse(amount, Currency.KZT),
        paid_at=read_time(paid_at, ctx.clock()),
        override=override,
        reason=reason,
    )


def _document(done: Verified, view: PaymentView) -> dict[str, Any]:
    return view.full() | {
        "transaction_id": done.number,
        "already": done.already,
        "kaspi": done.kaspi.value,
        "overridden": list(done.overridden),
    }


def _show(done: Verified, view: PaymentView) -> None:
    from procomp_pay.cli.kaspi.wording import KASPI

    if sys.stdout.isatty():
        from procomp_pay.cli.framework.common import out
        from procomp_pay.cli.payments import screens

        console = out()
        console.print(screens.last_word(view, utf8=console.encoding.startswith("utf")))
    else:
        from procomp_pay.cli.payments.tables import status_lines

        for line in status_lines(view):
            typer.echo(line)
    if done.already:
        say(f"It was paid before, by operation {done.number}.", dim=True)
    elif done.kaspi.value in ("no_answer", "cannot_be_asked"):
        say("Kaspi did not say so itself: your word counts. It is followed up.", dim=True)
    elif done.kaspi.value == "paid":
        say(KASPI["paid"] + ".", dim=True)
    for sentence in done.overridden:
        say(f"Overridden, and open as a discrepancy: {clean(sentence)}", fg="yellow")
