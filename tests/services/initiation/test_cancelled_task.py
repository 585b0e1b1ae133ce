"""A cancelled task must not leave the write lock of SQLite behind."""

import asyncio
import random
import sqlite3
import traceback

import pytest

from procomp_pay.domain.states import Channel, PaymentMethod
from procomp_pay.services.initiation.initiate import initiate
from procomp_pay.services.initiation.request import InitiateRequest
from tests.support.environment import CLERK, ServiceEnvironment


@pytest.mark.parametrize("seed", [3, 4])
async def test_a_cancelled_task_leaves_no_lock(environment: ServiceEnvironment, seed: int) -> None:
    path = environment.ctx.db.sqlite_path()
    if path is None:
        pytest.skip("SQLite alone")
    rng = random.Random(seed)

    def free() -> bool:
        probe = sqlite3.connect(path, timeout=0.5, isolation_level=None)
        try:
            probe.execute("BEGIN IMMEDIATE")
            probe.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return False
        finally:
            probe.close()
        return True

    traces: list[str] = []
    for n in range(25):
        participant_id = await environment.participant()
        for _ in range(2):
            request = InitiateRequest(participant_id, PaymentMethod.APPLE_PAY, Channel.STRIPE_INTENT)

            async def start_payment(request: InitiateRequest = request) -> None:
                try:
                    await initiate(environment.ctx, request, CLERK)
                except BaseException:
                    traces.append(traceback.format_exc())
                    raise

            task = asyncio.create_task(start_payment())
            await asyncio.sleep(rng.uniform(0.0, 0.03))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await asyncio.sleep(0.1)
            if not free():
                print(traces[-1])
                waited = 0
                while waited < 20 and not free():
                    await asyncio.sleep(1)
                    waited += 1
                import gc

                gc.collect()
                await asyncio.sleep(0.5)
                print("free after gc.collect():", free())
                pytest.fail(
                    f"round {n}: the write lock was held {waited} s after the task was cut: every desk waits"
                )
