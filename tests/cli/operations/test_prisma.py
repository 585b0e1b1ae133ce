"""The platform's Prisma beside procomp-pay, with Prisma's own client and schema engine."""

from __future__ import annotations

from decimal import Decimal

import pytest

from procomp_pay.storage.database import migrate
from tests.support.postgres import create_platform_tables
from tests.support.prisma import Prisma, installed
from tests.support.terminal import CommandLine, paid


@pytest.fixture
def prisma() -> Prisma:
    return installed()


@pytest.mark.parametrize("platform", ["adopted", "made"])
def test_prisma_migrate_finds_nothing_to_do(prisma: Prisma, empty_postgres_url: str, platform: str) -> None:
    if platform == "adopted":
        create_platform_tables(empty_postgres_url)
    migrate.upgrade(empty_postgres_url)
    external = migrate.own_tables(empty_postgres_url)
    without_ours, whole = prisma.drift(empty_postgres_url, external, [])
    assert without_ours == "-- This is an empty migration."
    assert 'DROP TABLE "pay_refund"' in whole, "what the list keeps away"


def test_its_client_and_we_read_and_write_the_same_rows(prisma: Prisma, postgres_clerk: CommandLine) -> None:
    ours = paid(postgres_clerk)["payment_id"]
    theirs = {
        "id": "theirs", "amount": "50.00", "currency": "USD", "status": "COMPLETED", "method": "APPLE_PAY",
        "stripePaymentId": "pi_theirs", "metadata": {"participantId": "p2"},
        "userId": "u1", "tournamentId": "t1",
    }  # fmt: skip
    [payment], [participant], _, _ = prisma.query(
        postgres_clerk.url,
        ("payment", "findMany", {"where": {"id": ours}}),
        ("participant", "findMany", {"where": {"paymentId": ours}}),
        ("payment", "create", {"data": theirs}),
        ("participant", "update", {"where": {"id": "p2"}, "data": {"status": "PAID", "paymentId": "theirs"}}),
    )
    assert (payment["amount"], payment["currency"], payment["status"]) == ("50", "USD", "COMPLETED")
    assert payment["metadata"]["participantId"] == "p1"
    assert (participant["id"], participant["status"]) == ("p1", "PAID")
    assert postgres_clerk.ask("db", "adopt")["adopted"] == 1
    status = postgres_clerk.ask("status", "p2")
    assert (status["payment_id"], status["status"], status["amount"]) == ("theirs", "COMPLETED", Decimal(50))
    [again] = prisma.query(postgres_clerk.url, ("payment", "findUnique", {"where": {"id": "theirs"}}))
    assert {name: again[name] for name in theirs} == theirs | {"amount": "50"}
