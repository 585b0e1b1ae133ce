"""What a clerk is told by a command is in the catalogue: no text goes past it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import procomp_pay
from procomp_pay.domain import errors

PACKAGE = Path(procomp_pay.__file__).parent
#: Modules whose errors and lines a clerk meets. What an administrator sets up stays English.
CLERKS = (
    "cli/closing", "cli/display", "cli/framework", "cli/kaspi", "cli/payments", "cli/payouts",
    "cli/receipts", "cli/reconciliation", "cli/refunds", "cli/registrations", "cli/reports",
    "domain/entry_fees.py", "domain/kaspi_verification.py", "domain/money.py", "domain/names.py",
    "domain/operation_number.py", "domain/payment_code.py", "domain/period.py", "domain/refunds.py",
    "providers/bank", "providers/kaspi/gateway.py", "providers/kaspi/invoices.py",
    "providers/kaspi/refunds.py", "providers/kaspi/wire.py", "providers/statements", "providers/tabular",
    "services/closing", "services/initiation", "services/kaspi_verification", "services/lifecycle",
    "services/payouts", "services/receipts", "services/reconciliation", "services/refunds",
    "services/registrations", "services/reports", "services/settlement/move.py",
    "services/settlement/operation_numbers.py", "services/views/payment.py",
)  # fmt: skip
ADMINISTRATORS = {
    "cli/kaspi/devices.py",
    "cli/registrations/person.py",
    "services/registrations/person.py",
}
ERRORS = {name for name, each in vars(errors).items() if isinstance(each, type)}
ERRORS |= {"BadParameter", "CellError", "Unusable", "UnclosedQuote", "_ProblemError", "_too_long", "_wrong"}
#: Functions of the console that print a sentence.
SAID = {"say", "confirm", "prompt", "hint"}
_COMMAND = re.compile(r"(→ )?procomp-pay | ?--[a-z-]+( |$)|mkdir ")


def modules() -> Iterator[Path]:
    for each in CLERKS:
        path = PACKAGE / each
        yield from path.rglob("*.py") if path.is_dir() else [path]


def unmarked(source: str) -> Iterator[str]:
    """Yield each message of an error and each printed sentence that is not in ``_`` or ``N_``."""
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        name = getattr(call.func, "id", getattr(call.func, "attr", ""))
        is_said = name in SAID and getattr(getattr(call.func, "value", None), "id", "") == "console"
        texts = call.args[:1] if name in ERRORS or is_said else []
        texts += [each.value for each in call.keywords if name in ERRORS and each.arg == "next_step"]
        for text in texts:
            parts = text.values if isinstance(text, ast.JoinedStr) else [text]
            words = "".join(str(part.value) for part in parts if isinstance(part, ast.Constant))
            if re.search("[a-z]{2}", words) and not _COMMAND.match(words):
                yield words


@pytest.mark.parametrize(
    "source",
    [
        'raise Refused("It is not so")',
        'raise Conflict(N_("It is not so"), next_step=f"do {it} again")',
        'console.say(f"{n} refunded", dim=True)',
    ],
)
def test_a_text_past_the_catalogue_is_found(source: str) -> None:
    assert list(unmarked(source))


def test_every_text_of_a_clerk_is_marked() -> None:
    told = [
        (str(path.relative_to(PACKAGE)), text)
        for path in modules()
        if str(path.relative_to(PACKAGE)) not in ADMINISTRATORS
        for text in unmarked(path.read_text("utf-8"))
    ]
    assert not told
