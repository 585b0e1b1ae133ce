"""The environment of the demo: sandbox and server as processes on a temporary database."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from procomp_pay.domain.errors import Unavailable

if TYPE_CHECKING:
    import httpx

#: Seconds that a process may take to start, and to stop.
_READY_S = 20.0
_STOP_S = 10.0
#: The user's settings that must not reach the demo: it never touches real money or data.
_REMOVED_SETTINGS = (
    "STRIPE_",
    "KASPI_",
    "JWT_",
    "DATABASE_URL",
    "PLATFORM_",
    "ENCRYPTION_KEYS",
    "PUBLIC_BASE_URL",
    "PROCOMP_",
    "LOG_LEVEL",
)


class DemoEnvironment:
    """Two processes and a directory.

    :param home: the temporary directory: database, key, run file, logs.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(_REMOVED_SETTINGS)
        }
        # A random secret for this run only.
        self.env = inherited | {
            "PROCOMP_HOME": str(home),
            "PROCOMP_OPERATOR": "Айгерім",
            "JWT_SECRET": secrets.token_urlsafe(48),
            "PYTHONUNBUFFERED": "1",
            "NO_PAGER": "1",
        }
        self._processes: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._http: httpx.Client | None = None
        self.sandbox_url = ""
        self.server_url = ""

    def start(self) -> None:
        """Start the sandbox, then the server, and tell the sandbox where to send its webhooks.

        :raises Unavailable: one of them did not start.
        """
        run_file = self.home / "sandbox.json"
        # four times as fast as Kaspi, to shorten its polling interval
        self._spawn("sandbox", "--port", "0", "--time-scale", "4")
        self._wait("sandbox", run_file.exists)
        self.sandbox_url = str(json.loads(run_file.read_text("utf-8"))["url"])
        port = _free_port()
        self.server_url = f"http://127.0.0.1:{port}/api/v1/payments"
        self.env["PUBLIC_BASE_URL"] = f"http://127.0.0.1:{port}"
        self._spawn("serve", "--port", str(port))
        self._wait("serve", lambda: self.get(f"{self.server_url}/health/live") is not None)
        self.post(f"{self.sandbox_url}/_sandbox/webhooks", {"url": f"{self.server_url}/webhooks/stripe"})

    def run(self, *words: str) -> None:
        """Run a command; its output goes straight to the terminal.

        :raises Unavailable: it failed.
        """
        process = subprocess.run([*_COMMAND, *words], env=self.env, check=False)
        if process.returncode != 0:
            raise Unavailable(f"procomp-pay {words[0]} ended with {process.returncode}")

    def ask(self, *words: str) -> Any:
        """Run a command with ``--json`` and return its document.

        :raises Unavailable: it failed.
        """
        process = subprocess.run(
            [*_COMMAND, *words, "--json"], env=self.env, check=False, capture_output=True
        )
        if process.returncode != 0:
            raise Unavailable(
                f"procomp-pay {words[0]} ended with {process.returncode}: {process.stderr.decode()[-400:]}"
            )
        return json.loads(process.stdout)

    def get(self, url: str, **headers: str) -> Any:
        """Return the JSON at a URL; None while there is no answer."""
        import httpx

        try:
            return self._client().get(url, headers=headers, timeout=5).json()
        except (httpx.HTTPError, ValueError):
            return None

    def post(self, url: str, body: dict[str, Any], **headers: str) -> Any:
        """Post JSON and return the answer.

        :raises Unavailable: the request failed.
        """
        sent = {"Accept": "application/json", **headers}
        answer = self._client().post(url, json=body, headers=sent, timeout=15)
        if answer.status_code >= 500 or answer.status_code == 404:
            raise Unavailable(f"{url} answered {answer.status_code}")
        from procomp_pay.storage.models import exact_json

        return exact_json.loads(answer.content)

    def token(self, user_id: str) -> str:
        """Return a bearer token of a signed-in user, valid for ten minutes."""
        import jwt

        return jwt.encode(
            {"sub": user_id, "role": "user", "exp": int(time.time()) + 600}, self.env["JWT_SECRET"], "HS256"
        )

    def _client(self) -> httpx.Client:
        """Return the HTTP client, created at its first use."""
        import httpx

        if self._http is None:
            self._http = httpx.Client(trust_env=False)
        return self._http

    def stop(self) -> None:
        """Terminate both processes; kill one that does not stop."""
        if self._http is not None:
            self._http.close()
        for _, process in reversed(self._processes):
            process.terminate()
        for _, process in reversed(self._processes):
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _spawn(self, *words: str) -> None:
        with (self.home / f"{words[0]}.log").open("wb") as log, _signals_wait():
            process = subprocess.Popen(
                [*_COMMAND, *words],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            self._processes.append((words[0], process))

    def _wait(self, name: str, ready: Any) -> None:
        process = dict(self._processes)[name]
        until = time.monotonic() + _READY_S
        while not ready():
            if process.poll() is not None or time.monotonic() > until:
                log = (self.home / f"{name}.log").read_text("utf-8", "replace")[-800:]
                raise Unavailable(f"{name} did not start:\n{log}", next_step="procomp-pay doctor")
            time.sleep(0.05)


_COMMAND = (sys.executable, "-m", "procomp_pay")


@contextmanager
def demo_environment() -> Iterator[DemoEnvironment]:
    """Yield an environment with both processes running; stop them and remove the directory at the end.

    SIGTERM ends it as Ctrl-C does.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    home = Path(tempfile.mkdtemp(prefix="procomp-pay-demo-"))
    environment = DemoEnvironment(home)
    try:
        environment.start()
        yield environment
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        environment.stop()
        shutil.rmtree(home, ignore_errors=True)
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Act on Ctrl-C and SIGTERM at the end only: a process that is just being started would not be known, and
    stay."""
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _frame: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for signum in came:
            signal.raise_signal(signum)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
