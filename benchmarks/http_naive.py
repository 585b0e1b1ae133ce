"""The reference of ``http_reads.py``: what one would write first with FastAPI and SQLModel.

One joined SELECT for each request, rows as objects, a token checked and a response model, as in any such
handler. No owner is looked up, nothing is limited, logged or redacted.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import jwt
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment, Tournament

app = FastAPI()
engine = create_async_engine(os.environ["NAIVE_DATABASE_URL"], pool_size=10, max_overflow=10)
secret = os.environ["NAIVE_JWT_SECRET"]
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
