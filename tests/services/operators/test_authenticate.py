"""PINs and tokens: who gets in, what is kept, and what a refusal tells."""

from __future__ import annotations

import asyncio
import functools
from datetime import timedelta

import pytest
from sqlmodel import select

from procomp_pay.domain.errors import Forbidden, Unauthorized
from procomp_pay.domain.operators import MOST_WRONG_PINS, Right, Role, require
from procomp_pay.services.audit.verify import verify
from procomp_pay.services.context import AppContext
from procomp_pay.services.operators import accounts, secrets
from procomp_pay.services.operators.authenticate import authenticate
from procomp_pay.services.operators.logins import log_in
from procomp_pay.storage.models.audit import AuditEntry
from procomp_pay.storage.models.operators import OperatorAccount
from tests.services.operators.conftest import Clock
from tests.support import quick_hashes, warm_processes
from tests.support.patience import PATIENCE_S

_TRIES = """
import asyncio, sys
from datetime import UTC, datetime
from procomp_pay.domain.errors import Unauthorized
from procomp_pay.domain.operators import Right
from procomp_pay.services.bootstrap import new_id
from procomp_pay.services.context import AppContext
from procomp_pay.services.operators.authenticate import authenticate
from procomp_pay.storage.database.service import PaymentDatabaseService

async def main(url):
    db = PaymentDatabaseService(url)
    ctx = AppContext(db=db, providers=None, keyring=None, clock=lambda: datetime.now(UTC), new_id=new_id,
                     base_url="", intake=None)
    for number in range(8):
        try:
            await authenticate(ctx, "dana", f"wrong {number}", need=Right.DESK)
        except Unauthorized:
            continue
        raise SystemExit("a wrong PIN was taken")
    await db.dispose()

asyncio.run(main(sys.argv[1]))
"""


async def account(ctx: AppContext, name: str) -> OperatorAccount:
    async with ctx.db.reading() as session:
        return (await session.exec(select(OperatorAccount).where(OperatorAccount.name == name))).one()


async def actions(ctx: AppContext, name: str) -> list[str]:
    row = await account(ctx, name)
    async with ctx.db.reading() as session:
        chain = (
            select(AuditEntry).where(AuditEntry.payment_id == f"operator:{row.id}").order_by(AuditEntry.seq)
        )
        return [entry.action for entry in (await session.exec(chain)).all()]


@pytest.fixture
def production_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_hasher", quick_hashes.production_hasher)
    monkeypatch.setattr(secrets, "_OF_NOBODY", quick_hashes.production_hash_of_nobody)


@pytest.mark.usefixtures("production_hashes")
async def test_a_pin_is_compared_with_its_hash_and_never_kept(
    ctx: AppContext, operators: dict[str, str]
) -> None:
    operator = await authenticate(
        ctx, " МАРАТ ".replace("МАРАТ", "marat"), operators["Marat"], need=Right.ADMIN
    )
    assert (operator.name, operator.role, operator.tournaments) == ("Marat", Role.ADMIN, None)
    row = await account(ctx, "Marat")
    assert row.secret_hash.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert all(pin not in str(row.model_dump()) for pin in operators.values())
    async with ctx.db.reading() as session:
        entries = (await session.exec(select(AuditEntry))).all()
    assert all(pin not in str(entry.model_dump()) for pin in operators.values() for entry in entries)


async def test_a_refusal_does_not_tell_why(ctx: AppContext, operators: dict[str, str]) -> None:
    await accounts.disable(ctx, "dana", by="Marat")
    messages = set()
    for name, pin in (("Marat", "wrong!"), ("nobody", "wrong!"), ("dana", operators["dana"]), ("", "")):
        with pytest.raises(Unauthorized) as refusal:
            await authenticate(ctx, name, pin, need=Right.DESK)
        messages.add((refusal.value.message, refusal.value.next_step))
    assert len(messages) == 1


