"""Fixtures: a sandbox whose time passes slowly enough to look at a QR."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from procomp_pay.server.http.state import STATE
from procomp_pay.services.views import page_link
from procomp_pay.services.views import payment as views
from tests.support.patience import PATIENCE_S
from tests.support.server import Served


@pytest.fixture
def time_scale() -> float:
    return 5


@pytest.fixture
async def web(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    """A browser without JavaScript."""
    async with httpx.AsyncClient(base_url=served.url, timeout=PATIENCE_S) as client:
        yield client


async def page_of(served: Served, payment_id: str) -> str:
    """Return the path of a payment's page."""
    ctx = served.app[STATE].ctx
    return page_link.page_url(ctx, await views.one(ctx, payment_id)).removeprefix(served.url)
