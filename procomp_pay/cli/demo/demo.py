"""``demo``: a tournament morning in half a minute, with real processes and real HTTP."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import typer

from procomp_pay.cli.framework import console
from procomp_pay.domain.errors import Unavailable

if TYPE_CHECKING:
    from rich.console import Console

    from procomp_pay.cli.demo.processes import DemoEnvironment

#: Seconds that a payment may take to reach a status.
_PATIENCE_S = 15.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog="[bold]Examples[/]\n\n  procomp-pay demo\n\n  procomp-pay demo --keep",
    )(demo)


def demo(
    keep: bool = typer.Option(False, "--keep", help="Keep the sandbox and the server running until Ctrl-C."),
) -> None:
    """Take three payments in a sandbox, without any setup.

    No account, no keys, no real money, and nothing is left behind.
    """
    from procomp_pay.cli.demo.processes import demo_environment

    started = time.monotonic()
    script = _DemoScript(console.out())
    script.opening()
    with demo_environment() as environment:
        script.play(environment, keep=keep)
        script.ending(time.monotonic() - started, keep=keep)
        if keep:
            _keep_running(environment, script.console)


class _DemoScript:
    """The demo, step by step."""

    def __init__(self, terminal: Console) -> None:
        self.console = terminal
        self._step = 0

    def opening(self) -> None:
        from rich.panel import Panel

        self.console.print(
            Panel(
                "A tournament morning in Almaty. Three athletes pay their entry fee:\n"
                "one by [bold]Kaspi QR[/] at the desk, one by [bold]Apple Pay[/] in the app (declined "
                "first),\none by [bold]Google Pay[/] on a page that the desk shows as a QR.\n\n"
                "Everything is real except the money: a server, a database, HTTP, signed webhooks.\n"
                "The [yellow]sandbox[/] stands in for Stripe and Kaspi.",
                title="[bold]procomp-pay demo[/]",
                border_style="cyan",
                expand=False,
            )
        )

    def play(self, environment: DemoEnvironment, *, keep: bool) -> None:
        """Run all steps.

        :param keep: register one more athlete, whose fee stays due.
        """
        self.step("The desk opens")
        self.say(
            f"Sandbox at {environment.sandbox_url}, server at {environment.server_url}, a fresh SQLite file."
        )
        tournament = self._set_up(environment, keep=keep)
        athletes = {p["full_name"]: p for p in environment.ask("participant", "list", tournament)["items"]}
        self._kaspi(environment, athletes["Қайрат Нұрланов"]["participant_id"])
        self._apple(environment, athletes["Айгерім Сәтбаева"])
        self._google(environment, athletes["Ivan Petrov"]["participant_id"])
        self.step("What the desk sees now")
        self.run(environment, "list")
        self.run(environment, "history", athletes["Айгерім Сәтбаева"]["participant_id"])

    def _set_up(self, environment: DemoEnvironment, *, keep: bool) -> str:
        self.run(environment, "tournament", "add", "Almaty Open 2026", "--fee", "50", "--currency", "USD")
        [made] = environment.ask("tournament", "list")["items"]
        tournament = str(made["tournament_id"])
        self.run(environment, "tournament", "fee", tournament, "24000", "KZT")
        roster = environment.home / "roster.csv"
        roster.write_text(
            "ФИО;Категория;Email\n"
            "Қайрат Нұрланов;Дзюдо -66 кг;kairat@example.com\n"
            "Айгерім Сәтбаева;Дзюдо -52 кг;aigerim@example.com\n"
            "Ivan Petrov;Sambo -74 kg;ivan@example.com\n"
            + ("Тимур Ахметов;Дзюдо -73 кг;timur@example.com\n" if keep else ""),
            "utf-8",
        )
        self.run(environment, "participant", "import", tournament, str(roster))
        return tournament

    def _kaspi(self, environment: DemoEnvironment, participant: str) -> None:
        self.step("Kaspi QR at the desk")
        self.run(environment, "initiate", participant, "--method", "kaspi_qr")
        payment = environment.ask("status", participant)
        token = payment["provider_ref"]
        self.say("[dim]The parent scans it with the Kaspi app…[/]")
        environment.post(f"{environment.sandbox_url}/pay/{token}", {"action": "scan"})
        self.until(environment, participant, "PROCESSING", "scanned, waiting for confirmation")
        environment.post(f"{environment.sandbox_url}/pay/{token}", {"action": "confirm"})
        self.until(
            environment, participant, "COMPLETED", "confirmed; Kaspi sends no event, the server polled it"
        )

    def _apple(self, environment: DemoEnvironment, athlete: dict[str, Any]) -> None:
        from procomp_pay.storage.models import exact_json

        self.step("Apple Pay in the app: declined, then paid")
        participant = athlete["participant_id"]
        self.say("[bold]POST /api/v1/payments/initiate[/] with the athlete's own token")
        body = {"participant_id": participant, "method": "apple_pay"}
        auth = {"Authorization": f"Bearer {environment.token(athlete['user_id'])}"}
        opened = environment.post(f"{environment.server_url}/initiate", body, **auth)
        intent = str(opened["client_secret"]).split("_secret_")[0]
        self.say(f"[dim]{exact_json.dumps(opened | {'client_secret': f'{intent}_secret_…'})}[/]")
        pay = f"{environment.sandbox_url}/_sandbox/stripe/payment_intents/{intent}/pay"
        environment.post(pay, {"method": "pm_card_chargeDeclinedInsufficientFunds"})
        self.until(
            environment, participant, "FAILED", "webhook payment_intent.payment_failed, signature checked"
        )
        self.say("[dim]Another card, the same PaymentIntent…[/]")
        environment.post(pay, {"method": "pm_apple_pay"})
        self.until(
            environment, participant, "COMPLETED", "webhook payment_intent.succeeded, signature checked"
        )

    def _google(self, environment: DemoEnvironment, participant: str) -> None:
        self.step("Google Pay: the desk shows a hosted page as a QR")
        self.run(environment, "initiate", participant, "--method", "google_pay")
        page = f"{environment.sandbox_url}/c/pay/{environment.ask('status', participant)['provider_ref']}"
        self.say("[dim]The athlete opens the page and presses Google Pay…[/]")
        environment.post(page, {"wallet": "google_pay"})
        self.until(
            environment, participant, "COMPLETED", "webhook checkout.session.completed, signature checked"
        )

    def step(self, title: str) -> None:
        self._step += 1
        self.console.print()
        self.console.rule(f"[bold cyan]{self._step}[/] {title}", align="left", style="cyan")

    def say(self, text: str) -> None:
        self.console.print(f"  {text}")

    def typed(self, *words: str) -> None:
        self.console.print(f"\n[bold green]$[/] procomp-pay {' '.join(words)}", soft_wrap=True)

    def run(self, environment: DemoEnvironment, *words: str) -> None:
        """Run a command as a clerk would type it, with its output."""
        home = str(environment.home)
        self.typed(*(_quoted(word.replace(home + "/", "")) for word in words))
        environment.run(*words)

    def until(self, environment: DemoEnvironment, participant: str, status: str, why: str) -> None:
        """Wait until the server reports a status, as the app would."""
        auth = {"Authorization": f"Bearer {_admin_token(environment)}"}
        end = time.monotonic() + _PATIENCE_S
        colour = {"COMPLETED": "green", "FAILED": "red"}.get(status, "yellow")
        while time.monotonic() < end:
            payment = environment.get(f"{environment.server_url}/status/{participant}", **auth)
            if payment is not None and payment.get("status") == status:
                self.say(f"[bold {colour}]{status}[/]  {why}")
                return
            time.sleep(0.1)
        raise Unavailable(f"The payment did not become {status}", next_step="procomp-pay doctor")

    def ending(self, seconds: float, *, keep: bool) -> None:
        from rich.panel import Panel

        left = "" if keep else " Nothing is left behind."
        self.console.print(
            Panel(
                f"[bold green]Three payments, three athletes PAID, in {seconds:.0f} seconds.[/]{left}\n\n"
                "[bold]Next[/]\n"
                "  procomp-pay demo --keep     the same, and keep it running\n"
                "  procomp-pay sandbox         a local Stripe and Kaspi to develop against\n"
                "  procomp-pay doctor          what is configured, what is missing\n"
                "  procomp-pay --help          everything else",
                border_style="green",
                expand=False,
            )
        )


def _quoted(word: str) -> str:
    return f'"{word}"' if " " in word else word


def _admin_token(environment: DemoEnvironment) -> str:
    import jwt

    claims = {"sub": "demo", "role": "admin", "exp": int(time.time()) + 600}
    return jwt.encode(claims, environment.env["JWT_SECRET"], "HS256")


def _keep_running(environment: DemoEnvironment, terminal: Console) -> None:
    """Keep everything running until Ctrl-C."""
    terminal.print("\nIn another terminal:\n", soft_wrap=True)
    terminal.print(f"  export PROCOMP_HOME={environment.home}", soft_wrap=True)
    terminal.print("  procomp-pay participant list --unpaid", soft_wrap=True)
    terminal.print("  procomp-pay initiate timur --method kaspi_qr --watch", soft_wrap=True)
    terminal.print(
        f"\nSandbox: {environment.sandbox_url}   Server: {environment.server_url}/health", soft_wrap=True
    )
    terminal.print("\n[bold]Ctrl-C[/] stops it and removes everything.")
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        terminal.print("\nStopped; nothing is left behind.")
