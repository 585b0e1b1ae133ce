"""Measure how long commands take to start, compared with importing their libraries.

    .venv/bin/python benchmarks/startup.py [--quick]

Whole processes, ours and the reference in turn in one run; each pair gives a ratio, the median counts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OURS = [sys.executable, "-m", "procomp_pay"]


def seconds(command: list[str], env: dict[str, str]) -> float:
    """Return the wall time of one process, in seconds."""
    begun = time.perf_counter()
    subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def compare(name: str, ours: list[str], imports: str, bar: float, runs: int, env: dict[str, str]) -> None:
    """Print the median ratio of ours to a bare import, and both medians."""
    reference = [sys.executable, "-c", f"import {imports}"]
    seconds(ours, env), seconds(reference, env)  # the first run of each fills caches
    pairs = [(seconds(ours, env), seconds(reference, env)) for _ in range(runs)]
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"figure {name}_ms {statistics.median(a for a, _ in pairs) * 1000:.0f} ms")
    print(f"figure {name}_reference_ms {statistics.median(b for _, b in pairs) * 1000:.0f} ms")
    print(f"ratio {name} {ratio:.2f} bar <={bar}")


def participant_with_payment(home: Path, env: dict[str, str]) -> str:
    """Create a participant with one payment on the embedded database; return the participant's id."""
    import json

    def ask(*words: str) -> dict[str, str]:
        done = subprocess.run([*OURS, *words, "--json"], env=env, check=True, capture_output=True)
        return dict(json.loads(done.stdout))

    sandbox = subprocess.Popen(
        [*OURS, "sandbox", "--port", "0"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not (home / "sandbox.json").exists():
            time.sleep(0.05)
        tournament = ask("tournament", "add", "Almaty Open", "--fee", "24000", "--currency", "KZT")
        participant_id = ask("participant", "add", tournament["tournament_id"], "Kairat")["participant_id"]
        ask("initiate", participant_id, "--method", "kaspi_qr")
    finally:
        sandbox.terminate()
        sandbox.wait()
    return participant_id


def main() -> None:
    """Run both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few runs")
    runs = 5 if parser.parse_args().quick else 21
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"PROCOMP_HOME": folder, "NO_COLOR": "1"}
        env.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its bytecode
        participant_id = participant_with_payment(Path(folder), env)
        compare("help", [*OURS, "--help"], "typer, rich", 2.0, runs, env)
        compare("status_sqlite", [*OURS, "status", participant_id], "sqlmodel", 1.2, runs, env)


if __name__ == "__main__":
    main()
