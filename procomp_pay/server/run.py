"""Run the server: set up, report that it is ready, stop without aborting a request or losing work."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from procomp_pay.config import ProviderMode, Settings
from procomp_pay.domain.errors import ConfigurationError, Unavailable
from procomp_pay.server.app import make_app
from procomp_pay.server.http.connections import listening
from procomp_pay.server.http.route import BASE
from procomp_pay.server.http.state import STATE
from procomp_pay.server.observability import logs
from procomp_pay.server.workers import Workers
from procomp_pay.services.bootstrap import open_context
from procomp_pay.storage.database import migrate
from procomp_pay.storage.database.errors import NoTables
from procomp_pay.storage.database.service import PaymentDatabaseService

log = logging.getLogger(__name__)

#: How long open requests may take at the end, in seconds; a call to a provider takes at most 20.
DRAIN_S = 25.0
#: When the process ends after SIGTERM, in seconds, whatever still hangs: the database has all that matters.
END_S = 35.0


def serve(settings: Settings, host: str, port: int, say: Callable[[str], None], *, workers: int = 1) -> None:
    """Serve until SIGTERM or SIGINT.

    :param port: 0 chooses a free one.
    :param say: called with one line when the server is ready.
    :param workers: processes that share the port; more than one needs PostgreSQL.
    :raises ConfigurationError: a setting, the address or the database's schema prevents the start.
    :raises DatabaseUnavailable: no connection.
    """
    logs.set_up(settings)
    if workers > 1:
        _check_shareable(settings)
    _check_tables(settings)
    with contextlib.closing(_bound(host, port)) as bound:
        endpoint = (host, bound.getsockname()[1])
        address = _address(bound)
        ready = partial(say, f"procomp-pay listens on {address}{BASE} · {banner(settings)}")
        if workers == 1:
            _run(settings, bound, ready)
            return
    # the port is free only for a moment, and was ours: no other program listens there
    with contextlib.closing(_bound(*endpoint, shared=True)):
        Workers(workers, partial(_run_worker, _settings_of_worker(settings, workers), endpoint)).run(ready)
    log.info("stopped")


def _settings_of_worker(settings: Settings, workers: int) -> Settings:
    """Return the settings of one worker: its share of the requests per second to Kaspi.

    Workers do not communicate, so each keeps to its share even while the others make no requests.
    """
    rate = settings.kaspi_requests_per_second / workers
    return settings.model_copy(update={"kaspi_requests_per_second": rate})


def _run_worker(settings: Settings, endpoint: tuple[str, int], alive: int, ready: Callable[[], None]) -> None:
    """Serve in one of several processes; each listens, and the kernel distributes the connections."""
    with contextlib.closing(_bound(*endpoint, shared=True)) as bound:
        _run(settings, bound, ready, alive)


def _run(
    settings: Settings, bound: socket.socket, ready: Callable[[], None], alive: int | None = None
) -> None:
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(settings, bound, ready, alive))


def _check_shareable(settings: Settings) -> None:
    """
    :raises ConfigurationError: several processes cannot share the database or the port.
    """
    if settings.is_embedded:
        raise ConfigurationError(
            "Several workers need PostgreSQL: a SQLite file has one writer at a time",
            next_step="leave out --workers, or set DATABASE_URL to a PostgreSQL database",
        )
    if not hasattr(os, "fork") or not hasattr(socket, "SO_REUSEPORT"):
        raise ConfigurationError(
            "Processes cannot share a port on this system",
            next_step="start several `procomp-pay serve`, each with its own --port",
        )


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop where it is installed (not on Windows), else None for the slower standard loop."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _check_tables(settings: Settings) -> None:
    """Create the embedded database's tables; those of PostgreSQL are changed only by its operator.

    :raises ConfigurationError: PostgreSQL's tables are of another version.
    """
    migrate.ensure_sqlite(settings.url)
    if not settings.is_embedded:
        asyncio.run(_connect_once(settings))


async def _connect_once(settings: Settings) -> None:
    """Open one transaction, in which the database's revision is compared, and close everything again."""
    db = PaymentDatabaseService(settings.url, serving=True)
    try:
        async with db.reading():
            pass
    except NoTables as error:
        raise ConfigurationError(error.message, next_step=error.next_step) from error
    finally:
        await db.dispose()


