"""Time ``status NAME`` and a list by name among 50,000 participants beside ``status ID``, as whole commands.

    .venv/bin/python benchmarks/search.py [--quick] [--url URL]

On the embedded database, and on a PostgreSQL that is brought up for the run or, with ``--url``, in an empty
database of another. The commands take turns; the median of their ratios counts. (A list also imports what
draws its table.) Every name has its key, as ``maintain`` stores it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import tempfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import insert
from sqlmodel.ext.asyncio.session import AsyncSession
from startup import OURS, seconds
from webhook_world import of, postgresql, seed

from procomp_pay.domain.money import Currency
from procomp_pay.domain.name_search import KEY_VERSION, stored_keys
from procomp_pay.domain.states import ParticipantStatus
from procomp_pay.storage.database import migrate
from procomp_pay.storage.database.bulk_write import Action, Write, write_all
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.encryption.keyring import new_key
from procomp_pay.storage.models.columns import Row
from procomp_pay.storage.models.platform import Participant, Tournament
from procomp_pay.storage.models.registrations import ParticipantSearch
from procomp_pay.storage.registrations import search_keys

PEOPLE = 50_000
#: Beside them some have payments; they share a name.
PAYERS, PAYER = 100, "Әсел Нұрланова"
TOURNAMENTS = 50
GIVEN = """
Қайрат Әсел Нұрлан Айгүл Ержан Жамиля Дмитрий Анастасия Шыңғыс Ғалым Юлия Сергей Ольга Болат Тимур Данияр
Kairat Aisulu Sergey Yerzhan Алихан Мәдина Өмірбек Ұлан Інжу Хадиша Чингиз Щербан Эльмира Жұлдыз
"""
ROOTS = """
Асан Серік Нұрлан Жұмабай Досай Қасым Ахмет Мұхтар Оспан Сатпай Алтын Байжан Кенже Темір Ибраг Иван Петр
Сидор Кузнец Смирн Попов Васил Абдрахман Төлеген Бектур Ерғали Рахым Сұлтан Тоқтар Уәли Хасен Шәріп
"""
ENDINGS = "ов ова ев ева ұлы қызы енко ин ина бек бекова"
#: Somebody with a payment, and how the name may be typed.
SOMEBODY = "Жұлдызай Бірегеев"
TYPED = ("zhuldyzai biregeev", "бірегеев", ";eklspfq")


def name(chance: random.Random) -> str:
    """Return a name; surnames are many, given names few, as they are."""
    given, roots = GIVEN.split(), ROOTS.split()
    middle = chance.choice(roots)[:4] + chance.choice("аеиоуық") + chance.choice("бдклмнрстш")
    surname = chance.choice(roots) + (middle.lower() if chance.random() < 0.3 else "")
    words = [chance.choice(given), surname + chance.choice(ENDINGS.split())]
    if chance.random() < 0.3:
        words.append(chance.choice(given) + chance.choice(("ович", "ұлы", "қызы", "овна")))
    return " ".join(words)


def people(count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return so many participants for some tournaments, and the keys that ``maintain`` stores for them."""
    chance, now = random.Random(1), datetime.now(UTC)
    rows: list[dict[str, Any]] = [
        {"id": f"some{n:08d}", "user_id": "u", "tournament_id": f"t{n % TOURNAMENTS}",
         "status": ParticipantStatus.REGISTERED, "full_name": name(chance), "created_at": now,
         "updated_at": now}
        for n in range(count)
    ]  # fmt: skip
    names = [(row["id"], row["full_name"]) for row in rows] + [
        (f"who{n:08d}", SOMEBODY if n == 7 else PAYER) for n in range(PAYERS)
    ]
    keys = [
        {"participant_id": one, "full_name": full, "key_version": KEY_VERSION, "search_key": key}
        for (one, full), key in zip(names, stored_keys([full for _, full in names]), strict=True)
    ]
    return rows, keys


async def insert_many(session: AsyncSession, table: type[Row], rows: list[dict[str, Any]]) -> None:
    """Insert rows: on PostgreSQL by one statement, on SQLite by one call."""
    if session.get_bind().dialect.name == "postgresql":
        await write_all(session, [Write(Action.INSERT, table, rows)])
    else:
        await session.exec(insert(table), params=rows)


