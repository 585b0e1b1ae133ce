"""A day with faults of every kind, closed by one command: sums to the cent, killed at any step, run again."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import sqlite3
from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from procomp_pay.domain.closing import Step
from tests.support import warm_processes
from tests.support.deployment import Deployment
from tests.support.patience import PATIENCE_S

#: Payments of the day, an equal number of each way to pay; PROCOMP_CLOSING=200 for a large one.
COUNT = int(os.environ.get("PROCOMP_CLOSING", "12"))
CARD = ("--amount", "50", "--currency", "USD")


@pytest.fixture
def evening(deployment: Deployment) -> Deployment:
    """A sandbox, and a time zone in which it is about noon, so that no midnight comes while the test runs."""
    ahead = 12 - datetime.now(UTC).hour
    deployment.env["REPORT_TIMEZONE"] = f"Etc/GMT{-ahead:+d}" if ahead else "Etc/GMT"
    deployment.open_sandbox()
    return deployment


def paid(evening: Deployment, opened: dict[str, Any]) -> None:
    if opened["channel"].startswith("kaspi"):
        evening.post(f"/pay/{opened['provider_ref']}", {"action": "pay"})
    else:
        evening.post(f"/c/pay/{opened['provider_ref']}", {"wallet": opened["method"]})


def in_parts(evening: Deployment, *commands: tuple[str, ...]) -> list[Any]:
    """Run many commands, a few at a time."""
    parts = [commands[n : n + 20] for n in range(0, len(commands), 20)]
    return [document for part in parts for document in evening.run_all(*part)]


def statement(evening: Deployment, path: Path) -> list[list[str]]:
    """Download Kaspi's statement, and return its rows."""
    answer = httpx.get(
        f"{evening.sandbox_url}/_sandbox/kaspi/statement.csv?title=0&total=0", timeout=PATIENCE_S
    )
    path.write_bytes(answer.raise_for_status().content)
    return list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig")), delimiter=";"))


def at_providers(evening: Deployment, lines: list[list[str]]) -> dict[str, Decimal]:
    """Return what the sandbox's Stripe and Kaspi keep of the day's payments, by currency, without fees."""
    kept: dict[str, Decimal] = defaultdict(Decimal)
    after = ""
    key = json.loads((evening.home / "sandbox.json").read_text("utf-8"))["stripe_secret_key"]
    while True:
        page = httpx.get(
            f"{evening.sandbox_url}/v1/balance_transactions?limit=100{after}",
            headers={"Authorization": f"Bearer {key}"},
            timeout=PATIENCE_S,
        ).json()
        for txn in page["data"]:
            if txn["type"] != "payout":
                kept[txn["currency"].upper()] += Decimal(txn["amount"]).scaleb(-2)
        if not page["has_more"]:
            break
        after = f"&starting_after={page['data'][-1]['id']}"
    column = next(n for n, head in enumerate(lines[0]) if head.startswith("Сумма операции"))
    for line in lines[1:]:
        kept["KZT"] += Decimal(line[column].replace(",", ".").replace(" ", "").replace("\u00a0", ""))
    return dict(kept)


def in_closing(closing: dict[str, Any], side: str) -> dict[str, Decimal]:
    kept: dict[str, Decimal] = defaultdict(Decimal)
    for line in closing["figures"]["sums"]:
        kept[line["currency"]] += Decimal(str(line[side]["kept"]))
    return dict(kept)


def bank_file(evening: Deployment, folder: Path, amount: Decimal) -> str:
    """Return the bank's statement of today with one credit from Stripe, as MT940."""
    day = datetime.now(ZoneInfo(evening.env["REPORT_TIMEZONE"]))
    sum_ = f"{amount:.2f}".replace(".", ",")
    path = folder / f"bank-{amount}.txt"
    path.write_text(
        f":20:1\n:25:KZ12722S000001234567\n:28C:1/1\n:60F:C{day:%y%m%d}USD0,00\n"
        f":61:{day:%y%m%d}C{sum_}NTRFNONREF\n:86:STRIPE PAYMENTS\n:62F:C{day:%y%m%d}USD{sum_}\n-\n",
        "utf-8",
    )
    return str(path)


