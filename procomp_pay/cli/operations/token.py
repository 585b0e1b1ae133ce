"""``token``: issue tokens for the HTTP API, if the signing secret is ours."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from procomp_pay.cli.framework import console, formats
from procomp_pay.cli.framework.context import load_settings, run_with_context
from procomp_pay.cli.framework.options import command_group
from procomp_pay.domain.errors import Refused

if TYPE_CHECKING:
    from datetime import timedelta

    from procomp_pay.services.context import AppContext

_EXAMPLES = """[bold]Examples[/]

  procomp-pay token issue --user USER --role admin
  procomp-pay token issue --user USER --role user --ttl 2h

  TOKEN=$(procomp-pay token issue --user me --role staff)
  curl -H "Authorization: Bearer $TOKEN" \\
    http://127.0.0.1:8080/api/v1/payments/admin/payments

Only the token goes to stdout. It cannot be revoked: keep its lifetime short."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class RoleName(StrEnum):
    """The roles of the API."""

    USER = "user"
    STAFF = "staff"
    ADMIN = "admin"


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = command_group("Issue tokens for the HTTP API.")
    group.command(epilog=_EXAMPLES)(issue)
    group.callback()(_group)
    app.add_typer(group, name="token")


def _group() -> None:
    """Issue tokens for the HTTP API."""


def issue(
    user: Annotated[
        str, typer.Option(metavar="USER", help="The platform's user id, for the token's sub claim.")
    ],
    role: Annotated[RoleName, typer.Option(metavar="ROLE", help="user, staff or admin.")],
    ttl: Annotated[
        str, typer.Option(metavar="TIME", help="Its lifetime: 90s, 15m, 2h; at most 24h.")
    ] = "15m",
) -> None:
    """Issue a token for the HTTP API, as the platform would sign it (HS256 only)."""
    lifetime = _lifetime(ttl)
    settings = load_settings()
    from datetime import UTC, datetime

    from procomp_pay.server.auth.issue import issue as make
    from procomp_pay.server.auth.tokens import Role
    from procomp_pay.services.bootstrap import keyring_for

    run_with_context(_allowed, settings=settings)
    now = datetime.now(UTC)
    token = make(settings, keyring_for(settings), user, Role(role.value), lifetime, now)
    until = formats.clock_time(now + lifetime)
    console.say(f"A token for user {console.clean(user)}, role {role.value}, valid until {until}.")
    typer.echo(token)


async def _allowed(_ctx: AppContext) -> None:
    """Do nothing: where there are operators, only an admin gets here."""


def _lifetime(text: str) -> timedelta:
    """Parse a duration such as ``15m``.

    :raises Refused: it is not one.
    """
    from datetime import timedelta

    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not number.isascii() or not number.isdigit() or len(number) > 6:
        raise Refused(f"{text[:24]!r} is not a duration", next_step="write it as --ttl 15m (s, m, h, d)")
    return timedelta(seconds=int(number) * _UNITS[unit])
