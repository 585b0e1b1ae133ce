"""The page of a payment in a real browser: it turns to PAID by itself, and its console stays empty."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.server.pages.conftest import page_of
from tests.server.pages.test_page import phone, started_checkout
from tests.support.browser import CHROMIUM, browser
from tests.support.server import Served

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="NO BROWSER: install chromium to test the pages")

#: Screenshots are kept here, if it is set, to be looked at.
PICTURES = os.environ.get("PROCOMP_PICTURES")
SIZES = {"phone": (390, 844), "tablet": (1180, 820), "upright": (820, 1180)}


@pytest.mark.parametrize(
    ("language", "waits", "confirms", "paid"),
    [
        ("ru", "Оплатите в приложении", "Подтвердите оплату", "Оплачено"),
        ("kk", "қосымшасында төлеңіз", "растаңыз", "Төленді"),
        ("en", "Pay in the Kaspi app", "Confirm the payment", "Paid"),
    ],
)
async def test_it_turns_to_paid_without_a_reload(
    served: Served, tmp_path: Path, language: str, waits: str, confirms: str, paid: str
) -> None:
    started = await served.initiate(method="kaspi_qr")
    path = await page_of(served, started["payment_id"])
    async with browser(tmp_path) as tab:
        await tab.open(served.url + path, language)
        loads = tab.loads
        text = await tab.see(waits)
        assert "А. С." in text
        clock = "document.querySelector('[data-left]').textContent"
        first = await tab.evaluate(clock)
        await tab.see(waits)
        await phone(served, started["payment_id"], "scan")
        await tab.see(confirms)
        await phone(served, started["payment_id"], "confirm")
        await tab.see(paid)
        assert tab.loads == loads
        assert first.count(":") == 1
        assert tab.complaints == [], "no error, and nothing that the policy refused"


# the QR has to live until all its pages were looked at
@pytest.mark.parametrize("time_scale", [1])
async def test_nothing_is_cut_off_on_phone_and_tablet(served: Served, tmp_path: Path) -> None:
    paid, open_qr, cancelled = [
        (await served.initiate(each, method="kaspi_qr"))["payment_id"] for each in ("p1", "p2", "p3")
    ]
    await phone(served, paid)
    await phone(served, cancelled, "cancel")
    wallet = (await started_checkout(served, "p2")).payment_id
    shown = {"paid": paid, "over": cancelled, "wallet": wallet, "qr": open_qr}
    paths = {name: await page_of(served, payment_id) for name, payment_id in shown.items()}
    async with browser(tmp_path) as tab:
        await tab.open(served.url + paths["paid"], "en")
        await tab.see("Paid")
        await tab.open(served.url + paths["over"], "en")
        await tab.see("did not go through")
        for language in ("ru", "kk", "en"):
            for size, (width, height) in SIZES.items():
                for name, path in ({"wrong": "/p/x-y"} | paths).items():
                    await tab.open(served.url + path, language, width, height)
                    assert await tab.evaluate("document.documentElement.scrollWidth") <= width
                    if name == "qr":
                        low = await tab.evaluate(
                            "document.querySelector('.qr').getBoundingClientRect().bottom"
                        )
                        assert low <= height, "the whole QR is on the screen"
                    if PICTURES:
                        await tab.picture(Path(PICTURES) / f"{name}-{size}-{language}.png")
        assert [each for each in tab.complaints if "404" not in each] == []
