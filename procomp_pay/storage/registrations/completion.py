"""Read the names and codes that the shell completes: one query each, without SQLAlchemy, whose import takes
longer than a person waits for a completion. A database that is not there is not created."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

#: Participants of the latest tournaments, those whose fee is due first.
_PARTICIPANTS = """
SELECT p."fullName", COALESCE(p.category, ''), t.name, p.id
FROM "Participant" p JOIN "Tournament" t ON t.id = p."tournamentId"
WHERE t.id IN (SELECT id FROM "Tournament" l
  WHERE id NOT IN (SELECT tournament_id FROM pay_archived_tournament)
  ORDER BY "startsAt" DESC NULLS LAST LIMIT 10)
ORDER BY CASE WHEN p.status = 'REGISTERED' AND p."paymentId" IS NULL THEN 0 ELSE 1 END, p."createdAt" DESC
LIMIT 20000
"""
_PAYMENTS = """
SELECT d.short_code, COALESCE(o."fullName", ''), CAST(p.status AS TEXT)
FROM "Payment" p JOIN pay_payment_detail d ON d.payment_id = p.id
LEFT JOIN "Participant" o ON o.id = d.participant_id
WHERE d.short_code IS NOT NULL
  AND p."tournamentId" NOT IN (SELECT tournament_id FROM pay_archived_tournament)
ORDER BY d.created_at DESC LIMIT 500
"""
_TOURNAMENTS = """
SELECT name, id FROM "Tournament" t WHERE id NOT IN (SELECT tournament_id FROM pay_archived_tournament)
ORDER BY "startsAt" DESC NULLS LAST LIMIT 1000
"""


class Participant(NamedTuple):
    full_name: str
    category: str
    tournament: str
    id: str


class Payment(NamedTuple):
    code: str
    full_name: str
    status: str


class Tournament(NamedTuple):
    name: str
    id: str


def participants(url: str, map_file: str | None = None) -> list[Participant]:
    """Return participants of the latest tournaments, those who have not paid first.

    :param map_file: the setting ``PLATFORM_MAP``.
    :raises Exception: the database cannot be read.
    """
    return [Participant(*row) for row in _read(url, _PARTICIPANTS, map_file)]


def payments(url: str, map_file: str | None = None) -> list[Payment]:
    """Return the latest payments, newest first. :raises Exception: as :func:`participants`."""
    return [Payment(*row) for row in _read(url, _PAYMENTS, map_file)]


def tournaments(url: str, map_file: str | None = None) -> list[Tournament]:
    """Return tournaments, the latest first. :raises Exception: as :func:`participants`."""
    return [Tournament(*row) for row in _read(url, _TOURNAMENTS, map_file)]


def _read(url: str, query: str, map_file: str | None) -> list[Any]:
    if map_file:
        from procomp_pay.config import platform_map

        query = platform_map.read(Path(map_file)).sql(query)
    if url.startswith("sqlite"):
        path = url.partition("///")[2].partition("?")[0]
        connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=0.2)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()
    import psycopg

    with psycopg.connect(_for_libpq(url), connect_timeout=2) as server:
        server.read_only = True
        return server.execute(query).fetchall()


def _for_libpq(url: str) -> str:
    """Return the URL without what Prisma and Node add to it; ``schema=`` becomes the search path."""
    parts = urlsplit(url)
    given = dict(parse_qsl(parts.query))
    query: dict[str, str] = {
        name: given[name] for name in ("host", "port", "sslmode", "sslrootcert") if name in given
    }
    query["options"] = "-c statement_timeout=1000"
    if schema := given.get("schema"):
        query["options"] += f' -c search_path="{schema}"'
    return parts._replace(scheme="postgresql", query=urlencode(query, quote_via=quote)).geturl()
