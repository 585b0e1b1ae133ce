"""Requests of the Kaspi bill protocol."""

from __future__ import annotations

from procomp_pay.services.webhooks.kaspi_bill import BillAsk, read_sum
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Payment
from tests.support.environment import ServiceEnvironment


def ask(account: str, txn_id: str = "777000111", text: str = "24000.00") -> BillAsk:
    return BillAsk(txn_id, account, text, read_sum(text))


async def of(environment: ServiceEnvironment, participant_id: str) -> list[tuple[Payment, PaymentDetail]]:
    details = [row for row in await environment.rows(PaymentDetail) if row.participant_id == participant_id]
    payments = {row.id: row for row in await environment.rows(Payment)}
    return [(payments[row.payment_id], row) for row in details]