async def _serve(
    settings: Settings, bound: socket.socket, ready: Callable[[], None], alive: int | None
) -> None:
    stop = _Stop()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows does not support it
            loop.add_signal_handler(number, stop.begin)
    if alive is not None:
        loop.add_reader(alive, stop.begin)
    async with open_context(settings, serving=True) as ctx:
        reachable = replace(ctx, base_url=ctx.base_url if settings.public_base_url else _address(bound))
        app = make_app(reachable, settings)
        background = app[STATE].background
        background.on_lost = stop.begin
        async with listening(app, bound, shutdown_timeout=DRAIN_S):
            try:
                # what is loaded by now stays: a search of it for garbage would halt every request
                gc.collect()
                gc.freeze()
                gc.set_threshold(50_000, 20, 20)  # a shorter halt than that of cli/main.py
                ready()
                await stop.begun.wait()
                log.info("stopping: open requests and running work finish first")
                background.begin_stop()  # beside the open requests, not after them
            finally:
                if alive is not None:  # stays readable once the parent is gone
                    loop.remove_reader(alive)
    log.info("stopped")
    if stop.lost_loop is not None:
        raise Unavailable(
            f"The background loop {stop.lost_loop} stood still, so this process ends",
            next_step="its supervisor starts it anew (systemd: Restart=always); else: procomp-pay serve",
        )


class _Stop:
    """The end of a server: it begins once, and ends in time."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.lost_loop: str | None = None
        self._last_resort = threading.Timer(END_S, _end_process)
        self._last_resort.daemon = True

    def begin(self, lost_loop: str | None = None) -> None:
        """Begin to stop; after 35 s the process ends by itself.

        :param lost_loop: the background loop that stands still, if that is the reason.
        """
        if self.begun.is_set():
            return
        self.lost_loop = lost_loop
        if lost_loop is not None:
            log.error("background loop %s stands still: the process ends, to be started anew", lost_loop)
        self._last_resort.start()  # never cancelled: closing the loop and its threads may hang as well
        self.begun.set()


def _end_process() -> None:
    """End the process from a thread: the event loop, or what it awaits, hangs."""
    log.error("not everything stopped within %.0f s: the process ends; its work is in the database", END_S)
    sys.stderr.flush()
    os._exit(1)


def banner(settings: Settings) -> str:
    """Return one line that says what each provider is: live, test, sandbox or off."""
    modes = f"Stripe: {settings.stripe_mode} · Kaspi: {settings.kaspi_mode}"
    if settings.is_live:
        return f"{modes} · LIVE – real money"
    if ProviderMode.SANDBOX in (settings.stripe_mode, settings.kaspi_mode):
        return f"{modes} · SANDBOX – no real money"
    if settings.stripe_mode is settings.kaspi_mode is ProviderMode.OFF:
        return f"{modes} · no payments can be taken: start `procomp-pay sandbox` first, or set the keys"
    return f"{modes} · TEST – no real money"


def _bound(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Return a socket that is bound to the address and does not listen yet.

    :param shared: other processes of ours may bind it as well.
    :raises ConfigurationError: the address is not available.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, proto)
    except OSError as error:
        raise _not_available(host, port, error) from error
    try:
        if os.name == "posix":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise _not_available(host, port, error) from error
    return bound


def _not_available(host: str, port: int, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"Cannot listen on {host} port {port}: {error.strerror or error}",
        next_step="choose another address with --host and --port",
    )


def _address(bound: socket.socket) -> str:
    """Return the address by which this machine reaches the server."""
    host, port = bound.getsockname()[:2]
    if ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        host = "127.0.0.1" if bound.family is socket.AF_INET else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
