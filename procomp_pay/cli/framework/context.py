"""The context of a command's run: its settings, the operator, the database and the providers."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.language import _, translated
from procomp_pay.cli.framework.login_file import has_login, kept_login
from procomp_pay.cli.framework.rights import act_as, checked
from procomp_pay.domain.errors import Ambiguous, ConfigurationError, NotFound, Refused
from procomp_pay.domain.text import N_

if TYPE_CHECKING:
    from procomp_pay.config import Settings
    from procomp_pay.domain.states import PaymentMethod
    from procomp_pay.services.context import Actor, AppContext
    from procomp_pay.services.registrations.find import Found
    from procomp_pay.services.views.payment import PaymentView

T = TypeVar("T")


def load_settings() -> Settings:
    """Load the settings.

    :raises ConfigurationError: a setting is malformed.
    """
    from procomp_pay.config import load_settings

    return load_settings()


def run_with_context(
    work: Callable[[AppContext], Awaitable[T]], *, settings: Settings | None = None, replica: bool = False
) -> T:
    """Run a command's work in one ``asyncio.run``; create the embedded database if it is missing.

    :param replica: the work only reads, and decides nothing: from ``DATABASE_READ_URL``, where it is set.
    """
    import asyncio
    import logging

    from procomp_pay.services.bootstrap import open_context
    from procomp_pay.storage.database.migrate import ensure_sqlite

    settings = settings or load_settings()
    # Logs are for a server; here they would repeat an error, or write into a live screen.
    logging.getLogger("procomp_pay").addHandler(logging.NullHandler())
    ensure_sqlite(settings.url)

    async def run() -> T:
        async with open_context(settings) as primary:  # who is logged in is asked there
            ctx = await checked(primary, settings)
            if not replica or settings.database_read_url is None:
                return await work(ctx)
        copy = settings.model_copy(update={"database_url": settings.database_read_url})
        async with open_context(copy) as reading:
            return await work(replace(reading, operator=ctx.operator, credentials=ctx.credentials))

    return asyncio.run(run())


async def named_participant(
    ctx: AppContext, wanted: str, *, as_json: bool = False, whole_name: bool = False
) -> str:
    """Return the id of the participant that was typed: an id, a payment's code, or a name.

    Whoever is found by name is told on stderr; on a terminal, several are shown to choose from.

    :param whole_name: as in :func:`named_payment`.

    :raises NotFound: nobody. :raises Ambiguous: several, and nobody can be asked.
    """
    from procomp_pay.services.registrations.find import find_participant

    found = await _named(partial(find_participant, ctx), wanted, as_json=as_json, whole_name=whole_name)
    await _check_theirs(ctx, participant_id=found)
    return found


async def named_payment(
    ctx: AppContext,
    wanted: str,
    *,
    as_json: bool = False,
    whole_name: bool = False,
    method: PaymentMethod | None = None,
) -> str:
    """Return the id of the payment that was typed: an id, a code, or the participant's id or name.

    :param whole_name: a part of a name is not enough, since no confirmation follows; on a terminal it is
        asked for.
    :param method: the participant's other payments are not meant, if there is one by this method.
    :raises NotFound, Ambiguous: as :func:`named_participant`.
    """
    from procomp_pay.services.registrations.find import find_payment

    find = partial(find_payment, ctx, method=method)
    found = await _named(find, wanted, as_json=as_json, whole_name=whole_name)
    await _check_theirs(ctx, payment_id=found)
    return found


async def named_tournament(
    ctx: AppContext, wanted: str, *, as_json: bool = False, whole_name: bool = False
) -> str:
    """Return the id of the tournament that was typed: an id or a name.

    :param whole_name: as in :func:`named_payment`.
    :raises NotFound, Ambiguous: as :func:`named_participant`.
    """
    from procomp_pay.services.registrations.find import find_tournament

    found = await _named(partial(find_tournament, ctx), wanted, as_json=as_json, whole_name=whole_name)
    await _check_theirs(ctx, tournament_id=found)
    return found


async def payment_id(ctx: AppContext, wanted: str | None, *, as_json: bool = False) -> str | None:
    """Return the payment of an option as :func:`named_payment` does; ``None`` for none."""
    return None if wanted is None else await named_payment(ctx, wanted, as_json=as_json)


async def tournament_id(ctx: AppContext, wanted: str | None, *, as_json: bool = False) -> str | None:
    """Return the tournament of an option as :func:`named_tournament` does; ``None`` for none.

    :raises Forbidden: none was given, and the operator is not for all.
    """
    if wanted is None:
        await _check_theirs(ctx)
        return None
    return await named_tournament(ctx, wanted, as_json=as_json)


async def _check_theirs(ctx: AppContext, **concerned: str) -> None:
    """Check that what was named is of one of the operator's tournaments.

    :raises Forbidden: it is not.
    """
    if ctx.operator is not None and ctx.operator.tournaments is not None:
        from procomp_pay.services.operators.tournaments import check_theirs

        await check_theirs(ctx, **concerned)


async def _named(
    find: Callable[..., Awaitable[Found]], wanted: str, *, as_json: bool, whole_name: bool = False
) -> str:
    """Find by id, code or name; ask on a terminal, payments after participants."""
    is_chosen = False
    while True:
        try:
            found = await find(wanted, whole_name=whole_name)
        except Ambiguous as several:
            if as_json or not console.is_interactive():
                raise
            wanted, is_chosen = console.choose(several.message, several.choices).id, True
            continue
        if found.description is not None and not (as_json or is_chosen):
            console.say(console.clean(translated(found.description)), dim=True)
        return found.id


async def audited_payment(ctx: AppContext, wanted: str, *, as_json: bool = False) -> str:
    """Return the id of the payment that was typed; what is none as it is, since the audit trail also has
    payments that were deleted.

    :raises NotFound: a mistyped code, or that of no payment. :raises Ambiguous: as :func:`named_payment`.
    """
    from procomp_pay.domain import payment_code

    try:
        return await named_payment(ctx, wanted, as_json=as_json)
    except NotFound:
        if payment_code.looks_like_one(wanted):
            raise
        return wanted


def operator(name: str | None) -> Actor:
    """Return the operator for the audit trail: ``--as``, ``PROCOMP_OPERATOR``, the login, or the system user.

    Where there are operators, :func:`run_with_context` checks that it is one of them, and logged in.

    :raises Refused: the name cannot be shown in the audit trail.
    """
    from procomp_pay.domain.events import Source
    from procomp_pay.services.context import Actor

    operator_name = name if name is not None else os.environ.get("PROCOMP_OPERATOR") or _logged_in()
    if not operator_name.strip() or len(operator_name) > 80 or not operator_name.isprintable():
        raise Refused(
            N_("An operator's name is 1 to 80 printable characters"), next_step=N_("add: --as NAME")
        )
    act_as(operator_name.strip())
    return Actor(operator_name.strip(), Source.PERSON)


def _logged_in() -> str:
    """Return the name of the login, else of the system user."""
    kept = kept_login(load_settings()) if has_login() else None
    return _system_user() if kept is None else kept["operator"]


def _system_user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # common in containers
        raise ConfigurationError(
            N_("The system user has no name, and the audit trail needs one"),
            next_step=N_("add --as NAME, or set PROCOMP_OPERATOR"),
        ) from None


def show_mode_notice(settings: Settings, *, kaspi: bool | None = None, as_json: bool = False) -> None:
    """Print one line on stderr while no real money moves.

    :param kaspi: the provider that the command uses: True Kaspi, False Stripe, None both.
    """
    notice = mode_notice(settings, kaspi=kaspi)
    if notice is not None and not as_json:
        console.say(notice, fg="yellow", bold=True)


def mode_notice(settings: Settings, *, kaspi: bool | None = None) -> str | None:
    """Return the warning that no real money moves; None in live mode."""
    modes = [] if kaspi is False else [settings.kaspi_mode.value]
    modes += [] if kaspi is True else [settings.stripe_mode.value]
    if "sandbox" in modes:
        return _("SANDBOX – no real money moves")
    return _("TEST KEYS – no real money moves") if "test" in modes else None


def mode_of(settings: Settings, view: PaymentView) -> str:
    """Return the mode of a payment's provider: ``live``, ``test`` or ``sandbox``."""
    return (settings.kaspi_mode if view.channel.is_kaspi else settings.stripe_mode).value
