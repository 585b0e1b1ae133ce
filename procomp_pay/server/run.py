"""Run the server: set up, say that it is ready, stop without cutting a request or losing work."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import logging
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from aiohttp import web

from procomp_pay.config import ProviderMode, Settings
from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.server.app import make_app
from procomp_pay.server.http.connections import make_runner
from procomp_pay.server.http.route import BASE
from procomp_pay.server.observability import logs
from procomp_pay.server.workers import Workers
from procomp_pay.services.bootstrap import open_context
from procomp_pay.storage.database import migrate

log = logging.getLogger(__name__)

#: How long open requests may go on at the end, in seconds; a call to a provider is over in 20.
DRAIN_S = 25.0


def serve(settings: Settings, host: str, port: int, say: Callable[[str], None], *, workers: int = 1) -> None:
    """Serve until SIGTERM or SIGINT.

    :param port: 0 takes a free one.
    :param say: is given one line when the server is ready.
    :param workers: processes that share the port; more than one on PostgreSQL alone.
    :raises ConfigurationError: a setting, the address or the database's tables do not let it start.
    :raises DatabaseUnavailable: no connection.
    """
    logs.set_up(settings)
    if workers > 1:
        _check_shareable(settings)
    _check_tables(settings)
    with contextlib.closing(_bound(host, port)) as bound:
        where = (host, bound.getsockname()[1])
        address = _address(bound)
        ready = partial(say, f"procomp-pay listens on {address}{BASE} · {banner(settings)}")
        if workers == 1:
            _run(settings, bound, ready)
            return
    # free again for a moment only: it was ours, so nobody else listens there
    with contextlib.closing(_bound(*where, shared=True)):
        Workers(workers, partial(_work, _share_of(settings, workers), where)).run(ready)
    log.info("stopped")


def _share_of(settings: Settings, workers: int) -> Settings:
    """One worker's part of what is asked of Kaspi in a second. Workers do not speak with each other, so each
    keeps to its own part, also while the others ask nothing."""
    rate = settings.kaspi_requests_per_second / workers
    return settings.model_copy(update={"kaspi_requests_per_second": rate})


def _work(settings: Settings, where: tuple[str, int], alive: int, ready: Callable[[], None]) -> None:
    """One of several processes, with a listening socket of its own: the kernel spreads the connections."""
    with contextlib.closing(_bound(*where, shared=True)) as bound:
        _run(settings, bound, ready, alive)


def _run(
    settings: Settings, bound: socket.socket, ready: Callable[[], None], alive: int | None = None
) -> None:
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings, bound, ready, alive))


def _check_shareable(settings: Settings) -> None:
    """
    :raises ConfigurationError: several processes cannot work here.
    """
    if settings.is_embedded:
        raise ConfigurationError(
            "Several workers need PostgreSQL: a SQLite file has one writer at a time",
            next_step="leave --workers out, or set DATABASE_URL to a PostgreSQL",
        )
    if not hasattr(os, "fork") or not hasattr(socket, "SO_REUSEPORT"):
        raise ConfigurationError(
            "This system cannot share a port among processes",
            next_step="start several `procomp-pay serve`, each with a --port of its own",
        )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where there is one (not on Windows); the standard loop does the same, slower."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _check_tables(settings: Settings) -> None:
    """The embedded database sets itself up; a PostgreSQL is changed by nobody but its operator."""
    migrate.ensure_sqlite(settings.url)
    if not settings.is_embedded and migrate.pending(settings.url):
        raise ConfigurationError(
            "The database's tables are not those of this version", next_step="procomp-pay db upgrade"
        )


async def _serve(
    settings: Settings, bound: socket.socket, ready: Callable[[], None], alive: int | None
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows has no handlers on its loop
            loop.add_signal_handler(number, stop.set)
    if alive is not None:
        loop.add_reader(alive, stop.set)
    async with open_context(settings) as ctx:
        here = replace(ctx, base_url=ctx.base_url if settings.public_base_url else _address(bound))
        runner = make_runner(make_app(here, settings), shutdown_timeout=DRAIN_S)
        await runner.setup()
        try:
            await web.SockSite(runner, bound).start()
            # what is loaded by now stays: looking through it for garbage would stop every request meanwhile
            gc.collect()
            gc.freeze()
            ready()
            await stop.wait()
            log.info("stopping: open requests and the work in hand finish first")
        finally:
            if alive is not None:
                loop.remove_reader(alive)
            await runner.cleanup()
    log.info("stopped")


def banner(settings: Settings) -> str:
    """What stands behind the methods, for a person."""
    modes = f"Stripe: {settings.stripe_mode} · Kaspi: {settings.kaspi_mode}"
    if settings.is_live:
        return f"{modes} · LIVE – real money"
    if ProviderMode.SANDBOX in (settings.stripe_mode, settings.kaspi_mode):
        return f"{modes} · SANDBOX – no real money"
    if settings.stripe_mode is settings.kaspi_mode is ProviderMode.OFF:
        return f"{modes} · no payments can be taken: start `procomp-pay sandbox` first, or set the keys"
    return f"{modes} · TEST – no real money"


def _bound(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that has the address and does not listen yet.

    :param shared: others of ours may have it as well.

    :raises ConfigurationError: the address is not to be had.
    """
    try:
        family, kind, proto, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, proto)
    except OSError as error:
        raise _not_to_be_had(host, port, error) from error
    try:
        if os.name == "posix":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(where)
    except OSError as error:
        made.close()
        raise _not_to_be_had(host, port, error) from error
    return made


def _not_to_be_had(host: str, port: int, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"Cannot listen on {host} port {port}: {error.strerror or error}",
        next_step="choose another one with --host and --port",
    )


def _address(bound: socket.socket) -> str:
    """Where the server is reached from this machine."""
    host, port = bound.getsockname()[:2]
    if ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        host = "127.0.0.1" if bound.family is socket.AF_INET else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
