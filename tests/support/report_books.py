"""Random payments, written as rows, and an independent count of them in plain Python."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.money import Currency
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.refunds import DisputeState, RefundState
from procomp_pay.domain.states import Channel, CreateState, ParticipantStatus, PaymentMethod, PaymentStatus
from procomp_pay.services.bootstrap import new_id
from procomp_pay.services.context import AppContext
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.encryption.keyring import Keyring, new_key
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment, Tournament, User
from procomp_pay.storage.models.provider_movements import ProviderMovement
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.models.refunds import Refund
from procomp_pay.storage.webhooks.intake import WebhookIntake
from tests.support.terminal import CommandLine

ALMATY = ZoneInfo("Asia/Almaty")
#: Almaty's clocks went back from +06 to +05 in the night to 1 March 2024.
BEGINS = datetime(2024, 2, 27, 12, tzinfo=UTC)
NOW = datetime(2024, 3, 4, 12, tzinfo=UTC)
TOURNAMENTS = ("t1", "t2", "t3")

_PAID = (PaymentStatus.COMPLETED, PaymentStatus.REFUNDED)
_REASONS = (None, "Your card was declined.", "=HYPERLINK(1)", "<b>Срок</b> истёк")


@dataclass
class Books:
    """The rows as they were written."""

    payments: list[Payment] = field(default_factory=list)
    details: dict[str, PaymentDetail] = field(default_factory=dict)
    refunds: list[Refund] = field(default_factory=list)
    audits: list[AuditEntry] = field(default_factory=list)
    movements: list[ProviderMovement] = field(default_factory=list)
    participants: list[Participant] = field(default_factory=list)
    discrepancies: list[Discrepancy] = field(default_factory=list)

    def name_participants(self, names: Sequence[str], **more: Any) -> None:
        """Give each payment a participant, by these names in turn."""
        for number, payment in enumerate(self.payments):
            self.participants.append(
                Participant(
                    id=f"p-{payment.id}", user_id="u1", tournament_id=payment.tournament_id,
                    status=ParticipantStatus.PAID, full_name=names[number % len(names)],
                    created_at=BEGINS, updated_at=BEGINS, **more,
                )
            )  # fmt: skip

    def clerk(self, home: Path, url: str) -> CommandLine:
        """Write the rows, and return a clerk who works with them."""

        async def write() -> None:
            db = PaymentDatabaseService(url)
            await self.write(db)
            await db.dispose()

        asyncio.run(write())
        return CommandLine(home, None, url)  # type: ignore[arg-type] - no provider is asked

    async def write(self, db: PaymentDatabaseService) -> None:
        async with db.writing() as session:
            session.add(User(id="u1", email="a@example.kz", name="Ә"))
            for tournament in TOURNAMENTS:
                session.add(
                    Tournament(
                        id=tournament, name=f"Кубок {tournament}", entry_fee=Decimal(100),
                        currency=Currency.KZT, starts_at=BEGINS, created_at=BEGINS, updated_at=BEGINS,
                    )
                )  # fmt: skip
            await session.flush()
            for rows in (
                self.payments, list(self.details.values()), self.participants, self.refunds, self.audits,
                self.movements, self.discrepancies,
            ):  # fmt: skip
                session.add_all(rows)
                await session.flush()


def _moment(chance: random.Random, after: datetime) -> datetime:
    """Return a random time, often within microseconds of a midnight."""
    if chance.random() < 0.4:
        midnight = datetime(2024, 2, 28, tzinfo=ALMATY) + timedelta(days=chance.randrange(6))
        near = midnight.astimezone(UTC) + timedelta(microseconds=chance.choice((-1_000_000, -1, 0, 1, 999)))
        if near >= after:
            return near
    seconds = max(1, int((NOW - after).total_seconds()) - 1)
    return after + timedelta(seconds=chance.randrange(seconds), microseconds=chance.randrange(1_000_000))


def random_books(seed: int, count: int = 60) -> Books:
    """Return books of a few days around the change of Almaty's clocks."""
    chance, books = random.Random(seed), Books()
    for number in range(count):
        _payment(chance, books, f"pay{number:03}")
    for number in range(chance.randrange(20)):
        status = chance.choice(list(ParticipantStatus))
        books.participants.append(
            Participant(
                id=f"x{number}", user_id="u1", tournament_id=chance.choice(TOURNAMENTS), status=status,
                full_name=f"Name {number}", created_at=BEGINS, updated_at=BEGINS,
            )
        )  # fmt: skip
    for number in range(chance.randrange(12)):
        at = _moment(chance, BEGINS)
        books.discrepancies.append(
            Discrepancy(
                id=f"d{number}", fingerprint=f"f{number}", kind=chance.choice(list(DiscrepancyKind)).value,
                payment_id=chance.choice([None, *(payment.id for payment in books.payments)]), detail={},
                state=chance.choice(("open", "resolved")), opened_at=at, last_seen_at=at,
            )
        )  # fmt: skip
    return books


