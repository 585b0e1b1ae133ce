"""The outcomes of an HTTP receiver's answers, and what is never sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from procomp_pay.domain.notifications import DeliveryOutcome
from procomp_pay.providers.notifications.http_hooks import ChatHook, Hook
from tests.support.receivers import Receiver, receiver

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


@pytest.fixture
async def hooked() -> AsyncIterator[tuple[Hook, Receiver]]:
    async with receiver() as made:
        hook = Hook(f"{made.url}/services/T0/B0/hush")
        yield hook, made
        await hook.aclose()


@pytest.mark.parametrize(
    ("says", "outcome", "asked_s"),
    [
        (204, DeliveryOutcome.DELIVERED, None),
        (200, DeliveryOutcome.DELIVERED, None),
        (400, DeliveryOutcome.REFUSED, None),
        (401, DeliveryOutcome.REFUSED, None),
        (404, DeliveryOutcome.REFUSED, None),
        (410, DeliveryOutcome.REFUSED, None),
        (408, DeliveryOutcome.AGAIN, None),
        (425, DeliveryOutcome.AGAIN, None),
        ((429, {"Retry-After": "7"}), DeliveryOutcome.AGAIN, 7),
        ((503, {"Retry-After": "Mon, 23 Nov 2026 09:31:00 GMT"}), DeliveryOutcome.AGAIN, 60),
        ((503, {"Retry-After": "Sun, 22 Nov 2026 09:31:00 GMT"}), DeliveryOutcome.AGAIN, 0),
        ((503, {"Retry-After": "soon"}), DeliveryOutcome.AGAIN, None),
        (500, DeliveryOutcome.AGAIN, None),
    ],
)
async def test_outcome_by_status_code(
    hooked: tuple[Hook, Receiver], says: Any, outcome: DeliveryOutcome, asked_s: int | None
) -> None:
    hook, other = hooked
    other.says = [says]
    answer = await hook.post("{}", {}, NOW)
    assert (answer.outcome, answer.retry_after_s) == (outcome, asked_s)
    assert "hush" not in answer.text


async def test_a_receiver_that_does_not_answer_is_tried_again(hooked: tuple[Hook, Receiver]) -> None:
    _, other = hooked
    other.says = ["hang"]
    hook = Hook(f"{other.url}/services/T0/B0/hush", total_s=0.2)
    answer = await hook.post("{}", {}, NOW)
    await hook.aclose()
    assert (answer.outcome, answer.text) == (DeliveryOutcome.AGAIN, "127.0.0.1 did not answer in time")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_not_followed(hooked: tuple[Hook, Receiver], status: int) -> None:
    hook, other = hooked
    other.says = [(status, {"Location": f"{other.url}/elsewhere"})]
    answer = await hook.post("{}", {}, NOW)
    assert (answer.outcome, len(other.refused), other.got) == (DeliveryOutcome.REFUSED, 1, [])
    assert "redirect" in answer.text


async def test_an_unreachable_receiver_is_a_temporary_failure() -> None:
    hook = Hook("http://127.0.0.1:9/x")
    assert (await hook.post("{}", {}, NOW)).outcome is DeliveryOutcome.AGAIN
    await hook.aclose()


async def test_chat_messages_are_sent_as_text(hooked: tuple[Hook, Receiver]) -> None:
    hook, other = hooked
    await ChatHook(hook).send("*Әсел*", NOW)
    [(headers, body)] = other.got
    assert (headers["content-type"], body.decode()) == ("application/json", '{"text": "*Әсел*"}')
