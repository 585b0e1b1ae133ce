"""The demo as a new user runs it."""

import os
import re
import subprocess
import sys
from pathlib import Path


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
        env=env, cwd=home, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
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