def _payment(chance: random.Random, books: Books, key: str) -> None:
    started = _moment(chance, BEGINS)
    status = chance.choice((*PaymentStatus, PaymentStatus.COMPLETED, PaymentStatus.COMPLETED))
    method = chance.choice(list(PaymentMethod))
    currency = Currency.KZT if method.is_kaspi else chance.choice(list(Currency))
    amount = Decimal(chance.randrange(1, 10_000_000)).scaleb(-2)
    ended = started + timedelta(seconds=chance.randrange(400), microseconds=chance.randrange(1_000_000))
    if chance.random() < 0.1:
        ended = started - timedelta(milliseconds=3)  # two servers, two clocks
    payment = Payment(
        id=key, amount=amount, currency=currency, status=status, method=method, user_id="u1",
        failure_reason=None if status in _PAID else chance.choice(_REASONS),
        tournament_id=chance.choice(TOURNAMENTS), created_at=started, updated_at=ended,
    )  # fmt: skip
    detail = PaymentDetail(
        payment_id=key, participant_id=f"p-{key}", channel=Channel.STRIPE_INTENT,
        create_state=CreateState.OPEN, provider_open=False, requested_amount=amount,
        requested_currency=currency, charged_amount=amount, charged_currency=currency,
        is_late=status in _PAID and chance.random() < 0.1,
        is_duplicate=status in _PAID and chance.random() < 0.1,
        completed_at=ended if status in _PAID else None, started_by=chance.choice(("aigerim", "Дана", "u1")),
        created_at=started, updated_at=ended,
    )  # fmt: skip
    books.payments.append(payment)
    books.details[key] = detail
    if status in _PAID:
        _refunds(chance, books, payment, detail)
        _dispute(chance, books, detail)
        _settle(chance, books, payment, detail)


def _refunds(chance: random.Random, books: Books, payment: Payment, detail: PaymentDetail) -> None:
    at = detail.completed_at or NOW
    parts = 1 if payment.status is PaymentStatus.REFUNDED else chance.randrange(3)
    for number in range(parts):
        whole = payment.status is PaymentStatus.REFUNDED
        amount = payment.amount if whole else (payment.amount / 4).quantize(Decimal("0.01"))
        state = RefundState.SUCCEEDED if whole else chance.choice(list(RefundState))
        if amount <= 0:
            continue
        then = _moment(chance, at)
        books.refunds.append(
            Refund(
                id=f"r-{payment.id}-{number}", payment_id=payment.id, amount=amount,
                currency=payment.currency, reason="why", state=state, requested_by="aigerim",
                created_at=at, updated_at=then,
            )
        )  # fmt: skip
        if state is RefundState.SUCCEEDED:
            detail.refunded_amount += amount


def _dispute(chance: random.Random, books: Books, detail: PaymentDetail) -> None:
    if chance.random() < 0.6:
        return
    detail.dispute_id, detail.dispute_state = f"dp-{detail.payment_id}", chance.choice(list(DisputeState))
    detail.dispute_amount = detail.charged_amount
    if chance.random() < 0.2:
        return  # from before there was an audit
    at = detail.completed_at or NOW
    for seq, word in enumerate(("open", detail.dispute_state.value), start=1):
        at = _moment(chance, at)
        books.audits.append(
            AuditEntry(
                payment_id=detail.payment_id, seq=seq, at=at, actor="stripe", source="stripe_webhook",
                action=f"dispute_{word}", prev_hash="0", hash=f"{detail.payment_id}{seq}",
            )
        )  # fmt: skip


def _settle(chance: random.Random, books: Books, payment: Payment, detail: PaymentDetail) -> None:
    for kind in (LineKind.PAYMENT, LineKind.REFUND, LineKind.DISPUTE_REVERSED):
        if chance.random() < 0.3:
            continue
        fee = None if chance.random() < 0.1 else Decimal(chance.randrange(-50, 500)).scaleb(-2)
        books.movements.append(
            ProviderMovement(
                id=f"s-{payment.id}-{kind}", provider="stripe", payment_id=payment.id, kind=kind,
                ref=f"ref-{payment.id}-{kind}", amount=payment.amount, fee=fee,
                net=None if fee is None else payment.amount - fee,
                currency=chance.choice((payment.currency.value, "GBP")),
                at=_moment(chance, BEGINS), source="statement", recorded_at=NOW,
            )
        )  # fmt: skip


def _day(at: datetime) -> date:
    return at.astimezone(ALMATY).date()


def _in(day: date, since: date | None, until: date | None) -> bool:
    return (since is None or day >= since) and (until is None or day <= until)


