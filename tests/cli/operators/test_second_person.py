"""What needs two people: refunds of a tournament, overrides, accepted discrepancies."""

from __future__ import annotations

from typing import Any

import pytest

from procomp_pay.services.refunds import bulk
from tests.cli.operators.conftest import PINS, Terminal
from tests.support.terminal import paid

_REFUND = ("refund", "--tournament", "t1", "--all", "--reason", "cancelled", "--yes")


def waiting(terminal: Terminal) -> list[Any]:
    return list(terminal.ask("operator", "approvals")["items"])


def requested(terminal: Terminal, *words: str) -> str:
    """Type what needs a second person, and return the id of the request that waits."""
    refused = terminal.ask(*words, code=6)
    [open_request] = [item for item in waiting(terminal) if item["approved_by"] is None]
    assert open_request["id"] in refused["detail"]
    assert f"procomp-pay operator approve {open_request['id']}" in refused["next_step"]
    return str(open_request["id"])


def entries(terminal: Terminal, payment_id: str, action: str) -> list[Any]:
    found = terminal.ask("audit", "show", payment_id)["entries"]
    return [entry for entry in found if entry["action"] == action]


def test_a_second_operator_approves_on_the_spot(terminal: Terminal) -> None:
    payment = paid(terminal.clerk)
    terminal.login("dana")
    terminal.with_approver(PINS["dana"], *_REFUND, "--approve", "dana", code=3)  # the same person twice
    terminal.with_approver(PINS["dana"], *_REFUND, "--approve", " DANA", code=3)
    terminal.with_approver("000111", *_REFUND, "--approve", "marat", code=3)
    terminal.with_approver(PINS["aigerim"], *_REFUND, "--approve", "aigerim", code=3)  # the role desk
    assert terminal.ask("status", "p1")["status"] == "COMPLETED"
    terminal.with_approver(PINS["marat"], *_REFUND, "--approve", "marat")
    assert terminal.ask("status", "p1")["status"] == "REFUNDED"
    [entry] = entries(terminal, payment["payment_id"], "refund_requested")
    assert (entry["actor"], entry["after"]["approved_by"]) == ("dana", "marat")
    assert terminal.ask("audit", "verify")["sound"]


def test_a_request_waits_for_another_operator(terminal: Terminal) -> None:
    paid(terminal.clerk)
    terminal.login("dana")
    request = requested(terminal, *_REFUND)
    assert requested(terminal, *_REFUND) == request  # the same one
    assert "cannot approve" in terminal.approve("dana", request, code=3)["detail"]
    terminal.login("aigerim")
    assert "needs the role" in terminal.approve("aigerim", request, code=3)["detail"]
    terminal.login("marat")
    shown = terminal.type("operator", "approvals").out
    assert "refund a whole tournament" in shown
    assert "50.00 USD" in shown.replace("\N{NO-BREAK SPACE}", " ")
    terminal.approve("marat", request)
    assert terminal.ask("status", "p1")["status"] == "COMPLETED"
    requested(terminal, *_REFUND)  # it was approved for dana, not for marat
    terminal.login("dana")
    terminal.ask(*_REFUND[:-2], "another reason", "--yes", code=6)
    terminal.ask(*_REFUND)
    assert terminal.ask("status", "p1")["status"] == "REFUNDED"


@pytest.mark.parametrize("how", ["more money", "row", "disabled", "expired"])
def test_an_approval_is_for_what_was_approved(terminal: Terminal, how: str) -> None:
    payment = paid(terminal.clerk)
    terminal.login("dana")
    request = requested(terminal, *_REFUND)
    terminal.login("marat")
    terminal.approve("marat", request)
    code = 3
    if how == "more money":
        terminal.login("aigerim")
        paid(terminal.clerk, "p2")
        code = 6
    elif how == "row":
        terminal.clerk.change(
            "UPDATE pay_approval SET content = "
            "replace(CAST(content AS TEXT), '\"50.00\"', '\"5000.00\"')"
            + ("::jsonb" if terminal.clerk.url.startswith("postgres") else "")
        )
    elif how == "disabled":
        terminal.clerk.change("UPDATE pay_operator SET disabled_at = created_at WHERE name = 'marat'")
    else:
        terminal.clerk.change("UPDATE pay_approval SET expires_at = requested_at")
        code = 6
    terminal.login("dana")
    terminal.ask(*_REFUND, code=code)
    assert terminal.ask("status", "--payment", payment["payment_id"])["status"] == "COMPLETED"


