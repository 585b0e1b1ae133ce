"""Database URLs as people, Prisma, Node and hosting providers write them."""

from __future__ import annotations

import pytest
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict
from sqlmodel import select, text

from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.storage.database import migrate, urls
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models.platform import Payment

BASE = "postgresql://me:geheim@h:6543/pay"


def connecting(url: str) -> dict[str, object]:
    """Return the driver's parameters beside user, password and database."""
    how = urls.postgresql_connection(urls.parse(url))
    place = {"host": how.url.host, "port": how.url.port} if how.url.host else {}
    return place | dict(how.url.query) | how.arguments


def refused(url: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        urls.parse(url)
    assert caught.value.exit_code == 7
    assert caught.value.next_step
    assert "geheim" not in f"{caught.value} {caught.value.next_step}"
    return caught.value.message


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("ssl=true", {"sslmode": "require"}),
        ("ssl=1", {"sslmode": "require"}),
        ("ssl=false", {"sslmode": "disable"}),
        ("ssl=verify-full", {"sslmode": "verify-full"}),
        ("ssl=true&sslmode=verify-ca", {"sslmode": "verify-ca"}),
        ("sslmode=no-verify", {"sslmode": "require"}),
        ("sslaccept=strict", {"sslmode": "verify-full", "sslrootcert": "system"}),
        ("sslaccept=accept_invalid_certs", {"sslmode": None}),
        ("max=5&idleTimeoutMillis=10000", {"max": None, "idleTimeoutMillis": None}),
        ("connection_limit=1&pool_timeout=0", {"connection_limit": None, "pool_timeout": None}),
        ("connect_timeout=30", {"connect_timeout": "30"}),
        ("", {"connect_timeout": "5", "tcp_user_timeout": "30000", "application_name": "procomp-pay"}),
        ("tcp_user_timeout=0&keepalives=0", {"tcp_user_timeout": "0", "keepalives": "0"}),
        ("pgbouncer=false&schema=public", {"pgbouncer": None, "schema": None, "prepare_threshold": None}),
    ],
)
def test_parameters_that_are_known(query: str, wanted: dict[str, str | None]) -> None:
    given = connecting(f"{BASE}?{query}")
    assert {name: given.get(name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("sslmod=require", "'sslmod'"),
        ("SSLMODE=require", "'SSLMODE'"),
        ("schema=a&schema=b", "'schema' twice"),
        ("pgbouncer=yes", "'pgbouncer'"),
        ("sslaccept=lax", "'sslaccept'"),
        ("sslidentity=client.p12", "'sslidentity'"),
    ],
)
def test_parameters_that_are_not_known_are_named(query: str, name: str) -> None:
    assert name in refused(f"{BASE}?{query}")


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("postgresql://u:p@h1:5432,h2:5433/db?target_session_attrs=read-write", "h1,h2", "5432,5433"),
        ("postgres://u@h1,h2/db", "h1,h2", None),
        ("postgresql://h1,h2:5433/db", "h1,h2", ",5433"),
        ("postgresql://u:a,b%40@[::1]:5432,h2:5433/db", "::1,h2", "5432,5433"),
        ("postgresql://u@%2Ftmp,h2:5433/db", "/tmp,h2", ",5433"),
        ("postgresql://u@/db?host=h1:5432&host=h2:5433", "h1,h2", "5432,5433"),
        ("postgresql://u@/db?host=h1,h2&port=5432,5433", "h1,h2", "5432,5433"),
    ],
)
def test_several_hosts(url: str, host: str, port: str | None) -> None:
    given = connecting(url)
    assert (given["host"], given.get("port")) == (host, port)
    assert given["target_session_attrs"] == "read-write", "payments are written"
    assert urls.parse(url).database == "db"
    assert conninfo_to_dict(host=str(given["host"]), port=str(port or ""))


@pytest.mark.parametrize(
    ("url", "host", "password"),
    [
        ("postgresql://u:a,b@h/db", "h", "a,b"),
        ("postgresql://u:a,b/c@h/db", "h", "a,b/c"),
        ("postgresql://u:p@h/a,b", "h", "p"),
    ],
)
def test_a_comma_elsewhere_is_no_list_of_hosts(url: str, host: str, password: str) -> None:
    parsed = urls.parse(url)
    assert (parsed.host, parsed.password) == (host, password)
    assert "target_session_attrs" not in parsed.query


def test_several_hosts_are_described() -> None:
    assert urls.describe(urls.parse("postgresql://u@h1:1,h2:2/d")) == "the database d on h1:1, h2:2"
    assert urls.describe(urls.parse("postgresql://u@h1,h2/d")) == "the database d on h1, h2"


@pytest.mark.parametrize("pooled", ["", "&pgbouncer=true"])
@pytest.mark.parametrize("schema", ["pro comp", "q\"u\\o'te", "50%s"])
async def test_a_schema_and_the_time_outs_hold_behind_pgbouncer_too(
    empty_postgres_url: str, pooled: str, schema: str
) -> None:
    quoted = '"' + schema.replace('"', '""') + '"'
    with Connection.connect(empty_postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {quoted}".encode())
    given = schema.replace("%", "%25").replace(" ", "%20").replace('"', "%22").replace("\\", "%5C")
    url = f"{empty_postgres_url}&schema={given}{pooled}&options=-c%20work_mem%3D5MB&lock_timeout=7000"
    migrate.upgrade(url)
    with Connection.connect(empty_postgres_url) as connection:
        made = connection.execute("SELECT DISTINCT schemaname FROM pg_tables WHERE tablename LIKE 'pay_%'")
        assert made.fetchall() == [(schema,)]
    assert migrate.current(url) == migrate.HEAD
    db = PaymentDatabaseService(url)
    for transaction in (db.writing, db.reading):
        async with transaction() as session:
            assert (await session.exec(select(Payment))).all() == []
            for name, wanted in (
                ("timezone", "UTC"),
                ("statement_timeout", "1min"),
                ("lock_timeout", "7s"),
                ("idle_in_transaction_session_timeout", "1min"),
                ("work_mem", "5MB"),
                ("search_path", quoted),
            ):
                assert (await session.exec(text(f"SHOW {name}"))).scalar_one() == wanted
    await db.dispose()


def test_statement_time_outs_are_read() -> None:
    def seconds(query: str) -> float | None:
        return urls.postgresql_connection(urls.parse(f"{BASE}?{query}"), statement_ms=15000).statement_s

    assert seconds("") == 15
    assert seconds("statement_timeout=90000") == 90
    assert seconds("options=-c%20statement_timeout%3D2min") == 120
    assert seconds("options=-c%20statement_timeout%3D0") is None
