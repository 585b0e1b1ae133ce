"""``init``: write the files of an installation."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.options import JsonOption
from procomp_pay.domain.errors import ConfigurationError, PaymentError, Refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from procomp_pay.cli.operations.checks import Check
    from procomp_pay.providers.stripe.service import StripePaymentService
    from procomp_pay.services.maintenance.installation import Place

_T = TypeVar("_T")
_EXAMPLES = """[bold]Examples[/]

  procomp-pay init /etc/procomp-pay
  procomp-pay init /etc/procomp-pay --proxy nginx --stripe-endpoint
  DATABASE_URL=postgresql://… STRIPE_SECRET_KEY=rk_live_… procomp-pay init . --no-input
  procomp-pay init . --dry-run

Settings that are in the environment are taken from it; on a terminal the others are
asked. Nothing is ever overwritten, and nothing is started.

Exit code 7: a setting is missing or wrong; nothing was written."""
#: What is asked where it is not in the environment: setting, question, whether it is a secret.
_QUESTIONS = (
    ("DATABASE_URL", "PostgreSQL (postgresql://user:password@host/db; Enter for SQLite)", True),
    ("PUBLIC_BASE_URL", "Address that phones reach (https://pay.example.com)", False),
    ("STRIPE_SECRET_KEY", "Stripe's secret key (Enter for none)", True),
    ("KASPI_API_URL", "Address of Kaspi's API (Enter for none)", False),
    ("KASPI_API_KEY", "Kaspi's API key", True),
    ("KASPI_DEVICE_TOKEN", "Kaspi's device token (Enter if none is registered yet)", True),
    ("JWT_JWKS_URL", "Address of the platform's JWKS (Enter for a new shared secret)", False),
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=_EXAMPLES)(init)


def init(
    directory: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="An existing directory for the files.")
    ] = Path("/etc/procomp-pay"),
    proxy: Annotated[
        str, typer.Option(metavar="caddy|nginx", help="The proxy to write an example for.")
    ] = "caddy",
    user: Annotated[str, typer.Option(metavar="NAME", help="The system's user that runs it.")] = "procomp",
    port: Annotated[int, typer.Option(metavar="N", help="Port of serve.", min=1, max=65535)] = 8080,
    stripe_endpoint: Annotated[
        bool, typer.Option("--stripe-endpoint", help="Make Stripe's webhook endpoint, with the key.")
    ] = False,
    no_input: Annotated[bool, typer.Option("--no-input", help="Ask nothing.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and show; write nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write an environment file with new keys, systemd units and a proxy's example.

    Every setting is checked first, as by doctor.
    """
    from procomp_pay.services.maintenance import installation

    if proxy not in installation.PROXIES:
        raise typer.BadParameter("--proxy is caddy or nginx")
    place = installation.Place(
        directory.absolute(), _program(), user, port, proxy, Path("/var/lib/procomp-pay")
    )
    given = dict(os.environ)
    asks = console.is_interactive() and not (no_input or as_json)
    if asks:
        _ask(given)
    settings = installation.settings_of(given, place)
    text = installation.env_text(settings)
    files = installation.files(place, settings.get("PUBLIC_BASE_URL"))
    installation.check_free(place, list(files))
    installation.check_keys(given)
    os.environ.update(settings)  # what follows sees what serve will see
    checks = _examined(quiet=as_json)
    webhook = _webhook_address(settings.get("PUBLIC_BASE_URL"))
    if stripe_endpoint:
        _check_endpoint(settings, webhook)
    if not dry_run:
        installation.write(place.env_file, text, 0o600)
        for name, content in files.items():
            installation.write(place.directory / name, content, 0o644)
        if stripe_endpoint:  # now: Stripe shows the secret once, and it must have a place
            settings["STRIPE_WEBHOOK_SECRET"] = _make_endpoint(place, list(files), webhook)
    if as_json:
        names = [installation.ENV_FILE, *files]
        console.print_json(
            {
                "dry_run": dry_run,
                "files": [str(place.directory / name) for name in names],
                "settings": list(settings),
                "checks": [check.full() for check in checks],
                "stripe_webhook": webhook,
                "stripe_events": _events(),
            }
        )
        return
    _show(place, files, settings, webhook, dry_run=dry_run, has_endpoint=stripe_endpoint)


def _examined(*, quiet: bool) -> list[Check]:
    """Return the checks of ``doctor``, after showing them.

    :raises ConfigurationError: a setting is wrong.
    """
    from procomp_pay.cli.operations.checks import examine
    from procomp_pay.cli.operations.doctor import show_checks

    checks = examine()
    if not quiet:
        show_checks(checks)
    wrong = [check for check in checks if check.exit_code == 7]
    if wrong:
        raise ConfigurationError(
            f"{wrong[0].name}: {wrong[0].found}; nothing was written",
            next_step=wrong[0].next_step or "procomp-pay doctor",
        )
    return checks


def _program() -> Path:
    return Path(sys.argv[0]).absolute() if Path(sys.argv[0]).name == "procomp-pay" else _beside_python()