async def fill(url: str, rows: list[dict[str, Any]]) -> None:
    """Register the participants, beside some with payments."""
    await seed(url, 0, PAYERS, now := datetime.now(UTC))
    db = PaymentDatabaseService(url)
    try:
        async with db.writing() as session:
            named = [
                {"id": f"t{n}", "name": f"Open {n}", "entry_fee": Decimal(50), "currency": Currency.USD,
                 "starts_at": now - timedelta(days=n), "created_at": now, "updated_at": now}
                for n in range(TOURNAMENTS)
            ]  # fmt: skip
            await insert_many(session, Tournament, named)
            await insert_many(session, Participant, rows)
            (await session.get_one(Participant, "who00000007")).full_name = SOMEBODY
    finally:
        await db.dispose()


async def store(url: str, keys: list[dict[str, Any]]) -> None:
    """Store the keys."""
    db = PaymentDatabaseService(url)
    try:
        async with db.writing() as session:
            await insert_many(session, ParticipantSearch, keys)
        async with db.reading() as session:
            if await search_keys.stale(session, limit=1):
                raise SystemExit("a participant has no key")
    finally:
        await db.dispose()


def measure(kind: str, url: str, home: Path, runs: int, *, without_keys: bool) -> None:
    """Print both commands' times.

    :param without_keys: also while no name has a key, as after an upgrade.
    """
    migrate.upgrade(url)
    rows, keys = people(PEOPLE)
    asyncio.run(fill(url, rows))
    if without_keys:
        compare(f"{kind}_without_keys", url, home, runs)
    asyncio.run(store(url, keys))
    if kind != "sqlite":
        import psycopg

        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute("VACUUM ANALYZE")
    compare(kind, url, home, runs)


class Taken(NamedTuple):
    """Seconds that a command took. Its own CPU time is without that of PostgreSQL, and other programs change
    it less."""

    wall: float
    cpu: float


def taken(command: list[str], env: dict[str, str]) -> Taken:
    """Run a command."""
    begun = sum(os.times()[2:4])
    wall = seconds(command, env)
    return Taken(wall, sum(os.times()[2:4]) - begun)


def _milliseconds(runs: list[Taken]) -> str:
    wall, cpu = (statistics.median(run[n] for run in runs) * 1000 for n in (0, 1))
    return f"{wall:.0f} ms, {cpu:.0f} ms of CPU"


def compare(name: str, url: str, home: Path, runs: int) -> None:
    """Print the times of both commands, and the median of their ratios. In each turn all of them are run, and
    compared with ``status ID`` of the same turn."""
    env = os.environ | {"DATABASE_URL": url, "PROCOMP_HOME": str(home), "NO_COLOR": "1"}
    env["ENCRYPTION_KEYS"] = new_key()
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its bytecode
    listing = [*OURS, "participant", "list", "--limit", "20", "--search"]
    commands = {("status_by_name", typed): [*OURS, "status", typed] for typed in TYPED}
    commands |= {("list_search", typed): [*listing, typed] for typed in TYPED}
    by_id = [*OURS, "status", "who00000007"]
    seconds(by_id, env), seconds([*listing, TYPED[0]], env)  # the first run fills caches
    references: list[Taken] = []
    times: dict[tuple[str, str], list[Taken]] = {key: [] for key in commands}
    for _ in range(runs):
        references.append(taken(by_id, env))
        for key, command in commands.items():
            times[key].append(taken(command, env))
    print(f"figure {name}_status_by_id {_milliseconds(references)}")
    for (what, typed), runs_of_it in times.items():
        print(f"figure {name}_{what} {_milliseconds(runs_of_it)}: {typed}")
    for what in ("status_by_name", "list_search"):
        pairs = [pair for typed in TYPED for pair in zip(times[what, typed], references, strict=True)]
        wall, cpu = (statistics.median(ours[n] / reference[n] for ours, reference in pairs) for n in (0, 1))
        print(f"figure {name}_{what}_cpu_ratio {cpu:.2f}")
        print(f"ratio {name}_{what} {wall:.2f} bar <=1.2", flush=True)
    print(f"figure load_average {os.getloadavg()[0]:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few runs")
    parser.add_argument("--url", help="an empty PostgreSQL database")
    parser.add_argument("--without-keys", action="store_true", help="measure also before any key is stored")
    chosen = parser.parse_args()
    runs, without_keys = 3 if chosen.quick else 7, chosen.without_keys
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        if chosen.url:
            measure("postgresql", chosen.url, home, runs, without_keys=without_keys)
            return
        measure("sqlite", f"sqlite:///{home / 'desk.sqlite3'}", home, runs, without_keys=without_keys)
        with postgresql() as uri:
            measure("postgresql", of(uri, "desk"), home, runs, without_keys=without_keys)


if __name__ == "__main__":
    main()
