"""The demo as a new user runs it."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from procomp_pay.cli.demo.processes import demo_environment
from tests.support.patience import PATIENCE_S


def test_the_demo_makes_three_payments_and_leaves_no_files(tmp_path: Path) -> None:
    home, temp = tmp_path / "user", tmp_path / "temp"
    home.mkdir()
    temp.mkdir()
    # the user's own settings must not affect the demo
    env = os.environ | {
        "HOME": str(home), "TMPDIR": str(temp), "COLUMNS": "100", "NO_COLOR": "1",
        "STRIPE_SECRET_KEY": "sk_live_" + "x" * 24, "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "procomp_pay", "demo"],
        env=env, cwd=home, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=PATIENCE_S,
    )  # fmt: skip
    text = done.stdout
    assert done.returncode == 0, text + done.stderr
    assert re.search(r"Three payments, three athletes PAID, in \d+ seconds\. Nothing is left behind\.", text)
    assert text.index("FAILED  webhook payment_intent.payment_failed") < text.index(
        "COMPLETED  webhook payment_intent.succeeded"
    )
    assert "COMPLETED  webhook checkout.session.completed" in text
    assert "COMPLETED  confirmed; Kaspi sends no event" in text
    assert "Traceback" not in text + done.stderr
    assert list(temp.iterdir()) == []
    assert [p for p in home.rglob("*") if "procomp" in p.name] == []


def test_sigterm_ends_its_processes_and_leaves_no_files(tmp_path: Path) -> None:
    temp = tmp_path / "temp"
    temp.mkdir()
    with subprocess.Popen(
        [sys.executable, "-m", "procomp_pay", "demo", "--keep"],
        env=os.environ | {"HOME": str(tmp_path), "TMPDIR": str(temp)},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as demo:  # fmt: skip
        while not list(temp.glob("procomp-pay-demo-*/sandbox.json")):
            assert demo.poll() is None
            time.sleep(0.05)
        demo.terminate()
        text, _ = demo.communicate(timeout=PATIENCE_S)
    assert demo.returncode == 130, text
    assert "Traceback" not in text
    assert list(temp.iterdir()) == []


def test_a_signal_while_a_process_starts_leaves_none_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[subprocess.Popen[bytes]] = []

    class Struck(subprocess.Popen[bytes]):
        def __init__(self, *words: object, **options: object) -> None:
            super().__init__(*words, **options)  # type: ignore[call-overload]
            begun.append(self)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(subprocess, "Popen", Struck)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(KeyboardInterrupt), demo_environment():
        pass
    [process] = begun
    assert process.returncode is not None
    assert list(tmp_path.iterdir()) == []
