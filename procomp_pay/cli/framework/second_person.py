"""``--approve``: a second operator for what one must not do alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.language import _
from procomp_pay.domain.errors import Refused
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from pydantic import SecretStr

    from procomp_pay.config import Settings
    from procomp_pay.domain.operators import ApprovalRequest
    from procomp_pay.services.context import Actor, AppContext


async def approved(
    ctx: AppContext, settings: Settings, actor: Actor, request: ApprovalRequest, approver: str | None
) -> Actor:
    """Return the actor with the second operator who approves; as it is where there are no operators.

    With a name, that operator's PIN is asked for on the terminal, or read from ``PROCOMP_APPROVER_PIN``;
    without one, a request is made that another operator accepts by ``operator approve``.

    :raises ManualReviewRequired: the request waits.
    :raises Forbidden: it is the same person, or one without the right. :raises Unauthorized: a wrong PIN.
    """
    from dataclasses import replace

    from procomp_pay.services.operators import approvals

    if ctx.operator is None:
        if approver is not None:
            raise Refused(
                N_("There are no operators, so nobody can approve"),
                next_step=N_("leave out --approve, or add operators: procomp-pay operator add --help"),
            )
        return actor
    if approver is None:
        return replace(actor, approved_by=await approvals.approved(ctx, ctx.operator, request))
    from procomp_pay.domain.operators import check_second

    check_second(ctx.operator.name, approver)
    secret = ask_secret(
        settings.procomp_approver_pin,
        _("PIN of %(name)s", name=console.clean(approver)),
        "PROCOMP_APPROVER_PIN",
    )
    return replace(
        actor, approved_by=await approvals.approve_now(ctx, ctx.operator, request, approver, secret)
    )


def ask_secret(given: SecretStr | None, question: str, setting: str, *, twice: bool = False) -> str:
    """Return a PIN or token: of the setting, typed on the terminal without being shown, or a line of stdin.

    :param twice: ask again on a terminal, for a new one.
    :raises typer.BadParameter: there is none. :raises Refused: the two are not the same.
    """
    import sys

    if given is not None:
        return given.get_secret_value()
    if not sys.stdin.isatty():
        secret = sys.stdin.readline().rstrip("\r\n")
        if not secret:
            raise typer.BadParameter(
                N_("there is no PIN: type it on a terminal, pipe it in, or set %(setting)s", setting=setting)
            )
        return secret
    secret = console.prompt_hidden(question)
    if twice and secret != console.prompt_hidden(_("Again, to be sure")):
        raise Refused(N_("The two PINs are not the same"), next_step=N_("type the command again"))
    return secret
