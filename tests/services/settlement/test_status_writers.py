"""Only ``services/settlement/apply.py`` changes the status of a payment."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import procomp_pay

ROOT = Path(procomp_pay.__file__).parent
#: Who may assign a status, and to what.
WRITERS = {
    ("services/settlement/apply.py", "payment"),
    ("services/settlement/apply.py", "locked.payment"),
    ("services/settlement/side_effects.py", "participant"),
}


def status_writes(text: str) -> Iterator[str]:
    """Yield the objects whose ``status`` a module changes, ``SQL`` for a statement."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and node.attr == "status" and isinstance(node.ctx, ast.Store):
            yield ast.unparse(node.value)
        elif isinstance(node, ast.Call):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            given = [keyword.arg for keyword in node.keywords] + [
                part.value
                for argument in node.args
                for part in ast.walk(argument)
                if isinstance(part, ast.Constant)
            ]
            if called in ("setattr", "values") and "status" in given:
                yield "SQL" if called == "values" else ast.unparse(node.args[0])
        elif isinstance(node, ast.Constant) and 'UPDATE "Payment" SET' in " ".join(str(node.value).split()):
            yield "SQL"


def test_no_other_module_changes_a_status() -> None:
    writes = {
        (path.relative_to(ROOT).as_posix(), written)
        for path in ROOT.rglob("*.py")
        if "sandbox" not in path.parts  # a provider of its own
        for written in status_writes(path.read_text("utf-8"))
        if written != "self"  # a view or a counter of its own
    }
    assert writes == WRITERS


@pytest.mark.parametrize(
    "text",
    [
        "payment.status = new",
        "payment.status, payment.updated_at = new, now",
        'setattr(payment, "status", new)',
        "update(Payment).values(status=new)",
        'update(Payment).values({"status": new})',
        'text("""UPDATE "Payment"\n SET status = :new""")',
    ],
)
def test_every_way_to_change_a_status_is_detected(text: str) -> None:
    assert list(status_writes(text)) in (["payment"], ["SQL"])