def test_a_request_that_was_changed_is_not_approved(terminal: Terminal) -> None:
    paid(terminal.clerk)
    terminal.login("dana")
    request = requested(terminal, *_REFUND)
    terminal.clerk.change(
        "UPDATE pay_approval SET content = "
        "replace(CAST(content AS TEXT), '\"50.00\"', '\"0.50\"')"
        + ("::jsonb" if terminal.clerk.url.startswith("postgres") else "")
    )
    terminal.login("marat")
    refused = terminal.approve("marat", request, code=3)
    assert "is not what was asked for" in refused["detail"]


def test_an_override_needs_a_second_operator_above_a_sum(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.login("aigerim")
    payment = terminal.ask("initiate", "p1", "--method", "kaspi_qr")["payment_id"]
    verify = ("verify-kaspi", payment, "--transaction-id", "19000000001", "--override", "--reason", "seen it",
              "--amount", "23000")  # fmt: skip
    request = requested(terminal, *verify)
    assert terminal.ask("status", "p1")["status"] == "PENDING"
    terminal.login("erlan")  # of this tournament
    terminal.approve("erlan", request)
    terminal.login("aigerim")
    terminal.ask(*verify)
    [entry] = (
        entries(terminal, payment, "completed")
        or [
            entry
            for entry in terminal.ask("audit", "show", payment)["entries"]
            if (entry["after"] or {}).get("approved_by")
        ][:1]
    )
    assert (entry["actor"], entry["after"]["approved_by"]) == ("aigerim", "erlan")
    assert terminal.ask("audit", "verify")["sound"]
    monkeypatch.setenv("APPROVE_OVERRIDES_ABOVE", "24000")
    other = terminal.ask("initiate", "p2", "--method", "kaspi_qr")["payment_id"]
    terminal.ask("verify-kaspi", other, "--transaction-id", "19000000002", "--override", "--reason", "seen",
                 "--amount", "23000")  # fmt: skip


def test_an_admin_is_not_second_to_whom_they_gave_a_pin(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    paid(terminal.clerk)
    terminal.login("marat")
    with monkeypatch.context() as patch:
        patch.setenv("PROCOMP_PIN", "837261")
        terminal.ask("operator", "pin", "dana")
    refused = terminal.with_approver("837261", *_REFUND, "--approve", "dana", "--json", code=3).json
    assert "gave dana a new PIN" in refused["detail"]
    assert terminal.ask("status", "p1")["status"] == "COMPLETED"


@pytest.mark.parametrize("by", ["marat", "robot"])
def test_two_accounts_by_token_that_one_admin_made_are_not_two_people(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    paid(terminal.clerk)
    terminal.login("marat")
    tokens: dict[str, str] = {}

    def script(name: str) -> None:
        monkeypatch.setenv("PROCOMP_OPERATOR", name)
        monkeypatch.setenv("PROCOMP_OPERATOR_TOKEN", tokens[name])

    def add(name: str, role: str) -> None:
        tokens[name] = terminal.ask("operator", "add", name, "--role", role, "--token")["token"]

    add("robot", "admin")
    if by == "robot":  # whose token marat has, too
        script("robot")
    add("cron", "finance")
    add("other", "finance")
    script("cron")
    approved = (*_REFUND, "--json", "--approve")
    refused = terminal.with_approver(tokens["other"], *approved, "other", code=3).json
    assert f"{by} gave cron and other their PINs or tokens" in refused["detail"]
    refused = terminal.with_approver(PINS["marat"], *approved, "marat", code=3).json
    assert "may know it" in refused["detail"]
    request = requested(terminal, *_REFUND)
    script("other")
    approve = ("operator", "approve", request, "--yes", "--json")
    assert "may act as both" in terminal.with_approver(tokens["other"], *approve, code=3).json["detail"]
    assert terminal.ask("status", "p1")["status"] == "COMPLETED"
    script("cron")
    terminal.with_approver(PINS["dana"], *approved, "dana")
    assert terminal.ask("status", "p1")["status"] == "REFUNDED"


def test_an_approval_needs_the_pin(terminal: Terminal) -> None:
    paid(terminal.clerk)
    terminal.login("dana")
    request = requested(terminal, *_REFUND)
    terminal.login("marat")
    terminal.with_approver(PINS["dana"], "operator", "approve", request, "--yes", code=3)
    assert waiting(terminal)[0]["approved_by"] is None


def test_an_approval_of_a_refund_is_for_its_payments_alone(terminal: Terminal) -> None:
    paid(terminal.clerk)
    terminal.login("dana")
    request = requested(terminal, *_REFUND)
    [item] = waiting(terminal)
    assert (item["payments"], len(item["payments_sha256"])) == (1, 64)
    terminal.login("marat")
    terminal.approve("marat", request)
    terminal.login("dana")
    terminal.ask(*_REFUND)
    terminal.ask(*_REFUND)  # nothing is left; a run that was stopped goes on like this
    terminal.login("aigerim")
    paid(terminal.clerk, "p2")
    terminal.login("dana")
    assert requested(terminal, *_REFUND) != request
    assert terminal.ask("status", "p2")["status"] == "COMPLETED"


def test_a_payment_that_came_after_the_approval_is_not_refunded(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    paid(terminal.clerk)
    terminal.login("dana")
    run, late = bulk.run, []

    async def run_late(ctx: Any, *given: Any, only: Any, **more: Any) -> Any:
        late.extend(only)
        return await run(ctx, *given, only={}, **more)

    monkeypatch.setattr(bulk, "run", run_late)
    report = terminal.with_approver(PINS["marat"], *_REFUND, "--approve", "marat", "--json", code=6).json
    assert [line["payment_id"] for line in report["failed"]["payments"]] == late
    assert terminal.ask("status", "p1")["status"] == "COMPLETED"


def test_an_approval_of_an_override_is_used_once(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal.login("aigerim")
    payment = terminal.ask("initiate", "p1", "--method", "kaspi_qr")["payment_id"]
    verify = ("verify-kaspi", payment, "--transaction-id", "19000000001", "--override", "--reason", "seen it")
    request = requested(terminal, *verify)
    terminal.login("erlan")
    terminal.approve("erlan", request)
    terminal.login("aigerim")
    terminal.ask(*verify)
    assert waiting(terminal) == []
    assert requested(terminal, *verify) != request


def test_an_override_is_approved_for_the_sum_that_is_booked(terminal: Terminal) -> None:
    terminal.login("aigerim")
    payment = terminal.ask("initiate", "p1", "--method", "kaspi_qr")["payment_id"]
    verify = ("verify-kaspi", payment, "--transaction-id", "19000000001", "--override", "--reason", "seen it",
              "--amount")  # fmt: skip
    first = requested(terminal, *verify, "24000")
    [item] = waiting(terminal)
    assert item["subject"]["booked"].replace("\N{NO-BREAK SPACE}", "") == "24000.00KZT"
    assert item["sums"] == {"KZT": "24000.00"}
    name = terminal.ask("status", "p1")["participant_name"]
    assert name not in str(item)
    terminal.login("erlan")
    terminal.approve("erlan", first)
    terminal.login("aigerim")
    second = requested(terminal, *verify, "1")
    assert second != first
    assert terminal.ask("status", "p1")["status"] == "PENDING"


def test_an_accepted_discrepancy_needs_a_second_operator(terminal: Terminal) -> None:
    first = paid(terminal.clerk)
    terminal.clerk.change(
        "UPDATE \"Participant\" SET status = 'REGISTERED', \"paymentId\" = NULL WHERE id = 'p1'"
    )
    second = paid(terminal.clerk)
    assert first["payment_id"] != second["payment_id"]
    terminal.login("dana")
    terminal.ask("reconcile", "--provider", "stripe", code=6)
    [item, *_] = terminal.ask("discrepancies", "list", "--limit", "50")["items"]
    resolve = ("discrepancies", "resolve", item["id"], "--how", "accept", "--note", "checked")
    requested(terminal, *resolve)
    done = terminal.with_approver(PINS["marat"], *resolve, "--approve", "marat", "--json").json
    assert (done["state"], done["resolved_by"]) == ("resolved", "dana")
    if item["payment_id"] is not None:
        [entry] = entries(terminal, item["payment_id"], "discrepancy_resolved")
        assert (entry["actor"], entry["after"]["approved_by"]) == ("dana", "marat")


def test_without_operators_nobody_can_approve(terminal: Terminal) -> None:
    terminal.clerk.change("DELETE FROM pay_operator_session")
    terminal.clerk.change("DELETE FROM pay_operator")
    refused = terminal.ask(*_REFUND, "--approve", "marat", code=3)
    assert refused["detail"] == "There are no operators, so nobody can approve"
    terminal.ask(*_REFUND)
