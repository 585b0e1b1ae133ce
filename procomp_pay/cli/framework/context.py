"""The context of a command's run: its settings, the operator, the database and the providers."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from procomp_pay.cli.framework import console
from procomp_pay.domain.errors import ConfigurationError, Refused

if TYPE_CHECKING:
    from procomp_pay.config import Settings
    from procomp_pay.services.context import Actor, AppContext
    from procomp_pay.services.views.payment import PaymentView

T = TypeVar("T")


def load_settings() -> Settings:
    """Load the settings.

    :raises ConfigurationError: a setting is malformed.
    """
    from procomp_pay.config import load_settings

    return load_settings()


def run_with_context(work: Callable[[AppContext], Awaitable[T]], *, settings: Settings | None = None) -> T:
    """Run a command's work in one ``asyncio.run``; create the embedded database if it is missing."""
    import asyncio
    import logging

    from procomp_pay.services.bootstrap import open_context
    from procomp_pay.storage.database.migrate import ensure_sqlite

    settings = settings or load_settings()
    # Logs are for a server; here they would repeat an error, or write into a live screen.
    logging.getLogger("procomp_pay").addHandler(logging.NullHandler())
    ensure_sqlite(settings.url)

    async def run() -> T:
        async with open_context(settings) as ctx:
            return await work(ctx)

    return asyncio.run(run())


async def payment_id(ctx: AppContext, wanted: str | None) -> str | None:
    """Return the id of the payment that an option names by its id or code; ``None`` for none.

    :raises NotFound: no such payment.
    """
    from procomp_pay.services.views import payment as views

    return None if wanted is None else (await views.one(ctx, wanted)).payment_id


async def tournament_id(ctx: AppContext, wanted: str | None) -> str | None:
    """Return the id of the tournament that an option names by its id or whole name; ``None`` for none.

    :raises NotFound: no such tournament. :raises Refused: several have that name.
    """
    from procomp_pay.services.registrations import tournaments

    return None if wanted is None else (await tournaments.find_tournament(ctx, wanted)).tournament_id


async def audited_payment(ctx: AppContext, wanted: str) -> str:
    """Return the id of a payment that is named by its code; anything else as it is, since the audit trail
    also has payments that were deleted.

    :raises NotFound: a mistyped code, or that of no payment.
    """
    from procomp_pay.domain import payment_code

    return str(await payment_id(ctx, wanted)) if payment_code.looks_like_one(wanted) else wanted


def operator(name: str | None) -> Actor:
    """Return the operator for the audit trail: ``--as``, ``PROCOMP_OPERATOR``, or the system user.

    :raises Refused: the name cannot be shown in the audit trail.
    """
    from procomp_pay.domain.events import Source
    from procomp_pay.services.context import Actor

    operator_name = name if name is not None else os.environ.get("PROCOMP_OPERATOR") or _system_user()
    if not operator_name.strip() or len(operator_name) > 80 or not operator_name.isprintable():
        raise Refused("An operator's name is 1 to 80 printable characters", next_step="add: --as NAME")
    return Actor(operator_name.strip(), Source.PERSON)


def _system_user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # common in containers
        raise ConfigurationError(
            "The system user has no name, and the audit trail needs one",
            next_step="add --as NAME, or set PROCOMP_OPERATOR",
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
        return "SANDBOX \N{EN DASH} no real money moves"
    return "TEST KEYS \N{EN DASH} no real money moves" if "test" in modes else None


def mode_of(settings: Settings, view: PaymentView) -> str:
    """Return the mode of a payment's provider: ``live``, ``test`` or ``sandbox``."""
    return (settings.kaspi_mode if view.channel.is_kaspi else settings.stripe_mode).value
