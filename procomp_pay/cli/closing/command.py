"""``close``: the guided closing of a day, in a terminal or from cron."""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.context import (
    load_settings,
    operator,
    run_with_context,
    show_mode_notice,
    tournament_id,
)
from procomp_pay.cli.framework.language import _
from procomp_pay.cli.framework.options import AsOption, JsonOption, TournamentFilter
from procomp_pay.cli.framework.progress import counters
from procomp_pay.domain.errors import Refused
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from procomp_pay.config import Settings
    from procomp_pay.domain.closing import Signer, Step
    from procomp_pay.domain.period import Period
    from procomp_pay.services.closing.closing import BankStatement, CloseRequest, Closing, Statement
    from procomp_pay.services.context import Actor, AppContext

_EXAMPLES = """[bold]Examples[/]

  procomp-pay close
  procomp-pay close --kaspi-statement kaspi.xlsx --bank-file kl_to_1c.txt
  procomp-pay close --skip kaspi --reason "no statement before tomorrow"
  procomp-pay close --date yesterday --sign --second Dias
  30 23 * * *  procomp-pay close --json --exports /srv/exports > /var/log/closing.json

Steps: pending, stripe, kaspi, payouts, discrepancies, refunds, sums, clerks, exports,
sheet, seal, signatures. What is done is not done again; a step that is left open is tried anew.
Once two people have signed, the day stays as it was signed: what changes later is
shown as "since the closing". The sheet is written to the folder closings.

Exit codes: 0 closed, 6 something is open or a signature is missing."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EXAMPLES)(close)


def close(
    tournament: TournamentFilter = None,
    date: Annotated[
        str | None, typer.Option("--date", metavar="DAY", help="The day. Default: today.")
    ] = None,
    kaspi_statement: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Kaspi Pay's statement; needed where its API has no amounts."),
    ] = None,
    stripe_report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Stripe's balance report, in place of its API.")
    ] = None,
    bank_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The bank's statement, as in `payouts match`: what arrived."),
    ] = None,
    account: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="The account that --bank-file is of.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="MAP", help="The columns of a bank file in CSV.")
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(metavar="STEP", help="Skip an open step; needs --reason.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why it is skipped, which is recorded.")
    ] = None,
    again: Annotated[
        list[str] | None, typer.Option(metavar="STEP", help="Repeat a step that is done.")
    ] = None,
    sign: Annotated[bool, typer.Option("--sign", help="Sign the figures; two people have to.")] = False,
    second: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="With --sign: the second operator, whose PIN is asked for."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the sheet is written.", show_default=False)
    ] = None,
    exports: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the day's exports for accounting are written, as CSV."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Use a statement although it seems to be another merchant's.")
    ] = False,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Close a day: what is unfinished, both sides, refunds by hand, exports, sheet, seal, signatures.

    In a terminal it asks about what is open. Stopped at any step, it goes on there.
    """
    from procomp_pay.cli.closing import sheet
    from procomp_pay.cli.closing.exports import absolute, write_exports
    from procomp_pay.cli.payouts.commands import columns_of
    from procomp_pay.domain.closing import Step

    steps, repeated = _steps(skip, "--skip"), _steps(again, "--again")
    if bool(steps) != (reason is not None):
        raise typer.BadParameter(N_("--skip and --reason belong together"))
    if second is not None and not sign:
        raise typer.BadParameter(N_("--second needs --sign"))
    settings, actor = load_settings(), operator(acting)
    show_mode_notice(settings, as_json=as_json)
    period = _day(date, settings)
    target = folder or settings.home / "closings"
    with _stoppable(), ExitStack() as stack:
        opened = partial(_opened, stack, settings, is_ours=yes)
        given = {"kaspi": kaspi_statement, "stripe": stripe_report}
        bank = partial(_bank, account=account, mapping=columns_of(columns))
        statements = {name: opened(name, path) for name, path in given.items() if path is not None}
        progress = stack.enter_context(counters(quiet=as_json or console.is_interactive()))

        async def work(ctx: AppContext) -> Closing:
            from procomp_pay.services.closing.close_day import begin
            from procomp_pay.services.closing.closing import CloseRequest

            request = CloseRequest(
                period,
                await tournament_id(ctx, tournament, as_json=as_json),
                statements,
                frozenset(repeated),
                lambda closing: sheet.write(closing, target),
                write_exports,
                None if exports is None else absolute(exports),
                None if bank_file is None else bank(bank_file),
            )
            closing = await begin(ctx, request, actor)
            await _advance(ctx, closing, request, actor, steps, reason or "", progress)
            if console.is_interactive() and not as_json and not steps:
                await _ask(ctx, closing, request, actor, opened, bank)
            if sign:
                await _sign(ctx, closing, request, actor, settings, second)
            if sign or closing.is_closed:  # also if it was stopped between the signature and the sheet
                sheet.write(closing, target)
            return closing

        closing = run_with_context(work, settings=settings)
    if as_json:
        console.print_json(closing.full())
    else:
        sheet.show(closing)
        exported = [each["file"] for each in closing.steps[Step.EXPORTS].facts.get("files", ())]
        for name in [*closing.steps[Step.SHEET].facts.get("files", ()), *exported]:
            console.say(f"\N{CHECK MARK} {console.clean(name)}", fg="green")
        _hint(closing)
    if not closing.is_closed:
        raise typer.Exit(6)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Tell who stops at a question that the steps before it are recorded.

    :raises typer.Exit: code 130, instead of ``typer.Abort``, which says that nothing was changed.
    """
    from procomp_pay.cli.framework.group import INTERRUPTED

    try:
        yield
    except typer.Abort:
        told = _("Stopped. What was recorded is kept: the same command goes on.")
        console.say(f"\n{told}", fg="yellow")
        raise typer.Exit(INTERRUPTED) from None


def _steps(names: list[str] | None, option: str) -> list[Step]:
    from procomp_pay.domain.closing import Step

    known = [step.value for step in Step]
    for name in names or []:
        if name not in known:
            raise typer.BadParameter(
                N_("%(option)s must be one of %(known)s", option=option, known=", ".join(known))
            )
    return [Step(name) for name in names or []]


def _day(text: str | None, settings: Settings) -> Period:
    from zoneinfo import ZoneInfo

    from procomp_pay.domain.period import Period

    zone = ZoneInfo(settings.report_timezone)
    day = formats.day(text or "today", "--date", zone)
    return Period(zone, day, day)


def _opened(stack: ExitStack, settings: Settings, provider: str, path: Path, *, is_ours: bool) -> Statement:
    """Open a provider's file, as `reconcile --statement` does."""
    from procomp_pay.cli.reconciliation.reconcile import check_owner
    from procomp_pay.providers.statements.reader import open_statement
    from procomp_pay.services.closing.closing import Statement

    opened = stack.enter_context(open_statement(path, provider=provider, looks=False))
    if not is_ours:
        check_owner(opened, settings)
    return Statement(console.clean(path.name), opened, opened.sha256, is_ours)


