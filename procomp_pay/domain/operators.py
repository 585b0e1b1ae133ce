"""Decide who may do what at the terminal, what needs a second person, and what locks an account."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from procomp_pay.domain.errors import Forbidden, Refused
from procomp_pay.domain.money import Money
from procomp_pay.domain.names import same_key
from procomp_pay.domain.text import N_

#: Wrong PINs in a row that lock an account, and for how long.
MOST_WRONG_PINS = 10
LOCK_TIME = timedelta(minutes=15)
#: How long a lock does not stop the user of the operating system from whom somebody has logged in.
KNOWN_FOR = timedelta(days=90)
#: How long a login lasts, and how long a second person's approval holds.
SHIFT = timedelta(hours=12)
APPROVAL_TIME = timedelta(hours=24)
_LONGEST_NAME = 80
_SHORTEST_PIN, _LONGEST_PIN = 6, 128
_SEQUENCES = ("01234567890", "09876543210")


class Role(StrEnum):
    """The role of an operator. Each may do what the ones before it may."""

    DESK = "desk"
    FINANCE = "finance"
    ADMIN = "admin"


class Right(StrEnum):
    """What a command needs."""

    DESK = "desk"  # start, verify, cancel and refund single payments; registrations
    FINANCE = "finance"  # reconcile, reports, refunds of whole tournaments, discrepancies
    CLOSE = "close"  # sign the closing of a day
    ADMIN = "admin"  # operators, keys, archives, personal data


class SecretKind(StrEnum):
    """What an operator logs in with."""

    PIN = "pin"  # typed by a person: wrong ones are counted
    TOKEN = "token"  # noqa: S105 - long and random, for scripts


class ApprovalAction(StrEnum):
    """What needs a second person."""

    REFUND_ALL = "refund_all"
    OVERRIDE = "override"
    WRITE_OFF = "write_off"


_LEAST = {
    Right.DESK: Role.DESK,
    Right.FINANCE: Role.FINANCE,
    Right.CLOSE: Role.FINANCE,
    Right.ADMIN: Role.ADMIN,
}


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator whose login was checked.

    :param tournaments: the only ones that are theirs; ``None`` for all.
    :param secret_hash: of the PIN or token that was checked: a new one ends what was begun with it.
    """

    operator_id: str
    name: str
    role: Role
    tournaments: frozenset[str] | None = None
    secret_hash: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who a command says it is, and what proves it.

    :param name: as typed, from the environment or from the file of the login.
    :param token: of the file of the login; ``None`` where there is none.
    :param secret: an operator's token from the environment, for scripts.
    :param os_user: the user of the operating system.
    """

    name: str
    os_user: str
    token: str | None = field(default=None, repr=False)
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """The sums above which more is asked of an operator.

    :param override: tenge; a verification against a failed check above it needs a second person.
    :param desk_refund: the most that the role ``desk`` gives back of one payment, by currency; a currency
        that is not listed has no limit.
    """

    override: Decimal = Decimal(0)
    desk_refund: Mapping[str, Decimal] = field(default_factory=dict)


def allows(role: Role, right: Right) -> bool:
    """Return whether a role has a right."""
    roles = list(Role)
    return roles.index(role) >= roles.index(_LEAST[right])


def require(operator: Operator | None, right: Right, *tournament_ids: str | None) -> None:
    """Check that an operator may do something.

    :param operator: ``None`` where there are no operators: everything is allowed.
    :param tournament_ids: the tournaments that it concerns; ``None`` for all of them or for none in
        particular. Without any, only the role is checked.
    :raises Forbidden: the role has not the right, or a tournament is not theirs.
    """
    if operator is None:
        return
    if not allows(operator.role, right):
        raise Forbidden(
            N_(
                "%(name)s has the role %(role)s; this needs the role %(needed)s",
                name=operator.name, role=operator.role.value, needed=_LEAST[right].value,
            ),
            next_step=N_("log in as somebody who may: procomp-pay operator login NAME"),
        )  # fmt: skip
    if operator.tournaments is None:
        return
    for tournament_id in tournament_ids:
        if tournament_id is None:
            raise Forbidden(
                N_("%(name)s may do this only for their own tournaments", name=operator.name),
                next_step=N_("name the tournament, or ask an operator of all tournaments"),
            )
        if tournament_id not in operator.tournaments:
            raise Forbidden(
                N_(
                    "Tournament %(tournament)s is not one of %(name)s's",
                    tournament=tournament_id, name=operator.name,
                ),
                next_step=N_("log in as somebody who may: procomp-pay operator login NAME"),
            )  # fmt: skip


def check_desk_refund(operator: Operator | None, money: Money, limits: Limits) -> None:
    """Check that an operator may give this much back.

    :raises Forbidden: it is more than the role ``desk`` may.
    """
    most = limits.desk_refund.get(money.currency.value)
    if operator is None or operator.role is not Role.DESK or most is None or money.amount <= most:
        return
    raise Forbidden(
        N_(
            "The role desk refunds at most %(most)s of a payment, this is %(money)s",
            most=Money(most, money.currency), money=money,
        ),
        next_step=N_("ask an operator with the role finance"),
    )  # fmt: skip


def needs_second_person(operator: Operator | None, approved_by: str | None) -> None:
    """Check that somebody else approved what one operator must not do alone.

    :raises Forbidden: nobody did, or it was the operator.
    """
    if operator is None:
        return
    if approved_by is None:
        raise Forbidden(
            N_("This needs the approval of a second operator"),
            next_step=N_("type the command with --approve NAME"),
        )
    check_second(operator.name, approved_by)


def check_second(name: str, approver: str) -> None:
    """Check that two operators are two.

    :raises Forbidden: they are the same.
    """
    if folded(name) == folded(approver):
        raise Forbidden(
            N_("%(name)s cannot approve what %(name)s does: a second person has to", name=name),
            next_step=N_("add --approve with the name of another operator"),
        )


def folded(name: str) -> str:
    """Return a name as it is compared: two operators must not differ only by case or spaces."""
    return same_key(name)


def check_name(name: str) -> str:
    """Return an operator's name without spaces at its ends.

    :raises Refused: it cannot be shown in the audit trail.
    """
    if not folded(name) or len(name) > _LONGEST_NAME or not name.isprintable():
        raise Refused(
            N_("An operator's name is 1 to 80 printable characters"), next_step=N_("type another name")
        )
    return name.strip()


def check_pin(pin: str) -> None:
    """Check a new PIN.

    :raises Refused: it is too short or too easy. Never shows it.
    """
    if not _SHORTEST_PIN <= len(pin) <= _LONGEST_PIN or not pin.isprintable():
        raise Refused(
            N_("A PIN has %(least)s to %(most)s characters", least=_SHORTEST_PIN, most=_LONGEST_PIN),
            next_step=N_("choose a longer one; letters are allowed"),
        )
    if len(set(pin)) == 1 or any(pin in sequence for sequence in _SEQUENCES):
        raise Refused(
            N_("This PIN is too easy to guess"), next_step=N_("do not use one digit or digits in order")
        )


def locked_until(attempts: int, now: datetime) -> datetime | None:
    """Return until when an account is locked after so many wrong PINs; ``None`` if it is not."""
    return now + LOCK_TIME if attempts >= MOST_WRONG_PINS else None


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """What a second person approves: exactly this, and not more money.

    :param subject: what is done, to what and why: text by name.
    :param sums: how much, by currency.
    :param right: what the second person needs, too.
    :param payments: the only payments that it concerns, with the amount of each; empty where the
        subject says it.
    """

    action: ApprovalAction
    subject: Mapping[str, str]
    sums: Mapping[str, Decimal]
    right: Right
    tournament_id: str | None = None
    payments: Mapping[str, Decimal] = field(default_factory=dict)

    def content(self) -> dict[str, object]:
        """Return the request as a JSON document without floats."""
        content: dict[str, object] = {
            "action": self.action.value,
            "subject": dict(self.subject),
            "sums": {currency: str(amount) for currency, amount in self.sums.items()},
            "right": self.right.value,
            "tournament_id": self.tournament_id,
        }
        if self.payments:
            content["payments"] = {payment: str(amount) for payment, amount in self.payments.items()}
        return content

    @property
    def subject_hash(self) -> str:
        """The hash of what is done, without the sums and the payments."""
        return fingerprint({**replace(self, payments={}).content(), "sums": None})

    @property
    def is_used_once(self) -> bool:
        """Whether an approval ends when it is used. A refund of a tournament may be stopped and go on: its
        approval is for its payments alone, each of which is refunded once.
        """
        return self.action is not ApprovalAction.REFUND_ALL

    def is_covered_by(self, content: Mapping[str, Any]) -> bool:
        """Return whether it is at most what was approved: no more money, and no other payment."""
        return all(
            amount <= Decimal(approved.get(name, "-1"))
            for asked, approved in (
                (self.sums, content["sums"]),
                (self.payments, content.get("payments", {})),
            )
            for name, amount in asked.items()
        )


def in_short(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a request with the number and the fingerprint of its payments in their place."""
    if "payments" not in content:
        return dict(content)
    payments = content["payments"]
    return {**content, "payments": len(payments), "payments_sha256": fingerprint(payments)}


def fingerprint(content: Mapping[str, object]) -> str:
    """Return the SHA-256 of a document of texts."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