@pytest.mark.usefixtures("production_hashes")
async def test_an_unknown_name_takes_as_long_as_a_wrong_pin(
    ctx: AppContext, operators: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slow hash is computed once in each case, with the same parameters."""
    compared: list[str] = []
    verify_hash = secrets._hasher().verify

    class Counted:
        def verify(self, secret_hash: str, secret: str) -> bool:
            compared.append(secret_hash.rsplit("$", 2)[0])
            return verify_hash(secret_hash, secret)

    monkeypatch.setattr(secrets, "_hasher", Counted)
    for name in ("Marat", "nobody"):
        with pytest.raises(Unauthorized):
            await authenticate(ctx, name, "wrong!", need=Right.DESK)
    assert len(compared) == 2
    assert len(set(compared)) == 1


async def test_ten_wrong_pins_lock_an_account_for_a_time(
    ctx: AppContext, operators: dict[str, str], clock: Clock
) -> None:
    for _ in range(MOST_WRONG_PINS):
        with pytest.raises(Unauthorized, match="10 wrong PINs lock it for 15 minutes"):
            await authenticate(ctx, "dana", "wrong!", need=Right.DESK)
    with pytest.raises(Unauthorized):
        await authenticate(ctx, "dana", operators["dana"], need=Right.DESK)
    assert (await actions(ctx, "dana"))[-1] == "operator_locked"
    [listed] = [view for view in await accounts.many(ctx) if view.name == "dana"]
    assert listed.locked_until is not None
    assert (await authenticate(ctx, "Marat", operators["Marat"], need=Right.DESK)).name == "Marat"
    clock.offset += timedelta(minutes=16)
    assert (await authenticate(ctx, "dana", operators["dana"], need=Right.DESK)).name == "dana"
    assert (await account(ctx, "dana")).failed_attempts == 0
    assert (await verify(ctx)).is_sound


async def test_nobody_keeps_an_operator_out_by_wrong_pins(
    ctx: AppContext, operators: dict[str, str], clock: Clock
) -> None:
    async def tries(times: int, os_user: str) -> None:
        for _ in range(times):
            with pytest.raises(Unauthorized):
                await log_in(ctx, "dana", "wrong!", os_user)

    await log_in(ctx, "dana", operators["dana"], "uid 1000")
    await tries(MOST_WRONG_PINS, "uid 666")
    with pytest.raises(Unauthorized):
        await log_in(ctx, "dana", operators["dana"], "uid 666")
    with pytest.raises(Unauthorized):
        await log_in(ctx, "dana", operators["dana"], "uid 1001")  # never logged in there
    assert (await log_in(ctx, "dana", operators["dana"], "uid 1000")).operator.name == "dana"
    with pytest.raises(Unauthorized):
        await log_in(ctx, "dana", operators["dana"], "uid 666")  # the lock stays for the others
    assert (await actions(ctx, "dana"))[-2:] == ["tried_while_locked", "logged_in"]
    await tries(MOST_WRONG_PINS, "uid 1000")  # who was let in has ten tries, too
    with pytest.raises(Unauthorized):
        await log_in(ctx, "dana", operators["dana"], "uid 1000")
    clock.offset += timedelta(minutes=16)
    assert (await log_in(ctx, "dana", operators["dana"], "uid 1001")).operator.name == "dana"
    assert (await verify(ctx)).is_sound


async def test_the_tenth_pin_is_right(ctx: AppContext, operators: dict[str, str]) -> None:
    for _ in range(2):
        for _ in range(MOST_WRONG_PINS - 1):
            with pytest.raises(Unauthorized):
                await authenticate(ctx, "dana", "wrong!", need=Right.DESK)
        assert await authenticate(ctx, "dana", operators["dana"], need=Right.DESK)
    assert (await account(ctx, "dana")).locked_until is None


async def test_two_processes_have_ten_tries_together(
    ctx: AppContext, operators: dict[str, str], database_url: str
) -> None:
    tries = functools.partial(
        asyncio.to_thread, warm_processes.run, [database_url], code=_TRIES, timeout=PATIENCE_S
    )
    for ended in await asyncio.gather(tries(), tries()):
        assert ended.returncode == 0, ended.stderr
    row = await account(ctx, "dana")
    assert row.failed_attempts == MOST_WRONG_PINS  # of 16 tries, six were not even compared
    assert row.locked_until is not None
    with pytest.raises(Unauthorized):
        await authenticate(ctx, "dana", operators["dana"], need=Right.DESK)
    assert (await verify(ctx)).is_sound


async def test_the_role_and_the_tournament_are_checked(ctx: AppContext, operators: dict[str, str]) -> None:
    pin = operators["Айгерім"]
    operator = await authenticate(ctx, "айгерім", pin, need=Right.DESK)
    require(operator, Right.DESK, "t1")
    with pytest.raises(Forbidden, match="has the role desk; this needs the role finance"):
        await authenticate(ctx, "Айгерім", pin, need=Right.CLOSE)
    with pytest.raises(Forbidden, match="t2 is not one of"):
        require(operator, Right.DESK, "t2")


async def test_a_token_is_returned_once_and_is_not_locked_by_others(
    ctx: AppContext, operators: dict[str, str]
) -> None:
    view, token = await accounts.add(ctx, "cron", Role.FINANCE, by="Marat")
    assert token is not None
    assert token not in str(view.full()) + str((await account(ctx, "cron")).model_dump())
    for _ in range(MOST_WRONG_PINS + 1):
        with pytest.raises(Unauthorized):
            await authenticate(ctx, "cron", "ppo_wrong", need=Right.DESK)
    assert (await authenticate(ctx, "cron", token, need=Right.FINANCE)).name == "cron"
