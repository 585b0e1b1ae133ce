"""A stage for the demo: sandbox and server as real processes on a temporary database, and nothing left."""

from __future__ import annotations

import json
import os
import secrets
import shutil
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

#: Seconds that a process may take to be ready, and to stop.
_READY_S = 20.0
_STOP_S = 10.0
#: Settings of the person who runs the demo that must not reach it: it never touches real money or data.
_OURS = (
    "STRIPE_",
    "KASPI_",
    "JWT_",
    "DATABASE_URL",
    "ENCRYPTION_KEYS",
    "PUBLIC_BASE_URL",
    "PROCOMP_",
    "LOG_LEVEL",
)


class Stage:
    """Two processes and a directory.

    :param home: the temporary directory: database, key, run file, logs.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        # Random for this run alone; it goes with the directory.
        self.env = kept | {
            "PROCOMP_HOME": str(home),
            "PROCOMP_OPERATOR": "Айгерім",
            "JWT_SECRET": secrets.token_urlsafe(48),
            "PYTHONUNBUFFERED": "1",
        }
        self._processes: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._http: httpx.Client | None = None
        self.sandbox_url = ""
        self.server_url = ""

    def start(self) -> None:
        """Start the sandbox, then the server, and tell the sandbox where to send its webhooks.

        :raises Unavailable: one of them did not come up.
        """
        run_file = self.home / "sandbox.json"
        # four times faster than Kaspi: the newcomer need not wait for its polling interval
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
        """Run a command of ours as a person would; its output goes straight to the terminal.

        :raises Unavailable: it failed.
        """
        done = subprocess.run([*_US, *words], env=self.env, check=False)
        if done.returncode != 0:
            raise Unavailable(f"procomp-pay {words[0]} ended with {done.returncode}")

    def ask(self, *words: str) -> Any:
        """Run a command of ours with ``--json`` and read its answer.

        :raises Unavailable: it failed.
        """
        done = subprocess.run([*_US, *words, "--json"], env=self.env, check=False, capture_output=True)
        if done.returncode != 0:
            raise Unavailable(
                f"procomp-pay {words[0]} ended with {done.returncode}: {done.stderr.decode()[-400:]}"
            )
        return json.loads(done.stdout)

    def get(self, url: str, **headers: str) -> Any:
        """The JSON at an address; ``None`` while nobody answers there."""
        import httpx

        try:
            return self._client().get(url, headers=headers, timeout=5).json()
        except (httpx.HTTPError, ValueError):
            return None

    def post(self, url: str, body: dict[str, Any], **headers: str) -> Any:
        """Post JSON and read the answer.

        :raises Unavailable: it was refused.
        """
        sent = {"Accept": "application/json", **headers}
        answer = self._client().post(url, json=body, headers=sent, timeout=15)
        if answer.status_code >= 500 or answer.status_code == 404:
            raise Unavailable(f"{url} answered {answer.status_code}")
        from procomp_pay.storage.models import exact_json

        return exact_json.loads(answer.content)

    def token(self, user_id: str) -> str:
        """A signed-in user's bearer token, good for ten minutes."""
        import jwt

        return jwt.encode(
            {"sub": user_id, "role": "user", "exp": int(time.time()) + 600}, self.env["JWT_SECRET"], "HS256"
        )

    def _client(self) -> httpx.Client:
        """One for the whole morning, made at its first use."""
        import httpx

        if self._http is None:
            self._http = httpx.Client(trust_env=False)
        return self._http

    def stop(self) -> None:
        """End both processes: politely, then for good."""
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
        with (self.home / f"{words[0]}.log").open("wb") as log:
            process = subprocess.Popen(
                [*_US, *words],
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


_US = (sys.executable, "-m", "procomp_pay")


@contextmanager
def a_stage() -> Iterator[Stage]:
    """A stage with both processes running; whatever happens, at the end they are gone, and the directory."""
    home = Path(tempfile.mkdtemp(prefix="procomp-pay-demo-"))
    stage = Stage(home)
    try:
        stage.start()
        yield stage
    finally:
        stage.stop()
        shutil.rmtree(home, ignore_errors=True)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