def _beside_python() -> Path:
    return Path(sys.executable).absolute().with_name("procomp-pay")


def _ask(given: dict[str, str]) -> None:
    """Ask for the settings that the environment does not have."""
    for name, question, is_secret in _QUESTIONS:
        asked_later = name in ("KASPI_API_KEY", "KASPI_DEVICE_TOKEN") and not given.get("KASPI_API_URL")
        has_jwt = name == "JWT_JWKS_URL" and (given.get("JWT_SECRET") or given.get("JWT_PUBLIC_KEY"))
        if given.get(name) or asked_later or has_jwt:
            continue
        typed = typer.prompt(question, default="", show_default=False, hide_input=is_secret, err=True)
        given[name] = str(typed).strip()


def _webhook_address(public_base_url: str | None) -> str:
    from procomp_pay.server.http.route import BASE

    return f"{(public_base_url or 'https://YOUR.HOST').rstrip('/')}{BASE}/webhooks/stripe"


def _events() -> list[str]:
    from procomp_pay.providers.stripe.webhook_events import READERS

    return list(READERS)


def _check_endpoint(settings: dict[str, str], url: str) -> None:
    """Check what ``--stripe-endpoint`` needs, before anything is written.

    :raises Refused: a setting is missing, or would be there twice. :raises Conflict: Stripe has the endpoint.
    """
    if not (settings.get("STRIPE_SECRET_KEY") and settings.get("PUBLIC_BASE_URL")):
        raise Refused(
            "--stripe-endpoint needs STRIPE_SECRET_KEY and PUBLIC_BASE_URL; nothing was written",
            next_step="set both, or leave --stripe-endpoint out",
        )
    if settings.get("STRIPE_WEBHOOK_SECRET"):
        raise Refused(
            "STRIPE_WEBHOOK_SECRET is set, so Stripe has an endpoint already; nothing was written",
            next_step="leave --stripe-endpoint out, or unset STRIPE_WEBHOOK_SECRET",
        )
    _at_stripe(lambda service: service.check_no_webhook_endpoint(url))


def _make_endpoint(place: Place, names: list[str], url: str) -> str:
    """Make Stripe's webhook endpoint, and put its secret into the environment file; return the secret.

    :param names: of the other files. If Stripe refuses, all are removed, so that ``init`` can be repeated.
    """
    from procomp_pay.services.maintenance import installation

    try:
        secret = _at_stripe(lambda service: service.create_webhook_endpoint(url, _events()))
    except PaymentError:
        for name in (installation.ENV_FILE, *names):
            (place.directory / name).unlink()
        raise
    with place.env_file.open("a", encoding="utf-8") as file:
        file.write(installation.env_line("STRIPE_WEBHOOK_SECRET", secret))
    return secret


def _at_stripe(work: Callable[[StripePaymentService], Awaitable[_T]]) -> _T:
    """Do something at Stripe with the key of the environment."""
    import asyncio

    from procomp_pay.config import STRIPE_API, load_settings
    from procomp_pay.providers.stripe.service import StripePaymentService

    settings = load_settings()

    async def run() -> _T:
        key, base = settings.stripe_secret_key, settings.stripe_api_base or STRIPE_API
        service = StripePaymentService(key.get_secret_value() if key else "", api_base=base)
        try:
            return await work(service)
        finally:
            await service.aclose()

    return asyncio.run(run())


def _show(
    place: Place,
    files: dict[str, str],
    settings: dict[str, str],
    webhook: str,
    *,
    dry_run: bool,
    has_endpoint: bool,
) -> None:
    verb = "would be written" if dry_run else "written"
    typer.echo()
    typer.echo(console.wrap(f"{place.env_file} {verb}, 0600: {', '.join(settings)}"))
    typer.echo(console.wrap(f"{place.directory}: {', '.join(files)} {verb}"))
    typer.echo()
    if dry_run:
        for name, content in files.items():
            typer.echo(f"{console.bold(name)}\n{content}")
    steps = [
        f"set -a; . {place.env_file}; set +a",
        "procomp-pay db upgrade",
        "procomp-pay doctor",
        f"useradd --system {place.user}    # if there is none",
        f"systemctl enable --now {place.directory}/procomp-pay.service",
        f"systemctl enable --now {place.directory}/procomp-pay-{{close,reconcile,seal}}.timer",
    ]
    if "DATABASE_URL" not in settings:
        steps.insert(1, f"mkdir -p {settings['PROCOMP_HOME']}")
    typer.echo(console.bold("Next"))
    for step in steps:
        typer.echo(f"  {step}")
    if not has_endpoint and "STRIPE_WEBHOOK_SECRET" not in settings:
        typer.echo(f"\n{console.bold('Stripe')}: in its dashboard, send these events to {webhook}")
        for event in _events():
            typer.echo(f"  {event}")
        typer.echo("  and put the signing secret into the file, as STRIPE_WEBHOOK_SECRET")
