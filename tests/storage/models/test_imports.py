"""Tables are imported by subject: with each, those that its foreign keys refer to."""

from __future__ import annotations

import sys

from tests.support.processes import run_to_end

#: In a fork for each module, so that none finds what another one has imported.
_PROGRAM = """
import os, pkgutil
from importlib import import_module
from procomp_pay.storage import models
from procomp_pay.storage.models.columns import Row

names = [module.name for module in pkgutil.iter_modules(models.__path__)]
assert {"payments", "refunds", "reconciliation"} < {*names}
for name in names:
    if os.fork() == 0:
        import_module(f"procomp_pay.storage.models.{name}")
        keys = {key.target_fullname for table in Row.metadata.tables.values() for key in table.foreign_keys}
        if missing := {key for key in keys if key.split(".")[0] not in Row.metadata.tables}:
            print(name, *sorted(missing), flush=True)
        os._exit(0)
    os.wait()
"""


def test_each_module_imports_the_tables_that_its_own_refer_to() -> None:
    """In a process that has not imported them by chance, a flush would fail otherwise."""
    done = run_to_end([sys.executable, "-c", _PROGRAM], check=True)
    assert done.stdout == ""
