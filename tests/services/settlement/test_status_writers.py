"""Only ``services/settlement/apply.py`` changes the status of a payment."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import procomp_pay

ROOT = Path(procomp_pay.__file__).parent
PARTICIPANT_WRITER = "services/settlement/side_effects.py"


def status_assignments() -> Iterator[tuple[str, str]]:
    """Yield each module that assigns an attribute ``status``, with the object that it assigns it to."""
    for path in ROOT.rglob("*.py"):
        module = path.relative_to(ROOT).as_posix()
        if module.startswith("sandbox/"):  # a provider of its own
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            for target in targets:
                if isinstance(target, ast.Attribute) and target.attr == "status":
                    yield module, ast.unparse(target.value)


def test_no_other_module_assigns_a_status() -> None:
    writers = {
        (module, of)
        for module, of in status_assignments()
        if module != PARTICIPANT_WRITER and of != "self"  # a view or a counter of its own
    }
    assert {module for module, _ in writers} == {"services/settlement/apply.py"}, writers


def test_no_statement_updates_a_status() -> None:
    updates = [
        path
        for path in ROOT.rglob("*.py")
        if 'UPDATE "Payment" SET status' in " ".join(path.read_text("utf-8").split())
    ]
    assert updates == []
