"""Time ``status NAME`` and a list by name among 50,000 participants beside ``status ID``, as whole commands.

    .venv/bin/python benchmarks/search.py [--quick] [--url URL]

On the embedded database, and on a PostgreSQL that is brought up for the run or, with ``--url``, in an empty
database of another. The commands take turns; the median of their ratios counts. (A list also imports what
draws its table.)
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from startup import OURS, seconds
from webhook_world import of, postgresql, seed

from procomp_pay.domain.money import Currency
from procomp_pay.domain.states import ParticipantStatus
from procomp_pay.storage.database import migrate
from procomp_pay.storage.database.insert_once import insert_all_once
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.encryption.keyring import new_key
from procomp_pay.storage.models.platform import Participant, Tournament
from procomp_pay.storage.registrations import search_keys

PEOPLE = 50_000
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


async def fill(url: str, count: int) -> None:
    """Register so many participants for some tournaments, beside some with payments."""
    await seed(url, 0, 100, now := datetime.now(UTC))
    chance = random.Random(1)
    when = {"createdAt": now, "updatedAt": now}
    db = PaymentDatabaseService(url)
    try:
        async with db.writing() as session:
            named = [
                {"id": f"t{n}", "name": f"Open {n}", "entryFee": Decimal(50), "currency": Currency.USD,
                 "startsAt": now - timedelta(days=n)} | when
                for n in range(TOURNAMENTS)
            ]  # fmt: skip
            await insert_all_once(session, Tournament, named)
            people = [
                {"id": f"some{n:08d}", "userId": "u", "tournamentId": f"t{n % TOURNAMENTS}",
                 "status": ParticipantStatus.REGISTERED, "fullName": name(chance)} | when
                for n in range(count)
            ]  # fmt: skip
            for start in range(0, count, 1000):
                await insert_all_once(session, Participant, people[start : start + 1000])
            (await session.get_one(Participant, "who00000007")).full_name = SOMEBODY
    finally:
        await db.dispose()


async def store_keys(url: str) -> None:
    """Store all keys, as ``maintain`` does."""
    db = PaymentDatabaseService(url)
    try:
        async with db.writing() as session:
            await search_keys.store(session, await search_keys.stale(session, limit=PEOPLE * 2))
    finally:
        await db.dispose()


def measure(kind: str, url: str, home: Path, runs: int) -> None:
    """Print both commands' times: while no name has a key, as after an upgrade, and then."""
    migrate.upgrade(url)
    asyncio.run(fill(url, PEOPLE))
    compare(f"{kind}_without_keys", url, home, runs)
    begun = time.perf_counter()
    asyncio.run(store_keys(url))
    print(f"figure {kind}_keys_stored_s {time.perf_counter() - begun:.1f} s")
    if kind != "sqlite":
        import psycopg

        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute("VACUUM ANALYZE")
    compare(kind, url, home, runs)


def compare(name: str, url: str, home: Path, runs: int) -> None:
    """Print the times of both commands, and the median of their ratios."""
    env = os.environ | {"DATABASE_URL": url, "PROCOMP_HOME": str(home), "NO_COLOR": "1"}
    env["ENCRYPTION_KEYS"] = new_key()
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its bytecode
    status = [*OURS, "status", "who00000007"]
    for what, search in (
        ("status_by_name", [*OURS, "status"]),
        ("list_search", [*OURS, "participant", "list", "--limit", "20", "--search"]),
    ):
        ratios = []
        for typed in TYPED:
            seconds([*search, typed], env), seconds(status, env)  # the first run of each fills caches
            pairs = [(seconds([*search, typed], env), seconds(status, env)) for _ in range(runs)]
            ratios += [ours / reference for ours, reference in pairs]
            ours, reference = (statistics.median(pair[side] for pair in pairs) * 1000 for side in (0, 1))
            print(f"figure {name}_{what} {ours:.0f} ms, by id {reference:.0f} ms: {typed}", flush=True)
        print(f"ratio {name}_{what} {statistics.median(ratios):.2f} bar <=1.2", flush=True)
    print(f"figure load_average {os.getloadavg()[0]:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few runs")
    parser.add_argument("--url", help="an empty PostgreSQL database")
    chosen = parser.parse_args()
    runs = 3 if chosen.quick else 11
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        if chosen.url:
            measure("postgresql", chosen.url, home, runs)
            return
        measure("sqlite", f"sqlite:///{home / 'desk.sqlite3'}", home, runs)
        with postgresql() as uri:
            measure("postgresql", of(uri, "desk"), home, runs)


if __name__ == "__main__":
    main()
