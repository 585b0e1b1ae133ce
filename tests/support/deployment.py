"""A sandbox, servers and commands as real processes on one database."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx

from tests.support import warm_processes
from tests.support.patience import PATIENCE_S, until
from tests.support.secret_watch import no_secret_in, register_secret
from tests.support.warm_processes import WarmProcess

_NOT_OURS = ("STRIPE_", "KASPI_", "JWT_", "DATABASE_URL", "ENCRYPTION_KEYS", "PUBLIC_BASE_URL", "PROCOMP_")
#: Runs several commands in one process and prints the JSON document of each on one line.
_SEVERAL = """
import json, sys
from typer.testing import CliRunner
from procomp_pay.cli.main import app
for words in json.loads(sys.argv[1]):
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 0, (words, result.stdout, result.stderr)
    print(json.dumps(json.loads(result.stdout)))
"""


class Deployment:
    """A sandbox and the processes that a test starts, on one database."""

    def __init__(self, home: Path, database_url: str | None = None) -> None:
        self.home = home
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_OURS)}
        self.env = kept | {"PROCOMP_HOME": str(home), "PROCOMP_OPERATOR": "aigerim", "NO_COLOR": "1"}
        self.env["PROCOMP_LANGUAGE"] = "en"
        if database_url is not None:
            from procomp_pay.storage.encryption.keyring import new_key

            self.env |= {
                "DATABASE_URL": database_url,
                "ENCRYPTION_KEYS": new_key(),
                "JWT_SECRET": "e2e-" * 12,
            }
            register_secret(self.env["ENCRYPTION_KEYS"], "encryption key")
            register_secret(self.env["JWT_SECRET"], "JWT secret")
        self.started: list[subprocess.Popen[str]] = []
        self.sandbox_url = ""

    def spawn(self, *words: str) -> subprocess.Popen[str]:
        """Start a command in the background."""
        process = WarmProcess(
            words,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def run(self, *words: str, code: int = 0) -> str:
        """Run a command to its end and return its stdout."""
        done = warm_processes.run(words, env=self.env, timeout=PATIENCE_S)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr
        no_secret_in(done.stdout + done.stderr, words[0])
        return done.stdout

    def run_json(self, *words: str, code: int = 0) -> Any:
        """Run a command with ``--json`` and return its document."""
        return json.loads(self.run(*words, "--json", code=code))

    def run_all(self, *commands: tuple[str, ...]) -> list[Any]:
        """Run several commands with ``--json`` in one process, for setting up a test."""
        done = warm_processes.run([json.dumps(commands)], code=_SEVERAL, env=self.env, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stdout + done.stderr
        no_secret_in(done.stdout + done.stderr, "several commands")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def open_sandbox(self, *words: str) -> None:
        """Start the sandbox and wait until it is ready."""
        run_file = self.home / "sandbox.json"
        process = self.spawn("sandbox", "--port", "0", *words)
        until(lambda: run_file.exists() or process.poll() is not None)
        info = json.loads(run_file.read_text("utf-8"))
        self.sandbox_url = info["url"]
        for name in ("stripe_secret_key", "webhook_secret", "kaspi_api_key", "kaspi_device_token"):
            register_secret(info[name], name)

    def participant(self) -> str:
        """Add a participant of a tournament with a fee of 50 USD or 24 000 KZT."""
        return self.participants("Қайрат")[0]

    def participants(self, *names: str) -> list[str]:
        """Add participants, as :meth:`participant`."""
        of = "Almaty Open"
        _, _, *people = self.run_all(
            ("tournament", "add", of, "--fee", "50", "--currency", "USD"),
            ("tournament", "fee", of, "24000", "KZT"),
            *(("participant", "add", of, name) for name in names),
        )
        return [str(row["participant_id"]) for row in people]

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Send a POST request to the sandbox."""
        answer = httpx.post(
            f"{self.sandbox_url}{path}", json=body, headers={"Accept": "application/json"}, timeout=PATIENCE_S
        )
        assert answer.status_code < 300, answer.text
        return answer.json()

    def at_stripe(self, kind: str) -> list[dict[str, Any]]:
        """Return all objects of a kind at the sandbox's Stripe."""
        key = json.loads((self.home / "sandbox.json").read_text("utf-8"))["stripe_secret_key"]
        auth = {"Authorization": f"Bearer {key}"}
        return list(
            httpx.get(f"{self.sandbox_url}/v1/{kind}?limit=100", headers=auth, timeout=PATIENCE_S).json()[
                "data"
            ]
        )

    def close(self) -> None:
        for process in reversed(self.started):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.started:
            try:
                result, _ = process.communicate(timeout=PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                result, _ = process.communicate()
            except ValueError:  # already read by the test
                continue
            no_secret_in(result, "a process")
