"""What each command needs of an operator, in one table; and the check of who runs it.

No query is made where a command needs nothing. Where there are no operators, every user of the operating
system may do everything.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from typer._click.globals import get_current_context

from procomp_pay.cli.framework.login_file import kept_login, os_user
from procomp_pay.domain.errors import Unauthorized
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from procomp_pay.config import Settings
    from procomp_pay.services.context import AppContext

#: The rights of ``domain.operators.Right`` by the words of a command; of several entries the longest counts.
#: ``None``: everybody may. A command with the right ``desk`` only needs it where it acts, such as
#: ``status --refresh``; others also to show.
RIGHTS: dict[str, str | None] = {
    "desk": "desk",
    "initiate": "desk",
    "status": "desk",
    "history": None,
    "list": None,
    "cancel": "desk",
    "refund": "desk",  # of a whole tournament: services/refunds/bulk.py
    "payment": "desk",
    "receipt": "desk",
    "verify-kaspi": "desk",
    "report": "finance",
    "reconcile": "finance",
    "discrepancies": "finance",
    "discrepancies list": None,
    "discrepancies show": None,
    "close": "finance",
    "payouts": "finance",
    "export": "finance",
    "maintain": None,
    "outbox": None,
    "outbox replay": "finance",
    "db": None,
    "db adopt": "admin",
    "events": None,
    "events replay": "finance",
    "init": None,
    "doctor": None,
    "kaspi": None,
    "kaspi devices register": "admin",
    "kaspi devices delete": "admin",
    "keys": None,
    "keys rotate": "admin",
    "token": "admin",
    "audit": None,
    "audit seal": "finance",
    "audit archive": "admin",
    "tournament": "finance",
    "tournament list": None,
    "tournament fee": "desk",  # to show; a change: services/registrations/tournaments.py
    "participant": "desk",
    "remind": "finance",
    "person": "admin",
    "statement": None,
    "serve": None,
    "sandbox": None,
    "demo": None,
    "help": None,
    "version": None,
    "operator": "desk",
    "operator add": "admin",
    "operator list": "admin",
    "operator change": "admin",
    "operator disable": "admin",
    "operator enable": "admin",
    "operator login": None,
    "operator logout": None,
}
#: Commands that concern all tournaments: not for operators of some.
EVERYWHERE = frozenset(
    {"reconcile", "audit seal", "events replay", "outbox replay", "tournament add", "payouts", "export"}
)
_ACTING = "procomp_pay.acting"


def right_of(command: str) -> str | None:
    """Return the right that a command needs; one that is not listed needs ``finance``."""
    return next((RIGHTS[name] for name in _names(command) if name in RIGHTS), "finance")


def _names(command: str) -> list[str]:
    """Return a command and the groups that it belongs to, the nearest first."""
    words = command.split()
    return [" ".join(words[:length]) for length in range(len(words), 0, -1)]


def act_as(name: str) -> None:
    """Note that the running command acts, and under which name; :func:`checked` checks it."""
    context = get_current_context(silent=True)
    if context is not None:
        context.meta[_ACTING] = name


def _command() -> tuple[str, str | None]:
    """Return the words of the running command, and the name that it acts under; ``""`` where none runs."""
    context: Any = get_current_context(silent=True)
    name = None if context is None else context.meta.get(_ACTING)
    words: list[str] = []
    while context is not None and context.parent is not None:
        words.insert(0, str(context.info_name))
        context = context.parent
    return " ".join(words), name


async def checked(ctx: AppContext, settings: Settings) -> AppContext:
    """Return the context with the operator that the running command acts for.

    :raises Unauthorized: there are operators, and none is logged in, or another one than was named.
    :raises Forbidden: the operator has not the right.
    """
    command, name = _command()
    right = right_of(command) if command else None
    if right is None or (right == "desk" and name is None):
        return ctx
    from procomp_pay.domain.operators import Credentials, Right, require
    from procomp_pay.services.operators.logins import acting

    kept = kept_login(settings)
    # From `.env` alone it would be taken for the secret of everybody who logs in.
    secret = settings.procomp_operator_token if os.environ.get("PROCOMP_OPERATOR") else None
    credentials = Credentials(
        name=name or os.environ.get("PROCOMP_OPERATOR") or (kept or {}).get("operator") or os_user(),
        os_user=os_user(),
        token=None if kept is None else kept["token"],
        secret=None if secret is None else secret.get_secret_value(),
    )
    operator = await acting(ctx, credentials)
    if operator is None:
        return replace(ctx, credentials=credentials)
    if name is not None and name != operator.name:  # the audit trail has one spelling of a name
        raise Unauthorized(
            N_("The operator's name is %(name)s", name=operator.name),
            next_step=N_("write it like that, or leave it out"),
        )
    require(operator, Right(right), *([] if EVERYWHERE.isdisjoint(_names(command)) else [None]))
    return replace(ctx, operator=operator, credentials=credentials)
