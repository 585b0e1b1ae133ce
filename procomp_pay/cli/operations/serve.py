"""``serve`` and ``sandbox``: the two commands that keep running."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.context import load_settings
from procomp_pay.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from procomp_pay.config import Settings
    from procomp_pay.sandbox.app import Sandbox, SandboxOptions

_WEBHOOK = "http://127.0.0.1:8080/api/v1/payments/webhooks/stripe"
_HOW = """\
[bold]SANDBOX – no real money.[/] A local Stripe and a local Kaspi at {url}
  Other procomp-pay commands on this computer find it. Start [bold]procomp-pay serve[/] after it.
  Webhooks go to {webhook}
  State is kept in {state}; time runs {scale:g} times as fast.
[bold]To pay[/]
  a hosted page   open its payment_url in a browser, or: curl -d wallet=apple_pay {url}/c/pay/cs_…
  a PaymentIntent curl -d '{{"method":"pm_apple_pay"}}' {url}/_sandbox/stripe/payment_intents/pi_…/pay
  a declined card the same with pm_card_chargeDeclined
  Kaspi           open {url}/pay/NUMBER (the QR's content or the QrPaymentId), or:
                  curl -d action=pay {url}/pay/NUMBER
[bold]To cause faults[/]
  slow            curl -d '{{"kind":"delay","seconds":5,"path":"/v1/"}}' {url}/_sandbox/faults
  no answer       curl -d '{{"kind":"cut_after","path":"/v1/payment_intents"}}' {url}/_sandbox/faults
  webhooks        curl -d '{{"mode":"duplicate"}}' {url}/_sandbox/webhooks   (normal, hold, drop, reverse)
"""
_TLS = """\
[bold]Kaspi by certificate[/] (scheme standard or enhanced) at {url}; new certificates at each start.
  In the terminal in which you use procomp-pay:
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)
    app.command()(sandbox)


def serve(
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="N", help="Port to listen on; 0 picks a free one.", min=0, max=65535)
    ] = 8080,
    workers: Annotated[
        int,
        typer.Option(
            metavar="N", help="Number of processes that share the port; PostgreSQL only.", min=1, max=64
        ),
    ] = 1,
) -> None:
    """Run the HTTP API, the webhooks and all background work.

    Stops on SIGTERM or Ctrl-C, after the open requests have finished.
    """
    from procomp_pay.server.run import serve as run

    run(load_settings(), host, port, say=lambda line: typer.echo(line, err=True), workers=workers)


def sandbox(
    port: Annotated[
        int, typer.Option(metavar="N", help="Port to listen on; 0 picks a free one.", min=0, max=65535)
    ] = 8600,
    state: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File that keeps its state. Default: in the data directory."),
    ] = None,
    webhook_url: Annotated[
        str, typer.Option(metavar="URL", help="URL that receives Stripe's events.")
    ] = _WEBHOOK,
    time_scale: Annotated[
        float, typer.Option(metavar="X", help="Speed of all timers: 60 is sixty times as fast.", min=0.01)
    ] = 1.0,
    tls: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Serve Kaspi by TLS with client certificates too, created in DIR."),
    ] = None,
) -> None:
    """Run a local Stripe and a local Kaspi. No real money."""
    settings = load_settings()
    if settings.is_live:
        raise ConfigurationError(
            "A live key is configured: the sandbox does not run where real money moves",
            next_step="unset STRIPE_SECRET_KEY and KASPI_API_KEY, or use another computer",
        )
    from procomp_pay.sandbox.app import SandboxOptions

    options = SandboxOptions(
        port=port,
        state_file=state or settings.home / "sandbox-state.json",
        webhook_url=webhook_url,
        time_scale=time_scale,
        tls_folder=tls.absolute() if tls else None,
    )
    import asyncio

    asyncio.run(_run(settings, options))


async def _run(settings: Settings, options: SandboxOptions) -> None:
    import asyncio

    from procomp_pay.config import sandbox_run_file
    from procomp_pay.sandbox.app import Sandbox
    from procomp_pay.sandbox.store import StateError

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows has no handlers on its loop
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with _locked(options.state_file):
        try:
            running = Sandbox(options)
            await running.start()
        except (OSError, ValueError, StateError) as error:
            raise ConfigurationError(
                f"The sandbox cannot start: {error}", next_step="choose another --port, --state or --tls"
            ) from error
        try:
            with _run_file(sandbox_run_file(settings), _contents(running)):
                _explain(running, options)
                await stop.wait()
        finally:
            await running.stop()


@contextlib.contextmanager
def _locked(state_file: Path | None) -> Iterator[None]:
    """Lock the state file: two sandboxes would overwrite each other's state.

    :raises ConfigurationError: another sandbox uses it.
    """
    if state_file is None:
        yield
        return
    from filelock import FileLock, Timeout

    try:
        state_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(f"{state_file}.lock", timeout=0, mode=0o600):
            yield
    except Timeout:
        raise ConfigurationError(
            f"Another sandbox uses {state_file}", next_step="use that one, or give --state FILE"
        ) from None


def _contents(running: Sandbox) -> dict[str, Any]:
    info = running.info()
    kaspi: Any = running.providers["kaspi"]
    names = ("url", "stripe_secret_key", "webhook_secret", "kaspi_api_key", "time_scale")
    return {name: info[name] for name in names} | {"kaspi_device_token": kaspi.device_token}


@contextlib.contextmanager
def _run_file(path: Path, contents: dict[str, Any]) -> Iterator[None]:
    """Write the file by which other commands find the sandbox: atomically, readable by this user only."""
    text = json.dumps(contents)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if path.read_text("utf-8") == text:  # another sandbox may have replaced it
                path.unlink()


def _explain(running: Sandbox, options: SandboxOptions) -> None:
    terminal = console.out()
    terminal.print(
        _HOW.format(
            url=running.url,
            webhook=console.safe(options.webhook_url),
            state=console.safe(options.state_file),
            scale=options.time_scale,
        ),
        end="",
        soft_wrap=True,
    )
    if running.tls is not None:
        terminal.print(_TLS.format(url=running.tls_url), end="", soft_wrap=True)
        for name, value in _kaspi_by_certificate(running.info()).items():
            line = f"  export {name}={shlex.quote(value)}"
            terminal.print(line, markup=False, highlight=False, soft_wrap=True)
    terminal.print("Ctrl-C stops it.")
    terminal.file.flush()


def _kaspi_by_certificate(info: dict[str, Any]) -> dict[str, str]:
    """Return the settings that reach the sandbox's Kaspi by certificate; they protect no real money."""
    tls, kaspi = info["tls"], info["kaspi"]
    return {
        "KASPI_SCHEME": "enhanced",
        "KASPI_API_URL": tls["url"],
        "KASPI_CA_CERT": tls["ca_cert"],
        "KASPI_CLIENT_CERT": tls["client_cert"],
        "KASPI_CLIENT_KEY": tls["client_key"],
        "KASPI_CLIENT_KEY_PASSWORD": tls["client_key_password"],
        "KASPI_DEVICE_TOKEN": kaspi["device_token"],
        "KASPI_ORGANIZATION_BIN": kaspi["organization_bin"],
        "KASPI_TRADE_POINT_ID": str(kaspi["trade_point_id"]),
    }