def in_exports(folder: Path) -> dict[str, Decimal]:
    """Return what the exported payments less the refunds are, by currency."""
    kept: dict[str, Decimal] = defaultdict(Decimal)
    for what in ("payments", "refunds"):
        [path] = folder.glob(f"*-{what}.csv")
        for row in csv.DictReader(path.read_text("utf-8-sig").splitlines()):
            kept[row["currency"]] += Decimal(row["gross"])
    return dict(kept)


def test_a_day_with_faults_of_every_kind(evening: Deployment, tmp_path: Path) -> None:  # noqa: PLR0915
    people = evening.participants("Twice", "Late", "Waits", "Back")
    of = evening.run_json("tournament", "list")["items"][0]["tournament_id"]
    kids = [
        each["participant_id"]
        for each in in_parts(evening, *(("participant", "add", of, f"Kid {n}") for n in range(COUNT)))
    ]
    twice, late, waits, back = people
    ways = (("apple_pay", CARD), ("google_pay", CARD), ("kaspi_qr", ()), ("kaspi_qr", ()))
    ordinary = []
    wanted = [(kid, *ways[n % 4]) for n, kid in enumerate(kids)]
    for n in range(0, COUNT, 20):  # each QR is paid before it expires
        commands = (("initiate", kid, "--method", way, *more) for kid, way, more in wanted[n : n + 20])
        ordinary += (opened := evening.run_all(*commands))
        for payment in opened:
            paid(evening, payment)
    twice_qr, twice_card, late_qr, waits_qr, back_qr = evening.run_all(
        ("initiate", twice, "--method", "kaspi_qr"),
        ("initiate", twice, "--method", "apple_pay", *CARD),
        ("initiate", late, "--method", "kaspi_qr"),
        ("initiate", waits, "--method", "kaspi_qr"),
        ("initiate", back, "--method", "kaspi_qr"),
    )
    evening.run_all(("cancel", late_qr["payment_id"], "--yes"))
    for payment in (twice_qr, twice_card, late_qr, back_qr):
        paid(evening, payment)
    # money at Stripe that is nobody's, a dispute, and a refund in the Kaspi Pay app that nobody recorded
    key = json.loads((evening.home / "sandbox.json").read_text("utf-8"))["stripe_secret_key"]
    headers = {"Authorization": f"Bearer {key}"}
    data = {"amount": "7700", "currency": "usd", "payment_method": "pm_card_visa", "confirm": "true",
            "return_url": "https://app.example.com/paid"}  # fmt: skip
    httpx.post(
        f"{evening.sandbox_url}/v1/payment_intents", data=data, headers=headers, timeout=PATIENCE_S
    ).raise_for_status()
    evening.post(f"/_sandbox/kaspi/payments/{back_qr['provider_ref']}/cashier-refund", {"Amount": 24000})
    dispute_of = [each for each in ordinary if each["method"] == "google_pay"][-1]
    refunded = next(each for each in ordinary if each["method"] == "apple_pay")
    file = tmp_path / "kaspi.csv"
    statement(evening, file)

    first = evening.run_json("close", code=6)
    states = {step["step"]: (step["state"], step["open"]) for step in first["steps"]}
    assert states["kaspi"] == ("open", ["statement"])
    assert states["pending"] == ("open", [waits_qr["payment_id"]])
    assert [states[name][0] for name in ("stripe", "sheet", "seal", "signatures")] == [
        "done", "waiting", "waiting", "waiting",
    ]  # fmt: skip
    evening.run("close", "--sign", code=6)  # refused: something is open

    intents = evening.at_stripe("payment_intents")
    intent = next(
        each["id"] for each in intents if each["metadata"].get("payment_id") == dispute_of["payment_id"]
    )
    evening.post(f"/_sandbox/stripe/payment_intents/{intent}/dispute", {"reason": "fraudulent"})
    evening.run("refund", refunded["payment_id"], "--amount", "10.00", "--reason", "part", "--yes")
    evening.run("cancel", waits_qr["payment_id"], "--yes")
    second = evening.run_json("close", "--kaspi-statement", str(file), code=6)
    found = {
        (each["kind"], each["participant_name"]): each for each in second["figures"]["open_discrepancies"]
    }
    assert found.keys() == {
        ("LATE_PAYMENT", "Late"), ("DUPLICATE_PAYMENT", "Twice"), ("MISSING_LOCALLY", None),
    }  # fmt: skip
    assert found["MISSING_LOCALLY", None]["amount"] == 77
    by_hand = {each["participant_name"]: each for each in second["figures"]["refunds_by_hand"]}
    assert {name: each["amount"] for name, each in by_hand.items()} == {"Late": 24000, "Twice": 24000}
    for n, (name, each) in enumerate(by_hand.items()):
        assert each["operation_number"]
        payment = late_qr if name == "Late" else twice_qr
        evening.post(f"/_sandbox/kaspi/payments/{payment['provider_ref']}/cashier-refund", {"Amount": 24000})
        line = [row for row in statement(evening, file) if "Возврат" in " ".join(row)][n + 1]
        evening.run("refund", each["payment_id"], "--made-in-app", line[1], "--reason", name, "--yes")
    for each in found.values():
        evening.run("discrepancies", "resolve", each["id"], "--how", "accept", "--note", "looked into")

    # all that Stripe has is due at the bank today; its file has the sum less two cents, then the whole one
    paid_out = evening.post("/_sandbox/stripe/payouts", {"currency": "usd", "arrives_in_days": 0})
    due = Decimal(paid_out["amount"]).scaleb(-2)
    lines = statement(evening, file)
    exports = tmp_path / "exports"
    words = ("close", "--kaspi-statement", str(file), "--exports", str(exports), "--bank-file")
    short = evening.run_json(*words, bank_file(evening, tmp_path, due - Decimal("0.02")), code=6)
    [step] = [step for step in short["steps"] if step["step"] == "payouts"]
    assert (step["state"], len(step["open"])) == ("open", 2)  # the payout, and the line of another sum
    whole = evening.run_json(*words, bank_file(evening, tmp_path, due), code=6)
    [step] = [step for step in whole["steps"] if step["step"] == "payouts"]
    assert (len(step["open"]), paid_out["id"] in step["open"][0]) == (1, False)
    skip = ("--skip", "payouts", "--reason", "the bank explains the other line")
    done = evening.run_json("close", *skip, "--exports", str(exports), "--sign")
    assert done["state"] == "closed"
    [arrived] = [each for each in done["figures"]["payouts"] if each["ref"] == paid_out["id"]]
    assert (arrived["state"], arrived["open"]) == ("arrived", False)
    assert {Decimal(str(arrived[name])) for name in ("net", "part_of_the_day")} == {due}
    assert in_exports(exports) == in_closing(done, "ours")
    assert {line["difference"] for line in done["figures"]["sums"]} == {0}
    unknown = {"USD": Decimal(77) - 50}  # and what the dispute holds back
    assert sum(line["held_by_disputes"] for line in done["figures"]["sums"]) == 50
    theirs = {
        currency: kept + unknown.get(currency, 0) for currency, kept in in_closing(done, "provider").items()
    }
    assert theirs == at_providers(evening, lines)
    clerks = {(each["name"], each["currency"]): each for each in done["figures"]["clerks"]}
    assert clerks["(at the provider)", "KZT"]["refunds_made"] == 1
    assert clerks["aigerim", "KZT"]["refunds_made"] == 2
    assert clerks["aigerim", "USD"]["refunded"] == 10

    before = contents(evening)
    again = evening.run_json("close")
    assert again | {"figures": None} == done | {"figures": None}
    assert again["figures"] | {"as_of": None} == done["figures"] | {"as_of": None}
    assert contents(evening) == before
    evening.run("close", "--sign", code=3)
    evening.run("audit", "verify")

    # what comes later does not change what was signed
    evening.run("refund", refunded["payment_id"], "--amount", "5.00", "--reason", "more", "--yes")
    later = evening.run_json("close")
    assert later["signed"] == done["signed"]
    assert [(each["what"], each["difference"]) for each in later["since_closing"]] == [("refunded", 5)]


