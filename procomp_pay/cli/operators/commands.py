"""``operator``: accounts, logins, and approvals by a second person."""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from procomp_pay.cli.display import wording
from procomp_pay.cli.framework import console, formats, login_file
from procomp_pay.cli.framework.completion import complete_tournament
from procomp_pay.cli.framework.context import load_settings, named_tournament, operator, run_with_context
from procomp_pay.cli.framework.language import _, language
from procomp_pay.cli.framework.options import AsOption, JsonOption, YesOption, command_group
from procomp_pay.cli.framework.second_person import ask_secret
from procomp_pay.domain.language import Language
from procomp_pay.domain.operators import Role
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from procomp_pay.services.context import AppContext
    from procomp_pay.services.operators.accounts import OperatorView
    from procomp_pay.services.operators.approvals import ApprovalView
    from procomp_pay.services.operators.logins import Login

_EXAMPLES = """[bold]Examples[/]

  procomp-pay operator add marat --role admin
  procomp-pay operator add aigerim --role desk --tournament "Almaty Open"
  procomp-pay operator add cron --role finance --token
  procomp-pay operator change aigerim --role finance --all-tournaments
  procomp-pay operator login aigerim
  procomp-pay operator approve ID

Until the first operator is added, every user of this computer may do everything.
From then on, commands that move money or change registrations need a login, which
lasts for a shift of 12 hours. A script sets PROCOMP_OPERATOR and
PROCOMP_OPERATOR_TOKEN instead.

  desk      start, verify, cancel and refund single payments; registrations
  finance   also reports, reconcile, refunds of tournaments, discrepancies, closing
  admin     also operators, keys, archives, personal data"""

group = command_group("Add operators, log in, and approve what needs two people.", epilog=_EXAMPLES)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The operator's name.", show_default=False)]
TournamentsOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="T",
        help="Only for this tournament: its name or id; can be repeated.",
        autocompletion=complete_tournament,
    ),
]
TokenOption = Annotated[
    bool, typer.Option("--token", help="For scripts: no PIN, a random token that is printed once.")
]


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(group, name="operator")


