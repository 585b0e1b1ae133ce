"""What a command runs with: the settings, the operator's name, the database and the providers."""

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


def settings() -> Settings:
    """Load the settings of this command.

    :raises ConfigurationError: a setting has a wrong form.
    """
    from procomp_pay.config import load_settings

    return load_settings()


def run_with_context(work: Callable[[AppContext], Awaitable[T]], *, using: Settings | None = None) -> T:
    """Run a command's work in its one ``asyncio.run``; create the embedded database where it is missing."""
    import asyncio
    import logging

    from procomp_pay.services.bootstrap import open_context
    from procomp_pay.storage.database.migrate import ensure_sqlite

    configured = using or settings()
    # Logs are for a server; here they would repeat an error, or write into a live screen.
    logging.getLogger("procomp_pay").addHandler(logging.NullHandler())
    ensure_sqlite(configured.url)

    async def run() -> T:
        async with open_context(configured) as ctx:
            return await work(ctx)

    return asyncio.run(run())


def operator(name: str | None) -> Actor:
    """Return who acts: ``--as``, ``PROCOMP_OPERATOR``, or the system user.

    :raises Refused: a name that the audit cannot show.
    """
    from procomp_pay.domain.events import Source
    from procomp_pay.services.context import Actor

    chosen = name if name is not None else os.environ.get("PROCOMP_OPERATOR") or _system_user()
    if not chosen.strip() or len(chosen) > 80 or not chosen.isprintable():
        raise Refused("An operator's name is 1 to 80 printable characters", next_step="add: --as NAME")
    return Actor(chosen.strip(), Source.PERSON)


def _system_user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user often has no name
        raise ConfigurationError(
            "This computer's user has no name, and the audit needs one",
            next_step="add --as NAME, or set PROCOMP_OPERATOR",
        ) from None


def warn_of_play_money(using: Settings, *, kaspi: bool | None = None, as_json: bool = False) -> None:
    """Print one line on stderr while no real money moves.

    :param kaspi: the provider that the command uses: True Kaspi, False Stripe, None both.
    """
    mark = play_money(using, kaspi=kaspi)
    if mark is not None and not as_json:
        console.say(mark, fg="yellow", bold=True)


def play_money(using: Settings, *, kaspi: bool | None = None) -> str | None:
    """Return the warning that no real money moves; None in live mode."""
    modes = [] if kaspi is False else [using.kaspi_mode.value]
    modes += [] if kaspi is True else [using.stripe_mode.value]
    if "sandbox" in modes:
        return "SANDBOX \N{EN DASH} no real money moves"
    return "TEST KEYS \N{EN DASH} no real money moves" if "test" in modes else None


def mode_of(using: Settings, view: PaymentView) -> str:
    """Return the mode of a payment's provider: ``live``, ``test`` or ``sandbox``."""
    return (using.kaspi_mode if view.channel.is_kaspi else using.stripe_mode).value
