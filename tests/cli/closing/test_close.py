"""``close`` as it is typed, on both databases: open steps, skips, two signatures."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from procomp_pay.cli.closing import command
from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.context import load_settings, run_with_context
from procomp_pay.domain.closing import Signer, Step
from procomp_pay.domain.errors import Conflict
from procomp_pay.domain.events import Source
from procomp_pay.domain.states import Channel, PaymentMethod
from procomp_pay.services.closing import close_day, signing
from procomp_pay.services.closing.closing import CloseRequest, Closing
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.initiation.initiate import initiate
from procomp_pay.services.initiation.request import InitiateRequest
from procomp_pay.storage.closing import day as queries
from tests.support.patience import PATIENCE_S
from tests.support.pseudo_terminal import pseudo_terminal
from tests.support.terminal import CommandLine

#: What a clerk types, with a folder for the exports.
CLOSE = ("close", "--exports", "exports")
TWO = [Signer("operator:1", "Aigerim"), Signer("operator:2", "Dias")]


@pytest.fixture(autouse=True)
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a time zone in which no midnight comes while a test runs."""
    from datetime import UTC, datetime

    ahead = 12 - datetime.now(UTC).hour
    monkeypatch.setenv("REPORT_TIMEZONE", f"Etc/GMT{-ahead:+d}" if ahead else "Etc/GMT")


def pay(clerk: CommandLine, participant: str, method: str) -> Any:
    money = () if method == "kaspi_qr" else ("--amount", "50", "--currency", "USD")
    payment = clerk.ask("initiate", participant, "--method", method, *money)
    clerk.pay(payment, "pay" if method == "kaspi_qr" else method)
    return payment


def until(condition: Callable[[Any], bool], ask: Callable[[], Any]) -> Any:
    """Ask once in a second until a condition is met: Stripe lists in the next one what moved in this one."""
    for _ in range(5):
        time.sleep(1 - time.time() % 1)
        if condition(answer := ask()):
            break
    return answer


def ready(clerk: CommandLine) -> Any:
    """Close until only signatures are open."""
    return until(lambda closing: closing["open"] == ["signatures"], lambda: clerk.ask(*CLOSE, code=6))