def contents(evening: Deployment) -> dict[str, Any]:
    """Return the number of rows of our tables, and the row of the closing."""
    with sqlite3.connect(evening.home / "procomp-pay.sqlite3") as database:
        names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {name: database.execute(f'SELECT count(*) FROM "{name}"').fetchone() for name in names}
        return rows | {"closing": database.execute("SELECT * FROM pay_closing").fetchall()}


#: Runs a command in a process that kills itself at a step: when its work is done and not recorded yet, or as
#: soon as it is recorded.
_KILLED = """
import os, signal, sys
from procomp_pay.cli.main import app
from procomp_pay.domain.closing import Step
from procomp_pay.services.closing import close_day, signing

step, is_recorded = Step(sys.argv[1]), sys.argv[2] == "recorded"
keep_step, sign = close_day.keep_step, signing.sign

async def killed(work, which, *words, **more):
    if which is step and not is_recorded:
        os.kill(os.getpid(), signal.SIGKILL)
    await work(*words, **more)
    if which is step:
        os.kill(os.getpid(), signal.SIGKILL)

close_day.keep_step = lambda ctx, closing, which, *rest: killed(keep_step, which, ctx, closing, which, *rest)
signing.sign = lambda *words, **more: killed(sign, Step.SIGNATURES, *words, **more)
app(sys.argv[3:])
"""
MOMENTS = ("not recorded", "recorded") if "PROCOMP_CLOSING" in os.environ else ("not recorded",)


