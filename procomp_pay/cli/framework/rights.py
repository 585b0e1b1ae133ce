"""What each command needs of an operator, in one table; and who a command acts for.

No query is made where a command needs nothing. Where there are no operators, every user of the operating
system may do everything.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typer._click.globals import get_current_context

from procomp_pay.domain.errors import Refused, Unauthorized
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
    from procomp_pay.domain.operators import Claim, Right, require
    from procomp_pay.services.operators.logins import acting

    kept = kept_login(settings)
    # From `.env` alone it would be taken for the secret of everybody who logs in.
    secret = settings.procomp_operator_token if os.environ.get("PROCOMP_OPERATOR") else None
    claim = Claim(
        name=name or os.environ.get("PROCOMP_OPERATOR") or (kept or {}).get("operator") or os_user(),
        os_user=os_user(),
        token=None if kept is None else kept["token"],
        secret=None if secret is None else secret.get_secret_value(),
    )
    operator = await acting(ctx, claim)
    if operator is None:
        return replace(ctx, claim=claim)
    if name is not None and name != operator.name:  # the audit trail has one spelling of a name
        raise Unauthorized(
            N_("The operator's name is %(name)s", name=operator.name),
            next_step=N_("write it like that, or leave it out"),
        )
    require(operator, Right(right), *([] if EVERYWHERE.isdisjoint(_names(command)) else [None]))
    return replace(ctx, operator=operator, claim=claim)


# The file of a login


def os_user() -> str:
    """Return the user of the operating system, by the number that cannot be chosen in the environment."""
    if hasattr(os, "getuid"):
        return f"uid {os.getuid()}"
    import getpass

    return f"user {getpass.getuser()}"


def login_path(settings: Settings) -> Path:
    """Return the file of the login, one for each database."""
    import hashlib

    return _directory() / f"login-{hashlib.sha256(settings.url.encode()).hexdigest()[:16]}.json"


def _directory() -> Path:
    from platformdirs import user_state_path

    return user_state_path("procomp-pay")


def has_login() -> bool:
    """Return whether there is a file of any login; cheap, for those who never log in."""
    return any(_directory().glob("login-*.json"))


def kept_login(settings: Settings) -> dict[str, str] | None:
    """Return the name and the token of the login; ``None`` where there is none.

    :raises Refused: the file is another user's, or others can read it.
    """
    path = login_path(settings)
    try:
        with path.open(encoding="utf-8") as file:
            status = os.fstat(file.fileno())
            if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o077):
                raise Refused(
                    N_("%(path)s belongs to another user, or others can read it: it is not used", path=path),
                    next_step=N_("delete it, and log in: procomp-pay operator login NAME"),
                )
            kept = json.load(file)
            return {"operator": str(kept["operator"]), "token": str(kept["token"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep_login(settings: Settings, name: str, token: str) -> None:
    """Write the file of the login, for this user alone."""
    path = login_path(settings)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    with os.fdopen(
        os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8"
    ) as file:
        json.dump({"operator": name, "token": token}, file)
    draft.replace(path)


def forget_login(settings: Settings) -> None:
    """Remove the file of the login."""
    login_path(settings).unlink(missing_ok=True)
