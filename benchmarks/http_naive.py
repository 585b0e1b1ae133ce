"""The reference of ``http_requests.py``: what one would write first with FastAPI and SQLModel.

One joined SELECT for each read, rows as objects, a token checked and a response model, as in any such
handler. No owner is looked up, nothing is limited, logged or redacted. A payment is inserted, then created at
the provider, then updated: nothing is locked, no key is remembered, no lost answer is recovered.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import httpx
import jwt
import stripe
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.money import Currency
from procomp_pay.domain.states import ParticipantStatus, PaymentMethod
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment, Tournament
from procomp_pay.storage.models.terms import TournamentFee

app = FastAPI()
engine = create_async_engine(os.environ["NAIVE_DATABASE_URL"], pool_size=10, max_overflow=10)
secret = os.environ["NAIVE_JWT_SECRET"]
provider = json.loads(os.environ["NAIVE_PROVIDER"])
at_stripe = stripe.StripeClient(
    provider["stripe_secret_key"],
    base_addresses={"api": provider["url"]},
    http_client=stripe.HTTPXClient(allow_sync_methods=False),
)
at_kaspi = httpx.AsyncClient(
    base_url=provider["url"], headers={"Api-Key": provider["kaspi_api_key"]}, verify=False
)
Token = Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]


class Status(BaseModel):
    payment_id: str
    participant_id: str
    status: str
    method: str | None
    amount: Decimal
    currency: str
    created_at: datetime
    updated_at: datetime
    failure_reason: str | None


class Listed(Status):
    code: str | None
    participant_name: str
    tournament_id: str
    tournament_name: str
    category: str | None
    channel: str
    refunded_amount: Decimal
    completed_at: datetime | None
    expires_at: datetime | None
    provider_ref: str | None
    wallet: str | None
    started_by: str


class Start(BaseModel):
    participant_id: str
    method: Literal["apple_pay", "google_pay", "kaspi_qr"]
    amount: Decimal | None = None
    currency: str | None = None


class Started(BaseModel):
    payment_id: str
    amount: Decimal
    currency: str
    method: str
    client_secret: str | None = None
    payment_url: str | None = None
    expires_at: datetime | None = None


async def caller(token: Token) -> dict[str, Any]:
    try:
        return dict(jwt.decode(token.credentials, secret, algorithms=["HS256"]))
    except jwt.PyJWTError as error:
        raise HTTPException(401) from error


async def opened() -> AsyncIterator[AsyncSession]:
    async with AsyncSession(engine, expire_on_commit=False) as session:
        yield session


Session = Annotated[AsyncSession, Depends(opened)]
Caller = Annotated[dict[str, Any], Depends(caller)]


def shown(payment: Payment, detail: PaymentDetail) -> dict[str, Any]:
    return {
        "payment_id": payment.id,
        "participant_id": detail.participant_id,
        "status": payment.status,
        "method": payment.method,
        "amount": detail.charged_amount,
        "currency": detail.charged_currency,
        "created_at": payment.created_at,
        "updated_at": payment.updated_at,
        "failure_reason": payment.failure_reason,
    }


@app.get("/status/{participant_id}")
async def status(participant_id: str, _caller: Caller, session: Session) -> Status:
    query: Any = (
        select(Payment, PaymentDetail)
        .join(PaymentDetail, col(PaymentDetail.payment_id) == col(Payment.id))
        .where(PaymentDetail.participant_id == participant_id)
        .order_by(col(PaymentDetail.created_at).desc())
        .limit(1)
    )
    row = (await session.exec(query)).first()
    if row is None:
        raise HTTPException(404)
    return Status(**shown(*row))


@app.get("/payments")
async def payments(_caller: Caller, session: Session, limit: int = 50) -> list[Listed]:
    query: Any = (
        select(Payment, PaymentDetail, Participant, Tournament)
        .join(PaymentDetail, col(PaymentDetail.payment_id) == col(Payment.id))
        .join(Participant, col(Participant.id) == col(PaymentDetail.participant_id), isouter=True)
        .join(Tournament, col(Tournament.id) == col(Payment.tournament_id))
        .order_by(col(PaymentDetail.created_at).desc(), col(PaymentDetail.payment_id).desc())
        .limit(limit)
    )
    return [
        Listed(
            **shown(payment, detail),
            code=detail.short_code,
            participant_name=participant.full_name,
            tournament_id=tournament.id,
            tournament_name=tournament.name,
            category=participant.category,
            channel=detail.channel,
            refunded_amount=detail.refunded_amount,
            completed_at=detail.completed_at,
            expires_at=detail.expires_at,
            provider_ref=detail.provider_ref,
            wallet=detail.wallet,
            started_by=detail.started_by,
        )
        for payment, detail, participant, tournament in (await session.exec(query)).all()
    ]


@app.post("/initiate")
async def initiate(body: Start, _caller: Caller, session: Session) -> Started:
    participant = await session.get(Participant, body.participant_id)
    if participant is None:
        raise HTTPException(404)
    if participant.status is ParticipantStatus.PAID:
        raise HTTPException(409)
    tournament = await session.get(Tournament, participant.tournament_id)
    if tournament is None:
        raise HTTPException(404)
    amount, currency = tournament.entry_fee, Currency.USD
    if body.method == "kaspi_qr":
        fee = await session.get(TournamentFee, (tournament.id, Currency.KZT))
        if fee is None:
            raise HTTPException(404)
        amount, currency = fee.amount, fee.currency
    now = datetime.now(UTC)
    payment = Payment(
        id=uuid.uuid4().hex,
        amount=amount,
        currency=currency,
        method=PaymentMethod(body.method.upper()),
        meta={"participantId": participant.id},
        user_id=participant.user_id,
        tournament_id=tournament.id,
        created_at=now,
        updated_at=now,
    )
    session.add(payment)
    await session.commit()
    shown: dict[str, Any]
    if body.method == "kaspi_qr":
        content = {
            "DeviceToken": provider["kaspi"]["device_token"],
            "Amount": float(amount),
            "ExternalId": payment.id,
        }
        headers = {"X-Request-ID": str(uuid.uuid4())}
        answer = await at_kaspi.post("/r1/v01/qr/create-link", json=content, headers=headers)
        data = answer.raise_for_status().json()["Data"]
        payment.kaspi_qr_code = str(data["PaymentId"])
        shown = {"payment_url": data["PaymentLink"], "expires_at": data["ExpireDate"]}
    else:
        intent = await at_stripe.v1.payment_intents.create_async(
            {
                "amount": int(amount * 100),
                "currency": currency.lower(),
                "payment_method_types": ["card"],
                "description": f"{tournament.name}: {participant.full_name}",
                "metadata": {"payment_id": payment.id, "participant_id": participant.id},
            }
        )
        payment.stripe_payment_id = intent.id
        shown = {"client_secret": intent.client_secret}
    await session.commit()
    return Started(payment_id=payment.id, amount=amount, currency=currency, method=body.method, **shown)