@dataclass
class Oracle:
    """The figures of a report, counted one by one."""

    books: Books
    tournament: str | None
    since: date | None
    until: date | None

    def attempts(self, method: PaymentMethod | None = None) -> dict[str, Any]:
        chosen = [
            p for p in self.books.payments
            if self._is_of(p) and method in (None, p.method)
            and _in(_day(self.books.details[p.id].created_at), self.since, self.until)
        ]  # fmt: skip
        by = Counter(p.status.value for p in chosen)
        paid = [self.books.details[p.id] for p in chosen if p.status in _PAID]
        ended = len(chosen) - by["PENDING"] - by["PROCESSING"]
        took = sorted(max(0, (d.completed_at - d.created_at) // timedelta(seconds=1)) for d in paid)  # type: ignore[operator]
        return {
            "started": len(chosen), "paid": len(paid), "open": by["PENDING"] + by["PROCESSING"],
            "failed": by["FAILED"], "expired": by["EXPIRED"], "cancelled": by["CANCELLED"], "other": 0,
            "success_percent": self._tenths(len(paid), ended),
            "median_seconds": self._nearest(took, 50), "p95_seconds": self._nearest(took, 95),
        }  # fmt: skip

    @staticmethod
    def _tenths(part: int, whole: int) -> Decimal | None:
        return Decimal((part * 2000 + whole) // (2 * whole)).scaleb(-1) if whole else None

    @staticmethod
    def _nearest(ordered: list[int], percentage: int) -> int | None:
        for place, value in enumerate(ordered, start=1):
            if place * 100 >= percentage * len(ordered):
                return value
        return None

    def reasons(self) -> Counter[tuple[str, str | None]]:
        return Counter(
            (p.status.value, p.failure_reason) for p in self.books.payments
            if self._is_of(p) and p.status not in (*_PAID, PaymentStatus.PENDING, PaymentStatus.PROCESSING)
            and _in(_day(self.books.details[p.id].created_at), self.since, self.until)
        )  # fmt: skip

    def money(self, key: str) -> dict[Any, dict[str, Any]]:
        """Return the sums by ``day``, ``method``, ``tournament`` or ``all``, and currency."""
        sums: dict[Any, dict[str, Any]] = defaultdict(lambda: defaultdict(Decimal) | {"fees": None})
        for p, at, currency, name, amount in self._moves():
            if not self._is_of(p) or not _in(_day(at), self.since, self.until):
                continue
            group = {"day": _day(at), "method": p.method, "tournament": p.tournament_id, "all": ""}[key]
            row = sums[group, currency]
            row[name] = (row[name] or Decimal(0)) + amount if name == "fees" else row[name] + amount
        for row in sums.values():
            row["before_fees"] = row["revenue"] - row["refunded"] - row["lost"]
            missing = row["payments"] - row["with_fee"]
            row["net"] = None if missing else row["before_fees"] - (row["fees"] or 0)
        return dict(sums)

    def _moves(self) -> Any:
        by_id = {p.id: p for p in self.books.payments}
        for key, d in self.books.details.items():
            p, currency = by_id[key], d.charged_currency.value
            if d.completed_at is not None:
                for name, amount in (
                    ("payments", 1), ("revenue", d.charged_amount), ("late", int(d.is_late)),
                    ("duplicates", int(d.is_duplicate)),
                ):  # fmt: skip
                    yield p, d.completed_at, currency, name, amount
            if d.dispute_state is not None:
                times = [a.at for a in self.books.audits if a.payment_id == key]
                word = "open" if d.dispute_state.is_open else d.dispute_state.value
                yield p, max(times, default=d.updated_at), currency, word, d.dispute_amount
                yield p, max(times, default=d.updated_at), currency, f"{word}_count", 1
        for r in self.books.refunds:
            if r.state is RefundState.SUCCEEDED:
                yield by_id[r.payment_id], r.updated_at, r.currency.value, "refunded", r.amount
                yield by_id[r.payment_id], r.updated_at, r.currency.value, "refunds", 1
        for s in self.books.movements:
            if s.fee is not None:
                of_payment = s.kind is LineKind.PAYMENT
                detail = self.books.details[s.payment_id]
                at = detail.completed_at if of_payment else s.at
                yield by_id[s.payment_id], at, s.currency, "fees", s.fee
                yield by_id[s.payment_id], at, detail.charged_currency.value, "with_fee", int(of_payment)

    def open_discrepancies(self) -> Counter[tuple[str, bool]]:
        by_id = {p.id: p for p in self.books.payments}
        return Counter(
            (d.kind, d.payment_id is not None) for d in self.books.discrepancies
            if d.state == "open" and (self.until is None or _day(d.opened_at) <= self.until)
            and (d.payment_id is None or self._is_of(by_id[d.payment_id]))
        )  # fmt: skip

    def _is_of(self, payment: Payment) -> bool:
        return self.tournament in (None, payment.tournament_id)


@dataclass
class Nobody:
    """A registry without providers: a report asks none."""

    def of(self, channel: Any) -> Any:
        raise AssertionError("a report asks no provider")


def desk_on(db: PaymentDatabaseService) -> AppContext:
    return AppContext(
        db, Nobody(), Keyring([new_key()]), lambda: NOW, new_id, "http://127.0.0.1", WebhookIntake(db)
    )
