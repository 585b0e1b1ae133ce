"""What the forked processes of tests have in common with new interpreters."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from tests.support import warm_processes
from tests.support.patience import PATIENCE_S
from tests.support.warm_processes import WarmProcess

_SHOW = """
import os, sys
print(sys.argv[1:], os.getcwd(), sorted(os.environ), os.getpid(), sys.stdin.read())
print("to stderr", file=sys.stderr)
sys.exit(7)
"""


def test_it_has_its_own_arguments_folder_environment_streams_and_code(tmp_path: Path) -> None:
    process = WarmProcess(
        ["a", "b c"], code=_SHOW, cwd=tmp_path, env={"ONLY": "1"}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = process.communicate("Әсел", timeout=PATIENCE_S)
    assert out == f"['a', 'b c'] {tmp_path} ['ONLY'] {process.pid} Әсел\n"
    assert (err, process.returncode) == ("to stderr\n", 7)


def test_an_error_and_a_signal_end_it_as_they_end_a_process() -> None:
    failed = warm_processes.run((), code="1 / 0", timeout=PATIENCE_S)
    assert (failed.returncode, failed.stderr.splitlines()[-1]) == (1, "ZeroDivisionError: division by zero")
    process = WarmProcess((), code="import time; time.sleep(600)")
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == -signal.SIGTERM


def test_what_one_changes_no_other_sees() -> None:
    change = "import os, procomp_pay; procomp_pay.changed = True; os.environ['CHANGED'] = '1'"
    assert warm_processes.run((), code=change, timeout=PATIENCE_S).returncode == 0
    look = "import os, procomp_pay; print(hasattr(procomp_pay, 'changed'), 'CHANGED' in os.environ)"
    assert (
        warm_processes.run((), code=look, timeout=PATIENCE_S, env=dict(os.environ)).stdout == "False False\n"
    )
