"""The closing of a day: its steps in order, what lets a step be passed, and who may sign."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from procomp_pay.domain.errors import Conflict, ManualReviewRequired, Refused
from procomp_pay.domain.text import N_

#: Signatures that a closing needs where there are operator accounts.
SIGNATURES = 2
#: The beginning of the account of a signature by an operator, before the operator's id.
OPERATOR = "operator:"
_LONGEST_REASON = 500


class Step(StrEnum):
    """A step of the closing, in order. The values are stored, and typed after ``--skip``."""

    PENDING = "pending"  # events, unknown outcomes, open payments and refunds
    STRIPE = "stripe"
    KASPI = "kaspi"
    PAYOUTS = "payouts"  # to the bank
    DISCREPANCIES = "discrepancies"
    REFUNDS = "refunds"  # to be made by hand in the Kaspi Pay app
    SUMS = "sums"
    CLERKS = "clerks"
    EXPORTS = "exports"  # before the sheet, which shows that they were written, and the seal, which covers it
    SHEET = "sheet"
    SEAL = "seal"
    SIGNATURES = "signatures"


#: Steps that only read our books: their result is made anew each time.
LIVE = frozenset({Step.DISCREPANCIES, Step.REFUNDS, Step.SUMS, Step.CLERKS})
#: Steps that begin when nothing before them is open.
LAST = frozenset({Step.SHEET, Step.EXPORTS, Step.SEAL, Step.SIGNATURES})


class StepState(StrEnum):
    """The state of a step. ``WAITING`` is never stored: the step has not begun."""

    WAITING = "waiting"
    OPEN = "open"
    DONE = "done"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A step as it is stored.

    :param items: what is open, by short keys that stay the same while it is: a skipped step is open again
        when another one comes.
    :param facts: what the step found, for the record; JSON without floats.
    """

    step: Step
    state: StepState = StepState.WAITING
    at: str | None = None
    by: str | None = None
    reason: str | None = None
    items: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_passed(self) -> bool:
        return self.state in (StepState.DONE, StepState.SKIPPED)

    def full(self) -> dict[str, Any]:
        """Return the document that is stored and shown by ``--json``."""
        return {
            "step": self.step.value,
            "state": self.state.value,
            "at": self.at,
            "by": self.by,
            "reason": self.reason,
            "open": list(self.items),
            "facts": dict(self.facts),
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> StepRecord:
        """Read what :meth:`full` wrote."""
        return cls(
            Step(document["step"]), StepState(document["state"]), document["at"], document["by"],
            document["reason"], tuple(document["open"]), document["facts"],
        )  # fmt: skip


def after_run(
    before: StepRecord, items: Sequence[str], facts: Mapping[str, Any], at: datetime, by: str
) -> StepRecord:
    """Return a step's record after it ran.

    A step that was skipped stays so while nothing else is open than when it was skipped.
    """
    open_items = tuple(sorted(items))
    if before.state is StepState.SKIPPED and open_items and set(open_items) <= set(before.items):
        return before
    state = StepState.OPEN if open_items else StepState.DONE
    if (before.state, before.items, dict(before.facts)) == (state, open_items, dict(facts)):
        return before  # nothing changed: neither does who found it, and when
    return StepRecord(before.step, state, at.isoformat(), by, None, open_items, facts)


def skipped(before: StepRecord, reason: str, at: datetime, by: str) -> StepRecord:
    """Return a step's record after a person skipped it.

    :raises Refused: no reason, or the step cannot be skipped.
    """
    if before.step is Step.SIGNATURES:
        raise Refused(N_("Signatures cannot be skipped"), next_step="procomp-pay close --sign")
    if not reason.strip() or len(reason) > _LONGEST_REASON or not reason.isprintable():
        raise Refused(
            N_("A reason is 1 to %(most)s printable characters", most=_LONGEST_REASON),
            next_step=f'procomp-pay close --skip {before.step} --reason "…"',
        )
    return StepRecord(
        before.step, StepState.SKIPPED, at.isoformat(), by, reason.strip(), before.items, before.facts
    )


def open_steps(records: Iterable[StepRecord]) -> list[Step]:
    """Return the steps before the signatures that are neither done nor skipped, in order."""
    passed = {record.step for record in records if record.is_passed}
    return [step for step in Step if step is not Step.SIGNATURES and step not in passed]


def may_begin(step: Step, records: Iterable[StepRecord]) -> bool:
    """Return whether a step may run: the last ones wait for all before them."""
    steps = list(Step)
    return step not in LAST or not any(steps.index(left) < steps.index(step) for left in open_steps(records))


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs.

    :param account: ``operator:ID`` of an account whose PIN or token was checked, or ``user:NAME``, the user
        of the operating system; never a typed name.
    """

    account: str
    name: str


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature under the figures that have this digest."""

    account: str
    name: str
    at: str
    digest: str

    def full(self) -> dict[str, str]:
        return {"account": self.account, "name": self.name, "at": self.at, "digest": self.digest}


def of_operators(signatures: Iterable[Signature]) -> int:
    """Count the signatures of operator accounts; a user of the operating system is none of the two."""
    return sum(signature.account.startswith(OPERATOR) for signature in signatures)


def signed_by(
    signer: Signer,
    before: Sequence[Signature],
    digest: str,
    at: datetime,
    records: Iterable[StepRecord] | None,
) -> tuple[Signature, ...]:
    """Return the signatures after one more. Those under other figures than today's no longer count.

    :param records: ``None`` where the day is closed: no step is open in it, also not one that came later.
    :raises ManualReviewRequired: a step is open. :raises Conflict: it is closed already, or the same person
        has signed.
    """
    if records is not None and (left := open_steps(records)):
        raise ManualReviewRequired(
            N_("It cannot be signed yet: open are %(steps)s", steps=", ".join(left)),
            next_step=f'procomp-pay close; or: procomp-pay close --skip {left[0]} --reason "…"',
        )
    if of_operators(before) >= SIGNATURES:
        raise already_signed(before)
    valid = tuple(signature for signature in before if signature.digest == digest)
    if any(signature.account == signer.account for signature in valid):
        raise Conflict(
            N_("%(name)s has signed already: the second signature is another person's", name=signer.name),
            next_step=N_("another operator types: procomp-pay close --sign"),
        )
    return (*valid, Signature(signer.account, signer.name, at.isoformat(), digest))


def already_signed(signatures: Sequence[Signature]) -> Conflict:
    """Return the error of a closed day."""
    names = ", ".join(signature.name for signature in signatures)
    return Conflict(
        N_("It is closed already, signed by %(names)s", names=names), next_step="procomp-pay close"
    )
