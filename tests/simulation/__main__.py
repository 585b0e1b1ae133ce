"""Run simulated tournament days: ``python -m tests.simulation --seeds 10000``, or one with its trace."""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

from procomp_pay.storage.database import migrate
from tests.simulation import day
from tests.support import compiled_statements


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many days (100)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no more days after so many minutes")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="how many at a time")
    parser.add_argument("--seed", type=int, help="run this day alone, and print its trace")
    given = parser.parse_args()
    in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    tempfile.tempdir = tempfile.mkdtemp(prefix="simulations-", dir=in_memory)
    try:
        template = Path(tempfile.tempdir) / "template.sqlite3"
        migrate.upgrade(f"sqlite:///{template}")
        compiled_statements.share()
        gc.collect()
        gc.freeze()
        if given.seed is not None:
            return _show(day.run(given.seed, template))
        return _run(range(given.first, given.first + given.seeds), template, given)
    finally:
        shutil.rmtree(tempfile.tempdir)


def _show(result: day.Result) -> int:
    print("\n".join(result.trace))
    print(report(result), f"digest {result.digest}", sep="\n")
    return 1 if result.problems else 0


def report(result: day.Result) -> str:
    """Return what is wrong with a day, and how to see it again."""
    problems = "".join(f"\n  {problem}" for problem in result.problems) or " good"
    again = f"\n  again: python -m tests.simulation --seed {result.seed}" if result.problems else ""
    return f"seed {result.seed}:{problems}{again}"


def _run(seeds: range, template: Path, given: argparse.Namespace) -> int:
    begun, tally, days, bad = time.monotonic(), Counter[str](), 0, 0
    with multiprocessing.get_context("fork").Pool(given.processes) as pool:
        for days, result in enumerate(pool.imap_unordered(partial(day.run, template=template), seeds), 1):
            tally += result.tally
            if result.problems:
                bad += 1
                print(report(result), flush=True)
            if time.monotonic() - begun > given.minutes * 60:
                break
            if sys.stderr.isatty():
                print(f"\r{days} of {len(seeds)} days, {bad} bad", end="", file=sys.stderr, flush=True)
    for name, count in sorted(tally.items()):
        print(f"{count:8} {name}")
    print(f"{days} days in {time.monotonic() - begun:.0f} s, {bad} of them bad")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
