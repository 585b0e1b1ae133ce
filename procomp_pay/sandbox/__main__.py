"""`python -m procomp_pay.sandbox`: run the sandbox until it is told to stop.

When it is ready it prints one line of JSON, `Sandbox.info()`, to stdout.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from procomp_pay.sandbox.app import Sandbox, SandboxOptions
from procomp_pay.sandbox.store import StateError


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="python -m procomp_pay.sandbox", description=__doc__)
    made.add_argument("--host", default="127.0.0.1", help="a loopback address")
    made.add_argument("--port", type=int, default=0, help="0 takes a free one")
    made.add_argument("--state", type=Path, help="file that keeps everything across restarts")
    made.add_argument("--stripe-secret-key", help="an sk_test_ key; made if absent")
    made.add_argument("--webhook-url", help="where Stripe events are posted")
    made.add_argument("--webhook-secret", help="signing secret; made if absent")
    made.add_argument("--kaspi-api-key", help="made if absent")
    made.add_argument("--time-scale", type=float, default=1.0, help="60: timers run sixty times faster")
    made.add_argument("--tls", type=Path, metavar="DIR", help="also speak TLS; certificates are put there")
    return made


async def serve(options: SandboxOptions) -> None:
    """Run until SIGTERM or SIGINT."""
    sandbox = Sandbox(options)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows has no handlers on its loop
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await sandbox.start()
    try:
        sys.stdout.write(json.dumps(sandbox.info()) + "\n")
        sys.stdout.flush()
        await stop.wait()
    finally:
        await sandbox.stop()


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and run; return 2 for invalid options, 5 if the port or the state file is unavailable."""
    given = parser().parse_args(argv)
    try:
        options = SandboxOptions(
            host=given.host,
            port=given.port,
            state_file=given.state,
            stripe_secret_key=given.stripe_secret_key,
            webhook_url=given.webhook_url,
            webhook_secret=given.webhook_secret,
            kaspi_api_key=given.kaspi_api_key,
            time_scale=given.time_scale,
            tls_folder=given.tls,
        )
    except ValueError as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 2
    try:
        asyncio.run(serve(options))
    except (OSError, StateError) as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 5
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
