from collections.abc import AsyncIterator

import pytest

from tests.support.kaspi_sandbox import Kaspi, running


@pytest.fixture
async def kaspi() -> AsyncIterator[Kaspi]:
    async with running() as kaspi:
        yield kaspi
