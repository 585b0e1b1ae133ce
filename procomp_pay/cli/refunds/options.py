"""What was typed after ``refund``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RefundOptions:
    """What was typed."""

    reason: str
    yes: bool
    dry_run: bool
    as_json: bool
    acting: str | None