def sign_as(signer: Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sign as somebody who has no account: those of real accounts are in tests/cli/operators."""

    async def signers(*_: Any) -> tuple[list[Signer], bool]:
        return [signer], False

    async def check_two(*_: Any) -> None:
        pass

    monkeypatch.setattr(command, "_signers", signers)
    monkeypatch.setattr(signing, "_check_two", check_two)


def states(closing: Any) -> dict[str, str]:
    return {step["step"]: step["state"] for step in closing["steps"]}


def test_two_people_close_a_day(clerk: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    pay(clerk, "p1", "apple_pay")
    closing = ready(clerk)
    assert closing["open"] == ["signatures"]
    [line] = closing["figures"]["sums"]
    assert (line["ours"]["paid"], line["provider"]["paid"], line["difference"]) == (50, 50, 0)
    assert {path.name.split(".")[1] for path in (clerk.home / "closings").iterdir()} == {"html", "xlsx"}
    sign_as(TWO[0], monkeypatch)
    assert clerk.ask(*CLOSE, "--sign", code=6)["open"] == ["signatures"]
    refused = clerk.type(*CLOSE, "--sign", code=3)
    assert "another person" in refused.err
    sign_as(TWO[1], monkeypatch)
    done = clerk.ask(*CLOSE, "--sign")
    assert (done["state"], [each["name"] for each in done["signatures"]]) == ("closed", ["Aigerim", "Dias"])
    assert not done["second_signature_missing"]
    assert clerk.ask(*CLOSE)["signed"] == done["signed"]
    clerk.type("audit", "verify")


def test_a_signature_does_not_count_when_the_figures_change(
    clerk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = pay(clerk, "p1", "apple_pay")
    ready(clerk)
    sign_as(TWO[0], monkeypatch)
    clerk.ask(*CLOSE, "--sign", code=6)
    clerk.type("refund", payment["payment_id"], "--amount", "10", "--reason", "part", "--yes")
    ready(clerk)
    sign_as(TWO[1], monkeypatch)
    assert [each["name"] for each in clerk.ask(*CLOSE, "--sign", code=6)["signatures"]] == ["Dias"]
    sign_as(TWO[0], monkeypatch)
    assert clerk.ask(*CLOSE, "--sign")["state"] == "closed"


def test_a_signature_is_of_the_user_of_the_system(
    sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER", "director")
    monkeypatch.setenv("LOGNAME", "director")
    closing = sqlite_clerk.ask(*CLOSE, "--sign", "--as", "director")
    [signature] = closing["signatures"]
    assert signature["account"].startswith("user:")
    assert "director" not in signature["account"]
    assert closing["second_signature_missing"]
    assert "second signature is missing" in sqlite_clerk.type(*CLOSE).err


def test_a_step_is_skipped_with_a_reason(sqlite_clerk: CommandLine) -> None:
    pay(sqlite_clerk, "p1", "kaspi_qr")
    closing = sqlite_clerk.ask(*CLOSE, code=6)
    assert states(closing)["kaspi"] == "open"
    unseen = "Kaspi QR KZT: Payments of which no record of the provider was read yet: 1."
    told = sqlite_clerk.type("close", code=6)
    assert unseen in told.out
    assert "--kaspi-statement FILE" in told.err
    sqlite_clerk.type("close", "--skip", "kaspi", code=2)
    sqlite_clerk.type("close", "--skip", "clerks", "--reason", "why", code=3)
    words = ("--skip", "kaspi", "--skip", "sums", "--reason", "no statement before tomorrow")
    skipped = sqlite_clerk.ask(*CLOSE, *words, code=6)
    assert skipped["open"] == ["signatures"]
    [record] = [step for step in skipped["steps"] if step["step"] == "kaspi"]
    assert (record["reason"], record["by"]) == ("no statement before tomorrow", "aigerim")
    assert sqlite_clerk.ask(*CLOSE, "--sign")["state"] == "closed"


def test_what_was_typed_before_a_question_is_no_answer_to_it(sqlite_clerk: CommandLine) -> None:
    pay(sqlite_clerk, "p1", "kaspi_qr")
    with pseudo_terminal(sqlite_clerk, "close", typed_ahead="\nall is well\n" * 9) as screen:
        screen.wait_for("Statement file (Enter for none): ")
        screen.type("\n")
        screen.wait_for("Reason to skip this step (Enter to leave it open): ")
        assert screen.interrupt() == 130
    assert "skipped" not in states(sqlite_clerk.ask("close", code=6)).values()


def test_a_closing_goes_on_in_the_time_zone_in_which_it_was_begun(
    sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pay(sqlite_clerk, "p1", "apple_pay")
    begun = ready(sqlite_clerk)
    # in this zone the date of the payment is the one before, or the one after
    monkeypatch.setenv("REPORT_TIMEZONE", "Etc/GMT+12" if "-" in begun["timezone"] else "Etc/GMT-14")
    later = sqlite_clerk.ask(*CLOSE, "--date", begun["day"], code=6)
    assert (later["closing_id"], later["timezone"]) == (begun["closing_id"], begun["timezone"])
    assert later["figures"]["sums"] == begun["figures"]["sums"]
    assert later["open"] == ["signatures"]


def test_a_payment_after_the_closing_is_a_new_line(sqlite_clerk: CommandLine) -> None:
    signed = sqlite_clerk.ask(*CLOSE, "--sign")["signed"]
    pay(sqlite_clerk, "p1", "apple_pay")

    def reconciled() -> Any:
        sqlite_clerk.type("reconcile", "--provider", "stripe")
        return sqlite_clerk.ask(*CLOSE)

    later = until(lambda closing: len(closing["since_closing"]) == 3, reconciled)
    assert later["signed"] == signed
    assert [(each["what"], each["difference"]) for each in later["since_closing"]] == [
        ("paid", 50), ("paid at the provider", 50), ("provider fees", later["since_closing"][2]["now"]),
    ]  # fmt: skip


def statement(clerk: CommandLine, path: Path, **query: str) -> bytes:
    answer = httpx.get(
        f"{clerk.providers.url}/_sandbox/kaspi/statement.csv", params=query, verify=False, timeout=PATIENCE_S
    )
    path.write_bytes(answer.raise_for_status().content)
    return answer.content


def test_a_statement_of_other_days_is_refused(sqlite_clerk: CommandLine, tmp_path: Path) -> None:
    pay(sqlite_clerk, "p1", "kaspi_qr")
    file = tmp_path / "old.csv"
    text = statement(sqlite_clerk, file).decode("utf-8-sig")
    older = re.sub(r"(Период;\d\d\.\d\d\.)\d{4}( - \d\d\.\d\d\.)\d{4}", r"\g<1>2025\g<2>2025", text)
    assert older != text
    file.write_text(older, "utf-8")
    refused = sqlite_clerk.type("close", "--kaspi-statement", str(file), code=3)
    assert "nothing was compared" in refused.err
    sqlite_clerk.change("DELETE FROM pay_closing")
    assert not sqlite_clerk.ask("discrepancies", "list")["items"]


def test_a_statement_without_the_payments_of_the_day(sqlite_clerk: CommandLine, tmp_path: Path) -> None:
    pay(sqlite_clerk, "p1", "kaspi_qr")
    sqlite_clerk.type("reconcile", "--provider", "kaspi")
    statement(sqlite_clerk, tmp_path / "empty.csv", since="0", until="1")
    closing = sqlite_clerk.ask("close", "--kaspi-statement", str(tmp_path / "empty.csv"), code=6)
    assert states(closing)["kaspi"] == "open"


def test_a_day_that_has_not_begun(sqlite_clerk: CommandLine) -> None:
    assert "has not begun" in sqlite_clerk.type("close", "--date", "2099-01-01", code=3).err


def test_one_tournament(sqlite_clerk: CommandLine) -> None:
    pay(sqlite_clerk, "p1", "apple_pay")
    tournament = sqlite_clerk.ask("status", "p1")["tournament_id"]
    own = sqlite_clerk.ask("close", "--tournament", tournament, code=6)
    assert own["tournament"]["tournament_id"] == tournament
    assert sqlite_clerk.ask(*CLOSE, code=6)["closing_id"] != own["closing_id"]


def test_users_of_the_app_are_not_named_on_the_sheet(sqlite_clerk: CommandLine) -> None:
    request = InitiateRequest("p1", PaymentMethod.APPLE_PAY, Channel.STRIPE_CHECKOUT)
    run_with_context(lambda ctx: initiate(ctx, request, Actor("u-of-the-app", Source.APP)))
    sqlite_clerk.pay(sqlite_clerk.ask("status", "p1"), "apple_pay")
    ready(sqlite_clerk)
    [sheet] = (sqlite_clerk.home / "closings").glob("*.html")
    assert "(the app)" in sheet.read_text()
    assert "u-of-the-app" not in sheet.read_text()


def test_a_skipped_step_opens_again_for_another_payment(sqlite_clerk: CommandLine) -> None:
    sqlite_clerk.ask("initiate", "p1", "--method", "kaspi_qr")
    skipped = sqlite_clerk.ask("close", "--skip", "pending", "--reason", "only p1", code=6)
    assert states(skipped)["pending"] == "skipped"
    assert states(sqlite_clerk.ask(*CLOSE, code=6))["pending"] == "skipped"
    sqlite_clerk.ask("initiate", "p2", "--method", "kaspi_qr")
    assert "open are pending" in sqlite_clerk.type(*CLOSE, "--sign", code=6).err
    assert states(sqlite_clerk.ask(*CLOSE, code=6))["pending"] == "open"


def test_a_list_that_is_cut_leaves_its_step_open(
    sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "MOST", 2)
    for participant in ("p1", "p2", "p3"):
        sqlite_clerk.ask("initiate", participant, "--method", "kaspi_qr")
    for _ in range(2):
        closing = sqlite_clerk.ask("close", "--skip", "pending", "--reason", "all known", code=6)
        assert states(closing)["pending"] == "open"
    assert "not all is listed" in sqlite_clerk.type("close", code=6).out


def test_what_changes_while_it_is_signed_is_not_signed(
    sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sqlite_clerk.ask(*CLOSE, code=6)["open"] == ["signatures"]

    async def slow(*_: Any) -> tuple[list[Signer], bool]:
        await asyncio.to_thread(
            sqlite_clerk.change,
            "INSERT INTO pay_discrepancy (id, kind, state, provider, fingerprint, detail, opened_at,"
            " last_seen_at) SELECT 'd1', 'MISSING_LOCALLY', 'open', 'stripe', 'stripe:MISSING_LOCALLY:x',"
            " '{}', begun_at, begun_at FROM pay_closing",
        )
        return TWO, False

    monkeypatch.setattr(command, "_signers", slow)
    assert "nothing is signed" in sqlite_clerk.type(*CLOSE, "--sign", code=3).err
    closing = sqlite_clerk.ask(*CLOSE, code=6)
    assert (states(closing)["discrepancies"], closing["signatures"]) == ("open", [])


def test_nothing_is_skipped_after_the_signature(sqlite_clerk: CommandLine) -> None:
    sqlite_clerk.ask("initiate", "p1", "--method", "kaspi_qr")

    async def exported(*_: Any) -> list[Any]:
        return []

    request, actor = (
        CloseRequest(command._day(None, load_settings())),
        Actor("aigerim", Source.PERSON),
    )

    async def work(ctx: AppContext) -> Closing:
        mine = await close_day.begin(ctx, request, actor)
        await close_day.advance(ctx, mine, request, actor)
        theirs = await close_day.begin(ctx, request, actor)
        await close_day.skip(ctx, theirs, Step.PENDING, "theirs", actor)
        whole = replace(request, sheet=lambda _: [], exporter=exported, exports="x")
        await close_day.advance(ctx, theirs, whole, actor)
        await signing.sign(ctx, theirs, Signer("user:x", "x"), alone=True)
        with pytest.raises(Conflict):
            await close_day.skip(ctx, mine, Step.PENDING, "mine", actor)
        return await close_day.begin(ctx, request, actor)

    closed = run_with_context(work)
    assert (closed.is_closed, closed.steps[Step.PENDING].reason) == (True, "theirs")


def test_a_user_is_none_of_the_two_operators(
    sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sqlite_clerk.ask(*CLOSE, "--sign")["state"] == "closed"
    sign_as(TWO[0], monkeypatch)
    one = sqlite_clerk.ask(*CLOSE, "--sign")
    assert (len(one["signatures"]), one["second_signature_missing"]) == (2, True)
    sign_as(TWO[1], monkeypatch)
    assert not sqlite_clerk.ask(*CLOSE, "--sign")["second_signature_missing"]


def test_the_sheet_of_a_closed_day_is_written_again(sqlite_clerk: CommandLine) -> None:
    sqlite_clerk.ask(*CLOSE, "--sign")
    [page] = (sqlite_clerk.home / "closings").glob("*.html")
    page.write_text("unsigned")
    sqlite_clerk.ask(*CLOSE)
    assert "Closed, signed by" in page.read_text("utf-8")


def test_a_second_person_signs_a_closing_from_before_a_step(
    sqlite_clerk: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(sqlite_clerk)
    assert sqlite_clerk.ask(*CLOSE, "--sign")["second_signature_missing"]
    sqlite_clerk.change("UPDATE pay_closing SET steps = json_remove(steps, '$.payouts', '$.exports')")
    assert not {"payouts", "exports"} & states(sqlite_clerk.ask("close")).keys()
    assert "to do" not in sqlite_clerk.type("close").out
    sign_as(TWO[0], monkeypatch)
    sqlite_clerk.ask(*CLOSE, "--sign")
    sign_as(TWO[1], monkeypatch)
    assert not sqlite_clerk.ask(*CLOSE, "--sign")["second_signature_missing"]


def test_a_key_without_a_right_leaves_stripe_open(sqlite_clerk: CommandLine) -> None:
    pay(sqlite_clerk, "p1", "apple_pay")
    sqlite_clerk.providers.fault(path="/v1/balance_transactions", kind="status", status=403, times=100)
    closing = sqlite_clerk.ask(*CLOSE, code=6)
    [record] = [step for step in closing["steps"] if step["step"] == "stripe"]
    assert record["state"] == "open"
    assert "lacks a permission" in record["open"][0]


def test_a_terminal_asks_again_for_what_was_mistyped(
    sqlite_clerk: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pay(sqlite_clerk, "p1", "kaspi_qr")
    answers = iter([str(tmp_path), "none.csv", "", "x" * 501, "", "no statement"])
    asked = []

    def answer(question: str, **_: Any) -> str:
        asked.append(question.partition(" ")[0])
        return next(answers, "")

    with monkeypatch.context() as patch:
        patch.setattr(console, "is_interactive", lambda: True)
        patch.setattr(console, "prompt", answer)
        sqlite_clerk.type(*CLOSE, code=6)
    assert states(sqlite_clerk.ask(*CLOSE, code=6))["kaspi"] == "skipped"
    assert asked[:6] == ["Statement", "Statement", "Statement", "Reason", "Statement", "Reason"]


def test_an_open_step_is_asked_about_with_what_is_open(sqlite_clerk: CommandLine) -> None:
    payment = sqlite_clerk.ask("initiate", "p1", "--method", "kaspi_qr")
    with pseudo_terminal(sqlite_clerk, *CLOSE, columns=60) as terminal:
        terminal.wait_for("Reason to skip this step")
        assert payment["payment_id"] in terminal.output
        assert payment["participant_name"] in terminal.output
        assert terminal.interrupt() == 130
        assert "What was recorded is kept: the same command goes" in terminal.output
        assert "Nothing was changed" not in terminal.output