@group.command()
def add(
    name: NameArgument,
    role: Annotated[Role, typer.Option(metavar="ROLE", help="desk, finance or admin.", show_default=False)],
    tournament: TournamentsOption = None,
    token: TokenOption = False,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add an operator. The PIN is asked for twice, or read from stdin or PROCOMP_PIN."""
    settings, actor = load_settings(), operator(acting)

    async def work(ctx: AppContext) -> tuple[OperatorView, str | None, bool]:
        from procomp_pay.services.operators import accounts

        await accounts.check_new(ctx, name, role)
        named = [await named_tournament(ctx, each, as_json=as_json) for each in tournament or ()]
        is_first = not await accounts.any_exists(ctx)
        pin = None if token else ask_secret(settings.procomp_pin, _("New PIN"), "PROCOMP_PIN", twice=True)
        view, secret = await accounts.add(ctx, name, role, by=actor.name, pin=pin, tournaments=named or None)
        return view, secret, is_first

    view, secret, is_first = run_with_context(work, settings=settings)
    _show_changed(view, secret, "added", as_json=as_json)
    if is_first and not as_json:
        console.say("From now on, commands that move money or change registrations need a login.")
        console.hint(f"procomp-pay operator login {view.name}")
        console.say("Cron jobs such as reconcile need an operator of their own:")
        console.hint("procomp-pay operator add cron --role finance --token")


@group.command("list")
def list_operators(as_json: JsonOption = False) -> None:
    """List the operators: role, tournaments, locked or disabled, logged in until when."""
    from procomp_pay.services.operators import accounts

    views = run_with_context(accounts.many)
    if as_json:
        console.print_json({"items": [view.full() for view in views]})
        return
    if not views:
        console.say("There are no operators: everybody may do everything", dim=True)
        console.hint("procomp-pay operator add NAME --role admin")
        return
    rows = [
        [console.clean(view.name), view.role.value, view.secret_kind.value, _tournaments(view), _state(view)]
        for view in views
    ]
    console.print_lines(console.table(("NAME", "ROLE", "BY", "TOURNAMENTS", "STATE"), rows))


def _tournaments(view: OperatorView) -> str:
    return "all" if view.tournaments is None else ", ".join(view.tournaments)


def _state(view: OperatorView) -> str:
    if view.disabled_at is not None:
        return f"disabled {formats.clock_time(view.disabled_at)}"
    if view.locked_until is not None:
        return f"locked by wrong PINs until {formats.clock_time(view.locked_until)}"
    return "-" if view.login_until is None else f"logged in until {formats.clock_time(view.login_until)}"


@group.command()
def change(
    name: NameArgument,
    role: Annotated[
        Role | None, typer.Option(metavar="ROLE", help="desk, finance or admin.", show_default=False)
    ] = None,
    tournament: TournamentsOption = None,
    everywhere: Annotated[bool, typer.Option("--all-tournaments", help="No longer only for some.")] = False,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change an operator's role or tournaments. Their logins end at once; a token holds."""
    if role is None and not tournament and not everywhere:
        raise typer.BadParameter("give --role, --tournament or --all-tournaments")
    if tournament and everywhere:
        raise typer.BadParameter("--tournament and --all-tournaments exclude each other")
    actor = operator(acting)

    async def work(ctx: AppContext) -> OperatorView:
        from procomp_pay.services.operators import accounts

        named = [await named_tournament(ctx, each, as_json=as_json) for each in tournament or ()]
        return await accounts.change(
            ctx, name, by=actor.name, role=role, tournaments=named or None, everywhere=everywhere
        )

    _show_changed(run_with_context(work), None, "changed", as_json=as_json)


@group.command()
def disable(name: NameArgument, acting: AsOption = None, as_json: JsonOption = False) -> None:
    """Disable an operator: their logins end at once. The audit trail keeps the name."""
    from procomp_pay.services.operators import accounts

    actor = operator(acting)
    view = run_with_context(lambda ctx: accounts.disable(ctx, name, by=actor.name))
    _show_changed(view, None, "disabled", as_json=as_json)


@group.command()
def enable(name: NameArgument, acting: AsOption = None, as_json: JsonOption = False) -> None:
    """Enable an operator again, or end the lock after wrong PINs."""
    from procomp_pay.services.operators import accounts

    actor = operator(acting)
    view = run_with_context(lambda ctx: accounts.enable(ctx, name, by=actor.name))
    _show_changed(view, None, "enabled", as_json=as_json)


@group.command()
def pin(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Default: yours.", show_default=False)
    ] = None,
    token: TokenOption = False,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change your PIN, or as an admin that of another operator. All their logins end.

    For your own, the current PIN is asked for first (or read from PROCOMP_PIN), then
    the new one (or read from stdin).
    """
    settings, actor = load_settings(), operator(acting)

    async def work(ctx: AppContext) -> tuple[OperatorView, str | None]:
        from procomp_pay.domain.operators import folded
        from procomp_pay.services.operators import accounts

        given, current, wanted = settings.procomp_pin, None, name or actor.name
        if folded(wanted) == folded(actor.name):
            current, given = ask_secret(given, _("PIN"), "PROCOMP_PIN"), None
        new = None if token else ask_secret(given, _("New PIN"), "PROCOMP_PIN", twice=True)
        return await accounts.change_secret(ctx, wanted, by=actor.name, pin=new, current=current)

    view, secret = run_with_context(work, settings=settings)
    _show_changed(view, secret, "has a new token" if token else "has a new PIN", as_json=as_json)


def _show_changed(view: OperatorView, token: str | None, what: str, *, as_json: bool) -> None:
    if as_json:
        console.print_json(view.full() | ({"token": token} if token is not None else {}))
        return
    console.say(f"✓ {console.clean(view.name)} ({view.role.value}, {_tournaments(view)}) {what}", fg="green")
    if token is not None:
        console.say("The token is shown this once. Set PROCOMP_OPERATOR and PROCOMP_OPERATOR_TOKEN.")
        typer.echo(token)


@group.command()
def login(name: NameArgument, as_json: JsonOption = False) -> None:
    """Log in for a shift of 12 hours. The PIN is asked for, or read from stdin or PROCOMP_PIN.

    A PIN that somebody else set has to be changed first, on a terminal.
    """
    settings = load_settings()

    async def work(ctx: AppContext) -> Login | None:
        from procomp_pay.services.operators import accounts, logins

        if not await accounts.any_exists(ctx):
            return None
        secret = ask_secret(settings.procomp_pin, _("PIN"), "PROCOMP_PIN")
        chooses = _chosen_pin if _can_choose(as_json=as_json) else None
        return await logins.log_in(ctx, name, secret, login_file.os_user(), new_pin=chooses)

    made = run_with_context(work, settings=settings)
    if made is None:
        _say_none(as_json=as_json)
        return
    login_file.keep_login(settings, made.operator.name, made.token)
    document = {"operator": made.operator.name, "role": made.operator.role.value}
    if as_json:
        console.print_json(document | {"until": made.until.isoformat()})
        return
    until = formats.clock_time(made.until)
    text = _("%(name)s (%(role)s) is logged in until %(time)s", name=made.operator.name,
             role=made.operator.role.value, time=until)  # fmt: skip
    console.say(f"✓ {console.clean(text)}", fg="green")


def _can_choose(*, as_json: bool) -> bool:
    return sys.stdin.isatty() and not as_json


def _chosen_pin(other: str) -> str:
    """Ask for a new PIN in place of one that somebody else set."""
    console.say(_("%(other)s set this PIN, and may know it: choose your own.", other=console.clean(other)))
    return ask_secret(None, _("New PIN"), "PROCOMP_PIN", twice=True)


def _say_none(*, as_json: bool) -> None:
    if as_json:
        console.print_json({"operator": None, "role": None})
    else:
        console.say(_("There are no operators: nobody has to log in."), dim=True)


@group.command()
def logout(as_json: JsonOption = False) -> None:
    """Log out: the login ends, and its file is removed."""
    settings = load_settings()
    kept = login_file.kept_login(settings)
    if kept is not None:
        from procomp_pay.services.operators import logins

        run_with_context(lambda ctx: logins.log_out(ctx, kept["token"]), settings=settings)
        login_file.forget_login(settings)
    if as_json:
        console.print_json({"logged_out": kept is not None})
    elif kept is None:
        console.say(_("Nobody was logged in."), dim=True)
    else:
        console.say("✓ " + _("%(name)s is logged out", name=console.clean(kept["operator"])), fg="green")


@group.command()
def whoami(as_json: JsonOption = False) -> None:
    """Show who is logged in, and what they may do. Exit code 3: nobody is."""
    operator(None)

    async def work(ctx: AppContext) -> dict[str, Any] | None:
        who = ctx.operator
        if who is None:
            return None
        tournaments = None if who.tournaments is None else sorted(who.tournaments)
        return {"operator": who.name, "role": who.role.value, "tournaments": tournaments}

    found = run_with_context(work)
    if found is None:
        _say_none(as_json=as_json)
    elif as_json:
        console.print_json(found)
    else:
        own = ", ".join(found["tournaments"] or ()) or _("all tournaments")
        typer.echo(f"{console.clean(found['operator'])}  {found['role']}  {own}")


@group.command()
def approvals(as_json: JsonOption = False) -> None:
    """List the requests that wait for a second operator, or were approved within a day."""
    from procomp_pay.services.operators import approvals as service

    operator(None)
    views = run_with_context(service.unexpired)
    if as_json:
        console.print_json({"items": [view.full() for view in views]})
        return
    if not views:
        console.say(_("Nothing waits for a second operator"), dim=True)
    for view in views:
        console.print_lines(_lines(view))
        if view.approved_by is None:
            console.hint(f"procomp-pay operator approve {view.approval_id}")


@group.command()
def approve(
    approval: Annotated[str, typer.Argument(metavar="ID", help="The request's id.", show_default=False)],
    yes: YesOption = False,
    acting: AsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Approve what another operator asked for: for a day, exactly this, and not more money."""
    console.check_can_ask(yes=yes, as_json=as_json)
    settings = load_settings()
    operator(acting)

    async def work(ctx: AppContext) -> ApprovalView:
        from procomp_pay.domain.errors import Refused
        from procomp_pay.services.operators import approvals as service

        view = await service.one(ctx, approval)
        if ctx.operator is None:
            raise Refused(
                N_("There are no operators, so nobody can approve"),
                next_step="procomp-pay operator add --help",
            )
        if not yes:
            console.print_lines(_lines(view), err=True)
            console.confirm(_("Approve it?"))
        from procomp_pay.domain.operators import Right
        from procomp_pay.services.operators.authenticate import authenticate

        name = ctx.operator.name  # an open terminal is not enough
        secret = ask_secret(
            settings.procomp_approver_pin, _("PIN of %(name)s", name=name), "PROCOMP_APPROVER_PIN"
        )
        approver = await authenticate(ctx, name, secret, need=Right.DESK)
        return await service.approve(ctx, approver, approval, view.content)

    view = run_with_context(work, settings=settings)
    if as_json:
        console.print_json(view.full())
        return
    text = _("Approved. %(name)s can repeat the command now.", name=console.clean(view.requested_by))
    console.say(f"✓ {text}", fg="green")


#: Parts of what is asked for, for the catalogue.
_SUBJECTS = (
    N_("booked"), N_("charged"), N_("code"), N_("detail"), N_("discrepancy"), N_("how"), N_("id"),
    N_("kind"), N_("note"), N_("number"), N_("paid at"), N_("payment"), N_("reason"), N_("tournament"),
    N_("what"),
)  # fmt: skip


def _subject(name: str, value: str) -> str:
    """Return a part of what is asked for: codes and texts that we made in the reader's language."""
    if language() is Language.ENGLISH or name in ("note", "reason", "how"):
        return value
    return wording.kind(value) if name == "kind" else wording.reason(value)


def _lines(view: ApprovalView) -> list[str]:
    content = view.content
    sums = ", ".join(
        f"{formats.amount(Decimal(amount))} {currency}" for currency, amount in content["sums"].items()
    )
    rows = [
        (_(name.replace("_", " ")), console.clean(_subject(name, value)))
        for name, value in content["subject"].items()
        if value
    ]
    rows += [(_("sum"), console.clean(sums))] if sums else []
    rows.append(
        (_("asked by"), f"{console.clean(view.requested_by)}, {formats.clock_time(view.requested_at)}")
    )
    if view.approved_by is not None and view.approved_at is not None:
        approved = f"{console.clean(view.approved_by)}, {formats.clock_time(view.approved_at)}"
        rows.append((_("approved by"), approved))
    else:
        rows.append((_("waits until"), formats.clock_time(view.expires_at)))
    title = wording.approval(content["action"])
    return [f"{console.bold(title)}  {view.approval_id}", *console.label_rows(rows, width=14)]
