"""The books of a restored backup: who has paid since is PAID again, and is not asked to pay twice."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from procomp_pay.domain.errors import AlreadyPaid
from procomp_pay.domain.states import ParticipantStatus, PaymentStatus
from procomp_pay.services.audit.verify import verify as verify_audit
from procomp_pay.services.kaspi_verification.verify import VerificationRequest, verify
from procomp_pay.services.maintenance.run import one_pass
from procomp_pay.services.views import payment as views
from procomp_pay.storage.models.payments import PaymentDetail
from tests.support.environment import CLERK, ServiceEnvironment
from tests.support.reconciliation import compare, intent_of, kinds, line, open_rows, run


@dataclass
class Backup:
    """A copy of the test's database, made and restored as an operator does: with nobody connected."""

    url: str
    server: Any
    copy: str = ""

    async def make(self, environment: ServiceEnvironment) -> None:
        await environment.ctx.db.dispose()
        if self.server is None:
            self.copy = f"{self._file}.backup"
            shutil.copy(self._file, self.copy)
        else:
            self.copy = self.server.create(self._name)

    async def restore(self, environment: ServiceEnvironment) -> None:
        await environment.ctx.db.dispose()
        if self.server is None:
            for left_over in (f"{self._file}-wal", f"{self._file}-shm"):
                Path(left_over).unlink(missing_ok=True)
            shutil.copy(self.copy, self._file)
        else:
            self.server.replace(self._name, self.copy)

    @property
    def _file(self) -> str:
        return self.url.removeprefix("sqlite:///")

    @property
    def _name(self) -> str:
        return self.url.partition("?")[0].rsplit("/", 1)[1]


@pytest.fixture
def backup(database_url: str, request: pytest.FixtureRequest) -> Iterator[Backup]:
    server = None if database_url.startswith("sqlite") else request.getfixturevalue("postgres_server")
    made = Backup(database_url, server)
    yield made
    if server is not None and made.copy:
        server.drop(made.copy)


async def paid_at_stripe(environment: ServiceEnvironment, participant: str) -> views.Opening:
    opened = await environment.paid(participant, "apple_pay")
    assert await environment.status(opened) is PaymentStatus.COMPLETED
    return opened


async def test_everybody_who_paid_at_stripe_since_the_backup_is_paid_again(
    environment: ServiceEnvironment, backup: Backup
) -> None:
    people = [await environment.participant() for _ in range(6)]
    before = await paid_at_stripe(environment, people[0])
    open_then = await environment.start(people[1], "apple_pay")
    await environment.maintain()
    await backup.make(environment)
    # in the hour that the backup does not know
    await environment.pay_page(open_then)
    since = [await paid_at_stripe(environment, person) for person in people[2:6]]
    refunded, disputed = await intent_of(environment, since[0]), await intent_of(environment, since[1])
    data = {"payment_intent": refunded, "amount": "2000"}
    await environment.http.post("/v1/refunds", data=data, headers=environment._stripe_auth())
    await environment.http.post(f"/_sandbox/stripe/payment_intents/{disputed}/dispute", json={})
    await environment.deliver()
    environment.later(3600)

    await backup.restore(environment)
    for person in people[2:6]:
        assert (await environment.read_participant(person)).status is ParticipantStatus.REGISTERED
    report = await run(environment, recover=True)
    await one_pass(environment.ctx)

    assert {payment.participant_id for payment in report.recovered} == set(people[2:6])
    for person in people:
        assert (await environment.read_participant(person)).status is ParticipantStatus.PAID
        with pytest.raises(AlreadyPaid):
            await environment.start(person, "apple_pay")
    details = {row.payment_id: row for row in await environment.rows(PaymentDetail)}
    assert set(details) == {opened.view.payment_id for opened in (before, open_then, *since)}
    assert details[since[0].view.payment_id].refunded_amount == 20
    assert details[since[1].view.payment_id].dispute_state is not None
    assert (await verify_audit(environment.ctx)).is_sound
    assert await open_rows(environment) == []


async def test_a_kaspi_payment_since_the_backup_is_found_by_the_statement_and_verified_by_its_number(
    environment: ServiceEnvironment, backup: Backup
) -> None:
    person = await environment.participant()
    await backup.make(environment)
    opened = await environment.paid(person)
    assert await environment.status(opened) is PaymentStatus.COMPLETED
    number, paid_at = opened.view.provider_ref, environment.now()
    assert number is not None

    await backup.restore(environment)
    statement = [line(1, number, paid_at, "24000.00 KZT")]
    report = await compare(environment, statement, "kaspi", is_ours=True)
    assert list(kinds(report)) == [("MISSING_LOCALLY", "opened")]
    again = await environment.start(person)
    # Kaspi knows that the new QR was not paid: the operator says why the statement's number counts
    request = VerificationRequest(
        again.view.payment_id, number, paid_at=paid_at, override=True, reason="paid before the restore"
    )
    await verify(environment.ctx, request, CLERK)
    assert (await environment.read_participant(person)).status is ParticipantStatus.PAID
