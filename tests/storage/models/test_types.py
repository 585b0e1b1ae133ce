"""Money stays exact, time stays in UTC, JSON never holds a float."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from sqlalchemy import func, text
from sqlalchemy.exc import StatementError
from sqlmodel import col, select

from procomp_pay.domain.states import PaymentStatus
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.models import exact_json
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Payment
from tests.support.rows import NOW, a_payment


async def test_amounts_are_exact_and_add_up_in_sql(filled: PaymentDatabaseService) -> None:
    async with filled.writing() as session:
        for number, amount in enumerate(["0.10", "0.20", "99999999.99"]):
            session.add(a_payment(f"more{number}", amount=Decimal(amount)))
    async with filled.reading() as session:
        assert (await session.exec(select(func.sum(Payment.amount)))).one() == Decimal("100024000.29")
        dearest = (await session.exec(select(Payment).order_by(col(Payment.amount).desc()))).first()
        assert dearest is not None
        assert str(dearest.amount) == "99999999.99"
        few = await session.exec(select(Payment.id).where(col(Payment.amount) < Decimal("0.15")))
        assert few.all() == ["more0"]


@pytest.mark.parametrize(
    "wrong", [0.1, "1.00", Decimal("0.001"), Decimal("NaN"), Decimal("100000000"), True], ids=str
)
async def test_invalid_amounts_are_rejected(filled: PaymentDatabaseService, wrong: object) -> None:
    with pytest.raises(StatementError):
        async with filled.writing() as session:
            session.add(a_payment("wrong", amount=wrong))


async def test_platform_time_is_cut_to_milliseconds(filled: PaymentDatabaseService) -> None:
    almaty = timezone(timedelta(hours=5))
    late = datetime(2026, 1, 1, 4, 59, 59, 999999, tzinfo=almaty)
    async with filled.writing() as session:
        session.add(a_payment("cut", created_at=late))
    async with filled.reading() as session:
        payment = await session.get_one(Payment, "cut")
        assert payment.created_at == datetime(2025, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)
        assert payment.created_at.tzinfo is UTC
        by_time = await session.exec(select(Payment.id).where(col(Payment.created_at) == late))
        assert by_time.all() == ["cut"]


async def test_our_time_keeps_microseconds(filled: PaymentDatabaseService) -> None:
    async with filled.reading() as session:
        detail = await session.get_one(PaymentDetail, "pay1")
        assert detail.created_at == NOW
        assert detail.created_at.tzinfo is UTC


async def test_text_order_is_time_order(filled: PaymentDatabaseService) -> None:
    moments = [NOW + timedelta(seconds=step) for step in (0, -1, 0.5, 3600, -0.000001, 1e8)]
    async with filled.writing() as session:
        for number, moment in enumerate(moments):
            session.add(a_payment(f"m{number}", created_at=moment))
    async with filled.reading() as session:
        times = (await session.exec(select(Payment.created_at).order_by(col(Payment.created_at)))).all()
    assert list(times) == sorted(times)


@pytest.mark.parametrize("model", [Payment, PaymentDetail])
async def test_a_time_without_zone_is_refused(filled: PaymentDatabaseService, model: type) -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001
    with pytest.raises(StatementError, match="needs a zone"):
        async with filled.reading() as session:
            await session.exec(select(model).where(model.created_at > naive))


async def test_the_databases_default_time_has_our_format(filled: PaymentDatabaseService) -> None:
    """A row that somebody else wrote without createdAt."""
    async with filled.writing() as session:
        await session.exec(
            text(
                'INSERT INTO "Payment" (id, amount, "userId", "tournamentId", "updatedAt") '
                "VALUES ('raw', 5000, 'u1', 't1', '2026-01-01 00:00:00.000')"
            )
        )
    async with filled.reading() as session:
        payment = await session.get_one(Payment, "raw")
        assert abs(payment.created_at - datetime.now(UTC)) < timedelta(minutes=1)
        again = await session.exec(select(Payment.id).where(col(Payment.created_at) == payment.created_at))
        assert again.all() == ["raw"]
        assert payment.status is PaymentStatus.PENDING
        assert payment.currency.value == "USD"


async def test_json_numbers_stay_exact(filled: PaymentDatabaseService) -> None:
    document = {
        "amount": Decimal("50.00"),
        "tenth": Decimal("0.1"),
        "long": Decimal("0.1234567890123456789012345678901234567890"),
        "big": 10**400,
        "participantId": "p1",
        "list": [1, None, True, "тенге"],
    }
    async with filled.writing() as session:
        session.add(a_payment("json", meta=document))
    async with filled.reading() as session:
        meta = (await session.get_one(Payment, "json")).meta
        assert meta == document
        assert str(meta["amount"]) == "50.00"
        assert isinstance(meta["tenth"], Decimal)
        assert meta["big"] == 10**400
        stored = await session.exec(text("SELECT CAST(metadata AS TEXT) FROM \"Payment\" WHERE id = 'json'"))
        assert "50.00" in stored.scalar_one()
        by_key = await session.exec(
            select(Payment.id).where(col(Payment.meta)["participantId"].as_string() == "p1")
        )
        assert by_key.all() == ["json"]


async def test_json_none_is_sql_null(filled: PaymentDatabaseService) -> None:
    async with filled.reading() as session:
        assert (await session.exec(select(Payment.id).where(col(Payment.meta).is_(None)))).all() == ["pay1"]


@pytest.mark.parametrize(
    "wrong", [{"a": [0.5]}, {"a": Decimal("NaN")}, {"a": NOW}], ids=["float", "nan", "time"]
)
async def test_json_rejects_inexact_numbers(filled: PaymentDatabaseService, wrong: object) -> None:
    with pytest.raises((StatementError, TypeError, ValueError)):
        async with filled.writing() as session:
            session.add(a_payment("wrong", meta=wrong))


def test_exact_json_text() -> None:
    assert exact_json.dumps({"b": Decimal("50.00"), "a": 1}, canonical=True) == '{"a":1,"b":50.00}'
    assert exact_json.loads("[1e400, 50.00, 12]") == [Decimal("1e400"), Decimal("50.00"), 12]
    long = "9" * 5000
    assert exact_json.loads(long) % 10 == 9


async def test_values_outside_the_enum_are_rejected(filled: PaymentDatabaseService) -> None:
    with pytest.raises(StatementError):
        async with filled.reading() as session:
            await session.exec(select(PaymentDetail).where(col(PaymentDetail.channel) == "cash"))
