"""Run simulated tournament days: ``python -m tests.simulation --seeds 10000``, or one with its trace."""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path

from procomp_pay.storage.database import migrate
from tests.simulation import day
from tests.support import compiled_statements

#: Days after which processes make way for new ones: tasks of killed processes keep some of each day.
_DAYS_IN_A_PROCESS = 200
#: Pause between two lines of progress, in seconds.
_PROGRESS_S = 30.0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0 if all days were good, 1 if not, 130 if it was interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many days (100)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no more days after so many minutes")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="how many at a time")
    parser.add_argument("--seed", type=int, help="run this day alone, and print its trace")
    given = parser.parse_args(arguments)
    in_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="simulations-", dir=in_memory))
    try:
        template = folder / "template.sqlite3"
        migrate.upgrade(f"sqlite:///{template}")
        compiled_statements.share()
        if given.seed is not None:
            return _show(day.run(given.seed, template))
        gc.collect()
        gc.freeze()
        return run(range(given.first, given.first + given.seeds), template, given.processes, given.minutes)
    finally:
        shutil.rmtree(folder)


def _show(result: day.Result) -> int:
    print("\n".join(result.trace))
    print(report(result), f"digest {result.digest}", sep="\n")
    return 1 if result.problems else 0


def report(result: day.Result) -> str:
    """Return what is wrong with a day, and how to see it again."""
    problems = "".join(f"\n  {problem}" for problem in result.problems) or " good"
    again = f"\n  again: {_again(result.seed)}" if result.problems else ""
    return f"seed {result.seed}:{problems}{again}"


def _again(seed: int) -> str:
    return f"python -m tests.simulation --seed {seed}"


def run(seeds: range, template: Path, processes: int, minutes: float) -> int:
    """Run the days of these seeds, each on a copy of the template, and print totals; return the exit code.

    Ctrl-C and SIGTERM end it early, with the totals of the days until then.
    """
    totals, code = _Totals(len(seeds)), 0
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    context = multiprocessing.get_context("fork")
    share = _DAYS_IN_A_PROCESS * processes
    until, pool = time.monotonic() + minutes * 60, None
    try:
        for few in (seeds[place : place + share] for place in range(0, len(seeds), share)):
            pool = ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(template,))
            for result, digest in _results(pool, few, template, 2 * processes, until):
                totals.add(result, digest)
            pool.shutdown()
    except KeyboardInterrupt:
        code = 130
    except BrokenProcessPool:
        print("a process was killed, and its day is lost")
        code = 1
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if pool is not None:
            pool.shutdown(cancel_futures=True)
        signal.signal(signal.SIGTERM, before)
    totals.show()
    return code or (1 if totals.bad else 0)


def _results(
    pool: ProcessPoolExecutor, seeds: range, template: Path, ahead: int, until: float
) -> Iterator[tuple[day.Result, str]]:
    """Yield each day and its digest when it is over; begin no more after that time of the clock."""
    rest = iter(seeds)
    running: set[Future[tuple[day.Result, str]]] = set()
    while True:
        while len(running) < ahead and time.monotonic() < until:
            seed = next(rest, None)
            if seed is None:
                break
            running.add(pool.submit(_run_day, seed, template))
        if not running:
            return
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for each in done:
            yield each.result()


def _begin(template: Path) -> None:
    """Prepare a process, which keeps its files next to the template; only who began it is interrupted."""
    tempfile.tempdir = str(template.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.disable()


def _run_day(seed: int, template: Path) -> tuple[day.Result, str]:
    """Run a day in this process; return it without its trace, which is long, and with its digest."""
    try:
        result = day.run(seed, template)
    except Exception as error:
        result = day.Result(seed, [f"the simulation broke off: {error!r}"], [])
    short = replace(result, trace=[]), result.digest
    del result
    gc.collect()
    gc.freeze()  # what is left is kept for the days to come, and would be looked at after each
    return short


@dataclass
class _Totals:
    """What came of all days."""

    wanted: int
    days: int = 0
    bad: list[int] = field(default_factory=list)
    tally: Counter[str] = field(default_factory=Counter)
    digest: int = 0
    _begun: float = field(default_factory=time.monotonic)
    _told: float = float("-inf")

    def add(self, result: day.Result, digest: str) -> None:
        self.days += 1
        self.tally += result.tally
        self.digest ^= int(digest, 16)
        if result.problems:
            self.bad.append(result.seed)
            print(report(result), flush=True)
        now = time.monotonic()
        if now - self._told >= _PROGRESS_S:
            self._told = now
            rate = self.days / (now - self._begun)
            left = (self.wanted - self.days) / rate / 60
            print(
                f"{self.days} of {self.wanted} days, {len(self.bad)} bad, {rate:.2f} days/s, "
                f"{left:.0f} min left",
                flush=True,
            )

    def show(self) -> None:
        for name, count in sorted(self.tally.items()):
            print(f"{count:8} {name}")
        # the order in which days end is left to chance, and does not matter here
        print(f"digest of all: {self.digest:064x}")
        named = ", ".join(f"{self.tally[name]} {name}" for name in ("payments", "refunds", "faults", "kills"))
        seconds = time.monotonic() - self._begun
        print(f"{self.days} days in {seconds:.0f} s: {named}, {len(self.bad)} bad seeds")
        for seed in sorted(self.bad):
            print(_again(seed))


if __name__ == "__main__":
    sys.exit(main())