def _bank(path: Path, *, account: str | None, mapping: dict[str, str] | None) -> BankStatement:
    """Read the bank's file, as `payouts match` does."""
    import hashlib

    from procomp_pay.providers.bank.reader import read_bank_file
    from procomp_pay.services.closing.closing import BankStatement

    file = read_bank_file(path, account=account, columns=mapping)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return BankStatement(console.clean(path.name), file, sha256, account is not None)


async def _advance(
    ctx: AppContext,
    closing: Closing,
    request: CloseRequest,
    actor: Actor,
    steps: list[Step],
    reason: str,
    progress: Callable[[str, int], None],
) -> None:
    """Run the steps; skip those that are to be skipped as soon as it is known what is open in them."""
    from procomp_pay.domain.closing import Step
    from procomp_pay.services.closing.close_day import advance, skip

    providers = {Step.STRIPE, Step.KASPI}
    for each in steps:
        if each in providers:
            await skip(ctx, closing, each, reason, actor)
    await advance(ctx, closing, request, actor, on_progress=progress)
    rest = [each for each in steps if each not in providers]
    for each in rest:
        await skip(ctx, closing, each, reason, actor)
    if rest:
        await advance(ctx, closing, request, actor, on_progress=progress)


async def _ask(
    ctx: AppContext,
    closing: Closing,
    request: CloseRequest,
    actor: Actor,
    opened: Callable[[str, Path], Statement],
    bank: Callable[[Path], BankStatement],
) -> None:
    from dataclasses import replace

    from procomp_pay.cli.closing.exports import absolute, expanded
    from procomp_pay.cli.closing.questions import ask
    from procomp_pay.domain.closing import Step
    from procomp_pay.domain.errors import PaymentError
    from procomp_pay.services.closing.close_day import advance

    asked: dict[Step, bool] = {}
    request = replace(request, bank=None, again=frozenset())
    now = request

    def use_file(step: Step, name: str) -> None:
        nonlocal now, request
        if step is Step.EXPORTS:
            now = request = replace(request, exports=absolute(Path(name)))
        elif step is Step.PAYOUTS:
            now = replace(request, bank=bank(expanded(Path(name))))
        else:
            given = {step.value: opened(step.value, expanded(Path(name)))}
            now = replace(request, statements=given)

    going_on = True
    while going_on:
        now, before = replace(request, statements={}), request
        try:
            going_on = await ask(ctx, closing, actor, use_file, asked)
            await advance(ctx, closing, now, actor)
        except PaymentError as error:
            if not going_on:
                raise
            console.show_error(error)
            request = before
            step, is_answered = asked.popitem()
            if not is_answered:  # the error is not about what was typed
                asked[step] = False


