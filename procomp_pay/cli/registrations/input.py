"""What is typed after ``tournament`` and ``participant``, read or refused as a wrong use (exit 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from procomp_pay.domain.errors import InvalidAmount

if TYPE_CHECKING:
    from datetime import datetime

    from procomp_pay.domain.money import Currency


def read_moment(text: str | None) -> datetime | None:
    """A time as it is typed; without a zone it is Almaty's."""
    from datetime import datetime
    from zoneinfo import ZoneInfo

    if text is None:
        return None
    try:
        read = datetime.fromisoformat(text.strip())
    except ValueError:
        read = None
    if read is None or not 2000 <= read.year <= 2100:
        raise typer.BadParameter(
            f"{text[:40]!r} is no time; write 2026-05-01 or 2026-05-01T09:00", param_hint="--starts"
        )
    return read.replace(tzinfo=ZoneInfo("Asia/Almaty")) if read.tzinfo is None else read


def read_currency(text: str) -> Currency:
    from procomp_pay.domain.money import Currency

    try:
        return Currency(text.upper())
    except ValueError:
        raise InvalidAmount(
            f"{text[:12]!r} is not a currency we take", next_step=f"use one of {', '.join(Currency)}"
        ) from None


def refuse_options(*arguments: str | None) -> None:
    """Unknown options come in as arguments here; only a number may begin with a dash."""
    for text in arguments:
        if text and text.startswith("-") and not text[1:2].isdigit():
            raise typer.BadParameter(f"there is no option {text[:40]}; see --help", param_hint=text[:40])
