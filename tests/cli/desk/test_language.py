"""A person who reads only Russian or only Kazakh finds no English at the desk."""

from __future__ import annotations

import re

import pytest

from tests.cli.desk.conftest import Desk, OpenDesk

#: Names of products, keys, and what the test typed.
LATIN = {"Kaspi", "QR", "Pay", "Apple", "Google", "Stripe", "Esc", "Tab", "Ctrl", "Timur", "Kata", "aigerim"}


@pytest.fixture(params=["ru", "kk"])
def language(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PROCOMP_LANGUAGE", request.param)
    return str(request.param)


async def reads(desk: Desk, russian: str, kazakh: str, language: str) -> None:
    """Wait for a text, and find nothing in English around it."""
    await desk.sees(russian if language == "ru" else kazakh)
    text = re.sub(r"\b[0-9A-Z]{4}-[0-9A-Z]{4}\b", "", desk.text)
    assert set(re.findall(r"[A-Za-z]{2,}", text)) <= LATIN, desk.text


@pytest.mark.usefixtures("sqlite_clerk")
async def test_a_day_at_the_desk(open_desk: OpenDesk, language: str) -> None:
    async with open_desk() as desk:
        await reads(desk, "Кто ждёт", "Кім күтіп тұр", language)
        await desk.type("щщщщ")
        await desk.press("enter")
        await reads(desk, "никто не зарегистрирован", "ешкім тіркелмеген", language)
        await desk.press("escape")
        await desk.type("timur")
        await desk.press("enter")
        await reads(desk, "Назад", "Артқа", language)
        await desk.press("k")
        await reads(
            desk, "Плательщик сканирует код в приложении Kaspi.", "Kaspi қосымшасымен сканерлейді", language
        )
        await desk.press("c")
        await reads(desk, "Отменить этот платёж", "болдырмау керек пе", language)
        await reads(desk, "д Да", "и Иә", language)
        await desk.press("escape")
        await desk.press("v")
        await reads(desk, "Номер чека", "Чек нөмірі", language)
        await desk.type("19000000001")
        await desk.press("enter")
        await reads(desk, "один чек ничего не доказывает", "чектің өзі ештеңені дәлелдемейді", language)
        await desk.press("a")
        await reads(desk, "ещё открыт", "әлі ашық", language)
        await desk.press("y")
        await reads(desk, "сканирует код камерой", "Төлеуші кодты камерамен", language)
        payment = (await desk.payments("p2"))[0]
        await desk.pay(payment, "apple_pay")
        await reads(desk, "✓ ОПЛАЧЕНО", "✓ ТӨЛЕНДІ", language)
        await desk.press("r")
        await reads(desk, "Причина возврата", "Қайтару себебі", language)
        await desk.type("вес")
        await desk.press("enter")
        await reads(desk, "Останется", "Қалатыны", language)
        await desk.press("y")
        await reads(desk, "Возвращено 24 000", "24 000 ₸ қайтарылды", language)
        await desk.press("escape")
        await reads(desk, "Возвращено полностью", "Толық қайтарылды", language)
        await desk.press("escape")
        await desk.press("tab")
        await reads(desk, "возвращено", "қайтарылды", language)