async def _sign(
    ctx: AppContext,
    closing: Closing,
    request: CloseRequest,
    actor: Actor,
    settings: Settings,
    second: str | None,
) -> None:
    """Sign what was counted before the PINs were asked for.

    :raises Conflict: it is no longer the same.
    """
    from dataclasses import replace

    from procomp_pay.domain.errors import Conflict
    from procomp_pay.services.closing.close_day import advance
    from procomp_pay.services.closing.signing import sign

    signers, alone = await _signers(ctx, closing, settings, second)
    if not closing.is_closed:
        before = closing.to_sign()
        await advance(ctx, closing, replace(request, statements={}, bank=None, again=frozenset()), actor)
        if closing.to_sign() != before:
            raise Conflict(
                N_("Something changed while it was being signed: nothing is signed"),
                next_step=N_("look at it again, then sign: procomp-pay close"),
            )
    for signer in signers:
        await sign(ctx, closing, signer, alone=alone)


async def _signers(
    ctx: AppContext, closing: Closing, settings: Settings, second: str | None
) -> tuple[list[Signer], bool]:
    """Return who signs now, and whether one signature closes the day: the operator who is logged in and the
    second one, whose PIN is typed now; without operators, the user of the operating system.

    :raises Refused: a second one, where there are no operators. :raises Forbidden: one may not sign, or they
        are the same. :raises Unauthorized: a wrong PIN.
    """
    from procomp_pay.cli.framework.second_person import ask_secret
    from procomp_pay.domain.closing import Signer
    from procomp_pay.domain.operators import Right, check_second, require
    from procomp_pay.services.operators.approvals import second_operator

    if ctx.operator is None:
        if second is not None:
            raise Refused(
                N_("There are no operators, so nobody can sign as the second one"),
                next_step=N_("leave out --second, or add operators: procomp-pay operator add --help"),
            )
        name = _system_user()
        return [Signer(f"user:{name}", name)], True
    tournament = closing.tournament[0] if closing.tournament else None
    require(ctx.operator, Right.CLOSE, tournament)
    operators = [ctx.operator]
    if second is not None:
        check_second(ctx.operator.name, second)
        question = _("PIN of %(name)s", name=console.clean(second))
        secret = ask_secret(settings.procomp_approver_pin, question, "PROCOMP_APPROVER_PIN")
        other = await second_operator(ctx, ctx.operator, second, secret, Right.CLOSE, tournament)
        has_signed = f"operator:{ctx.operator.operator_id}" in {each.account for each in closing.signatures}
        operators = [other] if has_signed else [ctx.operator, other]
    return [Signer(f"operator:{each.operator_id}", each.name) for each in operators], False


def _system_user() -> str:
    """Return the user whom the operating system vouches for: not the environment, which anybody sets."""
    import getpass
    import os

    try:
        from pwd import getpwuid

        return getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):  # Windows, or a container without names
        uid = os.getuid() if hasattr(os, "getuid") else None
        return getpass.getuser() if uid is None else f"uid {uid}"


def _hint(closing: Closing) -> None:
    from procomp_pay.cli.closing.questions import going_on
    from procomp_pay.domain.closing import Step
    from procomp_pay.services.closing.closing import STATEMENT

    if closing.is_closed:
        return
    if closing.open == [Step.SIGNATURES]:
        console.hint(f"{going_on(closing)} --sign")
    elif closing.open[0] is Step.EXPORTS:
        console.hint(f"{going_on(closing)} --exports DIR")
    elif STATEMENT in closing.steps[closing.open[0]].items:
        console.hint(f"{going_on(closing)} --kaspi-statement FILE")
    elif not sys.stdin.isatty():
        console.hint(f'{going_on(closing)} --skip {closing.open[0]} --reason "…"')
