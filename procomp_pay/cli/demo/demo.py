"""``procomp-pay demo``: one tournament morning in half a minute, with real processes and real HTTP."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import typer

from procomp_pay.cli.framework import console
from procomp_pay.domain.errors import Unavailable

if TYPE_CHECKING:
    from rich.console import Console

    from procomp_pay.cli.demo.processes import Stage

#: Seconds that a payment may take to show what was done to it.
_PATIENCE_S = 15.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog="[bold]Examples[/]\n\n  procomp-pay demo\n\n  procomp-pay demo --keep",
    )(demo)


def demo(
    keep: bool = typer.Option(
        False, "--keep", help="Leave sandbox and server running to play with, until Ctrl-C."
    ),
) -> None:
    """Take three payments on this machine: no account, no key, no real money, nothing left behind."""
    from procomp_pay.cli.demo.processes import a_stage

    begun = time.monotonic()
    story = _Story(console.out())
    story.opening()
    with a_stage() as stage:
        story.play(stage)
        story.ending(time.monotonic() - begun, keep=keep)
        if keep:
            _keep(stage, story.console)


class _Story:
    """What the newcomer sees, step by step."""

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
                "All is real but the money: a server, a database, HTTP, signed webhooks.\n"
                "Stripe and Kaspi are played by the [yellow]sandbox[/].",
                title="[bold]procomp-pay demo[/]",
                border_style="cyan",
                expand=False,
            )
        )

    def play(self, stage: Stage) -> None:
        """The whole morning."""
        self.step("The desk opens")
        self.say(f"Sandbox at {stage.sandbox_url}, server at {stage.server_url}, a fresh SQLite file.")
        tournament = self._set_up(stage)
        athletes = {p["full_name"]: p for p in stage.ask("participant", "list", tournament)["items"]}
        self._kaspi(stage, athletes["Қайрат Нұрланов"]["participant_id"])
        self._apple(stage, athletes["Айгерім Сәтбаева"])
        self._google(stage, athletes["Ivan Petrov"]["participant_id"])
        self.step("Everybody sees it")
        self.run(stage, "list")
        self.run(stage, "history", athletes["Айгерім Сәтбаева"]["participant_id"])

    def _set_up(self, stage: Stage) -> str:
        self.run(stage, "tournament", "add", "Almaty Open 2026", "--fee", "50", "--currency", "USD")
        [made] = stage.ask("tournament", "list")["items"]
        tournament = str(made["tournament_id"])
        self.run(stage, "tournament", "fee", tournament, "24000", "KZT")
        roster = stage.home / "roster.csv"
        roster.write_text(
            "ФИО;Категория;Email\n"
            "Қайрат Нұрланов;Дзюдо -66 кг;kairat@example.com\n"
            "Айгерім Сәтбаева;Дзюдо -52 кг;aigerim@example.com\n"
            "Ivan Petrov;Sambo -74 kg;ivan@example.com\n",
            "utf-8",
        )
        self.run(stage, "participant", "import", tournament, str(roster))
        return tournament

    def _kaspi(self, stage: Stage, participant: str) -> None:
        self.step("Kaspi QR at the desk")
        self.run(stage, "initiate", participant, "--method", "kaspi_qr")
        payment = stage.ask("status", participant)
        token = payment["provider_ref"]
        self.say("[dim]The parent scans it with the Kaspi app…[/]")
        stage.post(f"{stage.sandbox_url}/pay/{token}", {"action": "scan"})
        self.until(stage, participant, "PROCESSING", "scanned, waiting for confirmation")
        stage.post(f"{stage.sandbox_url}/pay/{token}", {"action": "confirm"})
        self.until(stage, participant, "COMPLETED", "confirmed; Kaspi sends no event, the server asked")

    def _apple(self, stage: Stage, athlete: dict[str, Any]) -> None:
        from procomp_pay.storage.models import exact_json

        self.step("Apple Pay in the app: declined, then paid")
        who = athlete["participant_id"]
        self.say("[bold]POST /api/v1/payments/initiate[/] with the athlete's own token")
        body = {"participant_id": who, "method": "apple_pay"}
        auth = {"Authorization": f"Bearer {stage.token(athlete['user_id'])}"}
        opened = stage.post(f"{stage.server_url}/initiate", body, **auth)
        intent = str(opened["client_secret"]).split("_secret_")[0]
        self.say(f"[dim]{exact_json.dumps(opened | {'client_secret': f'{intent}_secret_…'})}[/]")
        pay = f"{stage.sandbox_url}/_sandbox/stripe/payment_intents/{intent}/pay"
        stage.post(pay, {"method": "pm_card_chargeDeclinedInsufficientFunds"})
        self.until(stage, who, "FAILED", "webhook payment_intent.payment_failed, signature checked")
        self.say("[dim]Another card, the same PaymentIntent…[/]")
        stage.post(pay, {"method": "pm_apple_pay"})
        self.until(stage, who, "COMPLETED", "webhook payment_intent.succeeded, signature checked")

    def _google(self, stage: Stage, participant: str) -> None:
        self.step("Google Pay: the desk shows a hosted page as a QR")
        self.run(stage, "initiate", participant, "--method", "google_pay")
        page = f"{stage.sandbox_url}/c/pay/{stage.ask('status', participant)['provider_ref']}"
        self.say("[dim]The athlete opens the page and presses Google Pay…[/]")
        stage.post(page, {"wallet": "google_pay"})
        self.until(stage, participant, "COMPLETED", "webhook checkout.session.completed, signature checked")

    def step(self, title: str) -> None:
        self._step += 1
        self.console.print()
        self.console.rule(f"[bold cyan]{self._step}[/] {title}", align="left", style="cyan")

    def say(self, text: str) -> None:
        self.console.print(f"  {text}")

    def typed(self, *words: str) -> None:
        self.console.print(f"\n[bold green]$[/] procomp-pay {' '.join(words)}", soft_wrap=True)

    def run(self, stage: Stage, *words: str) -> None:
        """A command as the clerk would type it, with its own output."""
        home = str(stage.home)
        self.typed(*(_quoted(word.replace(home + "/", "")) for word in words))
        stage.run(*words)

    def until(self, stage: Stage, participant: str, status: str, why: str) -> None:
        """Wait until the server says so, as the app would."""
        auth = {"Authorization": f"Bearer {_admin_token(stage)}"}
        end = time.monotonic() + _PATIENCE_S
        colour = {"COMPLETED": "green", "FAILED": "red"}.get(status, "yellow")
        while time.monotonic() < end:
            found = stage.get(f"{stage.server_url}/status/{participant}", **auth)
            if found is not None and found.get("status") == status:
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
                "  procomp-pay demo --keep     the same, and it stays up to play with\n"
                "  procomp-pay sandbox         Stripe and Kaspi to develop against\n"
                "  procomp-pay doctor          what is configured, what is missing\n"
                "  procomp-pay --help          everything else",
                border_style="green",
                expand=False,
            )
        )


def _quoted(word: str) -> str:
    return f'"{word}"' if " " in word else word


def _admin_token(stage: Stage) -> str:
    import jwt

    claims = {"sub": "demo", "role": "admin", "exp": int(time.time()) + 600}
    return jwt.encode(claims, stage.env["JWT_SECRET"], "HS256")


def _keep(stage: Stage, terminal: Console) -> None:
    """Wait for Ctrl-C."""
    terminal.print("\nIn another terminal:\n", soft_wrap=True)
    terminal.print(f"  export PROCOMP_HOME={stage.home}", soft_wrap=True)
    terminal.print("  procomp-pay participant list", soft_wrap=True)
    terminal.print(f"\nSandbox: {stage.sandbox_url}   Server: {stage.server_url}/health", soft_wrap=True)
    terminal.print("\n[bold]Ctrl-C[/] ends it and removes everything.")
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        terminal.print("\nEnded; nothing is left behind.")
