"""One line of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from procomp_pay.domain.errors import ConfigurationError, PaymentError


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor."""

    name: str
    state: str
    found: str
    next_step: str | None = None
    exit_code: int = 0

    def full(self) -> dict[str, Any]:
        return {"name": self.name, "state": self.state, "found": self.found, "next_step": self.next_step}


def failed(name: str, error: PaymentError) -> Check:
    """What stands in the way, as a line."""
    code = 7 if isinstance(error, ConfigurationError) else 5
    return Check(name, "fail", error.message, error.next_step, code)
