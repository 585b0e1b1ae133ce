from __future__ import annotations

from datetime import UTC, datetime

import pytest

from procomp_pay.domain.closing import (
    LAST,
    Signature,
    Signer,
    Step,
    StepRecord,
    StepState,
    after_run,
    may_begin,
    open_steps,
    signed_by,
    skipped,
)
from procomp_pay.domain.errors import Conflict, ManualReviewRequired, Refused

NOW = datetime(2026, 5, 1, 20, 0, tzinfo=UTC)
AIGERIM, DIAS = Signer("operator:1", "Aigerim"), Signer("operator:2", "Dias")
DONE = [StepRecord(step, StepState.DONE) for step in Step if step is not Step.SIGNATURES]


def test_a_step_is_done_when_nothing_is_open() -> None:
    begun = after_run(StepRecord(Step.SUMS), ["b", "a"], {"n": 2}, NOW, "aigerim")
    assert (begun.state, begun.items, begun.by) == (StepState.OPEN, ("a", "b"), "aigerim")
    assert after_run(begun, ["a", "b"], {"n": 2}, NOW, "dias") is begun
    assert after_run(begun, [], {}, NOW, "dias").state is StepState.DONE
    assert StepRecord.of(begun.full()) == begun


def test_a_skipped_step_opens_when_something_else_is_open() -> None:
    passed = skipped(after_run(StepRecord(Step.DISCREPANCIES), ["a"], {}, NOW, "x"), "tomorrow", NOW, "dias")
    assert after_run(passed, ["a"], {}, NOW, "x") is passed
    opened = after_run(passed, ["a", "b"], {}, NOW, "x")
    assert (opened.state, opened.reason) == (StepState.OPEN, None)
    assert after_run(passed, [], {}, NOW, "x").state is StepState.DONE


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines", "x" * 501])
def test_a_skip_needs_a_reason(reason: str) -> None:
    with pytest.raises(Refused):
        skipped(StepRecord(Step.KASPI), reason, NOW, "dias")


def test_signatures_cannot_be_skipped() -> None:
    with pytest.raises(Refused, match="cannot be skipped"):
        skipped(StepRecord(Step.SIGNATURES), "in a hurry", NOW, "dias")


def test_the_last_steps_wait_for_all_before_them() -> None:
    left = [record for record in DONE if record.step is not Step.KASPI]
    assert open_steps(left) == [Step.KASPI]
    assert not any(may_begin(step, left) for step in LAST)
    assert all(may_begin(step, DONE) for step in Step)


def test_two_people_sign_the_same_figures() -> None:
    first = signed_by(AIGERIM, (), "digest", NOW, DONE)
    with pytest.raises(Conflict, match="another person"):
        signed_by(AIGERIM, first, "digest", NOW, DONE)
    both = signed_by(DIAS, first, "digest", NOW, DONE)
    assert [signature.name for signature in both] == ["Aigerim", "Dias"]
    with pytest.raises(Conflict, match="closed already"):
        signed_by(Signer("operator:3", "Bekzat"), both, "digest", NOW, DONE)


def test_the_same_person_under_another_name_is_the_same() -> None:
    first = signed_by(AIGERIM, (), "digest", NOW, DONE)
    with pytest.raises(Conflict):
        signed_by(Signer(AIGERIM.account, "Dias"), first, "digest", NOW, DONE)


def test_a_signature_under_other_figures_does_not_count() -> None:
    first = signed_by(AIGERIM, (), "yesterday", NOW, DONE)
    assert signed_by(DIAS, first, "today", NOW, DONE) == (
        Signature("operator:2", "Dias", NOW.isoformat(), "today"),
    )


def test_nobody_signs_while_a_step_is_open() -> None:
    with pytest.raises(ManualReviewRequired, match="seal"):
        signed_by(AIGERIM, (), "digest", NOW, [record for record in DONE if record.step is not Step.SEAL])