def test_killed_at_each_step(evening: Deployment, tmp_path: Path) -> None:
    people = evening.participants("Kid 1", "Kid 2", "Kid 3")
    ways = (("apple_pay", CARD), ("apple_pay", CARD), ("kaspi_qr", ()))
    for opened in evening.run_all(
        *(("initiate", each, "--method", way, *more) for each, (way, more) in zip(people, ways, strict=True))
    ):
        paid(evening, opened)
    evening.run("close", code=6)  # Stripe lists what moved in this second in the next one
    paid_out = evening.post("/_sandbox/stripe/payouts", {"currency": "usd", "arrives_in_days": 0})
    file = tmp_path / "kaspi.csv"
    statement(evening, file)
    due = Decimal(paid_out["amount"]).scaleb(-2)
    exports = tmp_path / "exports"
    words = ("close", "--kaspi-statement", str(file), "--bank-file", bank_file(evening, tmp_path, due),
             "--exports", str(exports), "--sign")  # fmt: skip
    for step in Step:
        for moment in MOMENTS:
            done = warm_processes.run(
                [step.value, moment, *words], code=_KILLED, env=evening.env, timeout=PATIENCE_S
            )
            assert done.returncode == -signal.SIGKILL, (step, moment, done.stderr[-2000:])
    closing = evening.run_json(*words) if MOMENTS[-1] != "recorded" else evening.run_json("close")
    assert closing["state"] == "closed"
    sums = closing["figures"]["sums"]
    assert [(line["method"], line["ours"]["payments"], line["difference"]) for line in sums] == [
        ("apple_pay", 2, 0), ("kaspi_qr", 1, 0),
    ]  # fmt: skip
    assert {step["step"]: step["state"] for step in closing["steps"]} == {step.value: "done" for step in Step}
    kaspi, payout = closing["figures"]["payouts"]
    assert (kaspi["provider"], kaspi["state"], kaspi["net"]) == ("kaspi", "on_the_way", 23772)
    assert (payout["state"], Decimal(str(payout["net"]))) == ("arrived", due)
    assert in_exports(exports) == in_closing(closing, "ours")
    assert {path.suffix for path in exports.iterdir()} == {".csv"}
    with sqlite3.connect(evening.home / "procomp-pay.sqlite3") as database:
        rows = database.execute("SELECT action, after FROM pay_audit_entry").fetchall()
        arrived = database.execute("SELECT count(*) FROM pay_bank_line").fetchone()
    assert arrived == (1,)
    actions = [action for action, _ in rows]
    assert [actions.count(f"closing_{name}") for name in ("begun", "signed", "closed")] == [1, 1, 1]
    [files] = [after for _, after in rows if '"files"' in (after or "")]
    assert '"payments"' in files
    evening.run("audit", "verify")
