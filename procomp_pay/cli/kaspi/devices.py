"""``kaspi devices``: list trade points, register and delete the device that payments are booked on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.context import load_settings, run_with_context
from procomp_pay.cli.framework.options import JsonOption, YesOption, command_group

if TYPE_CHECKING:
    from procomp_pay.config import Settings
    from procomp_pay.providers.kaspi.service import KaspiDevices
    from procomp_pay.services.context import AppContext

T = TypeVar("T")

_EXAMPLES = """[bold]Examples[/]

  procomp-pay kaspi devices list
  procomp-pay kaspi devices register desk-1 --trade-point 501
  procomp-pay kaspi devices delete

Trade points are created in the Kaspi Pay app; a device belongs to one of them.
Configure the API key or the certificate first."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    kaspi = command_group("Set up Kaspi: trade points and devices.")
    devices = command_group("List trade points, register and delete the device.")
    devices.command("list", epilog=_EXAMPLES)(list_devices)
    devices.command("register", epilog=_EXAMPLES)(register_device)
    devices.command("delete", epilog=_EXAMPLES)(delete_device)
    kaspi.add_typer(devices, name="devices")
    app.add_typer(kaspi, name="kaspi")


def list_devices(as_json: JsonOption = False) -> None:
    """List the trade points at Kaspi, and show the configured device."""
    settings = load_settings()

    async def work(calls: KaspiDevices) -> list[tuple[int, str]]:
        return await calls.trade_points()

    points = _at_kaspi(settings, work)
    token = settings.kaspi_device_token
    ours = token.get_secret_value() if token else ""
    if as_json:
        items = [{"trade_point_id": number, "name": name} for number, name in points]
        device = {"configured": bool(ours), "ends_with": ours[-4:] or None}
        console.print_json({"trade_points": items, "device": device, "mode": settings.kaspi_mode.value})
        return
    for number, name in points:
        mark = "  ← KASPI_TRADE_POINT_ID" if number == settings.kaspi_trade_point_id else ""
        typer.echo(f"{number}  {console.clean(name)}{mark}")
    if not points:
        typer.echo("There is no trade point: create one in the Kaspi Pay app.")
    if ours:
        typer.echo(f"Device: a token ending in …{console.clean(ours[-4:])} is configured.")
    else:
        typer.echo("Device: none is configured.")
        console.hint("procomp-pay kaspi devices register desk-1 --trade-point NUMBER")


def register_device(
    name: Annotated[
        str, typer.Argument(help="Latin letters, digits, - and _: such as desk-1.", metavar="NAME")
    ],
    trade_point: Annotated[
        int | None,
        typer.Option(
            "--trade-point", metavar="NUMBER", help="Default: KASPI_TRADE_POINT_ID, or the only one."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Register a device and print its token on stdout.

    Registering the same name at the same trade point again returns the same token.
    """
    settings = load_settings()
    run_with_context(_allowed, settings=settings)
    chosen = trade_point if trade_point is not None else settings.kaspi_trade_point_id

    async def work(calls: KaspiDevices) -> tuple[str, int]:
        number = chosen if chosen is not None else _only(await calls.trade_points())
        return await calls.register(name, number), number

    token, number = _at_kaspi(settings, work)
    if as_json:
        console.print_json(
            {"device_token": token, "trade_point_id": number, "mode": settings.kaspi_mode.value}
        )
        return
    typer.echo(token)
    console.say(
        "This is the device's token, a secret. It is not stored here and not shown again.", fg="yellow"
    )
    console.say("Set it as KASPI_DEVICE_TOKEN (environment or .env file), then run: procomp-pay doctor")


def delete_device(
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete the configured device at Kaspi. No payments can be taken with it afterwards."""
    from procomp_pay.domain.errors import ConfigurationError

    settings = load_settings()
    token = settings.kaspi_device_token.get_secret_value() if settings.kaspi_device_token else ""
    if not token:
        raise ConfigurationError(
            "No device is configured", next_step="set KASPI_DEVICE_TOKEN to the token of the device to delete"
        )
    run_with_context(_allowed, settings=settings)
    if not yes:
        console.check_can_ask(yes=yes, as_json=as_json)
        console.confirm(f"Delete the device …{console.clean(token[-4:])} at Kaspi?")
        run_with_context(_allowed, settings=settings)  # the question may have been open for hours

    async def work(calls: KaspiDevices) -> None:
        await calls.delete(token)

    _at_kaspi(settings, work)
    if as_json:
        console.print_json({"deleted": True, "ends_with": token[-4:], "mode": settings.kaspi_mode.value})
    else:
        typer.echo(f"Deleted: the device …{console.clean(token[-4:])}. Its open payments are still polled.")


async def _allowed(_ctx: AppContext) -> None:
    """Do nothing: where there are operators, only an admin gets here."""


def _only(points: list[tuple[int, str]]) -> int:
    if len(points) == 1:
        return points[0][0]
    names = ", ".join(f"{number} ({console.clean(name)})" for number, name in points)
    raise typer.BadParameter(f"choose a trade point with --trade-point: {names or 'there is none'}")


def _at_kaspi(settings: Settings, work: Callable[[KaspiDevices], Awaitable[T]]) -> T:
    """Call Kaspi; works before a device is configured, too."""
    import asyncio

    from pydantic import SecretStr

    from procomp_pay.providers.registry import ProviderRegistry

    token = settings.kaspi_device_token or SecretStr("none-yet")

    async def run() -> T:
        registry = ProviderRegistry(settings.model_copy(update={"kaspi_device_token": token}))
        try:
            return await work(registry.kaspi().devices())
        finally:
            await registry.aclose()

    return asyncio.run(run())
