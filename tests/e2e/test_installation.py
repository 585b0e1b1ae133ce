"""The wheel, built from what the Containerfile copies, is installed and used as docs/operations.md says.

With ``PROCOMP_INSTALL=1`` (add ``-n 0 -s``) its dependencies are installed from the index, as a newcomer's
are, and the time is printed; without, those of this environment are taken.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import zipfile
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE_S
from tests.test_readme import with_free_ports

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")
CONTAINERFILE = (ROOT / "deploy" / "Containerfile").read_text("utf-8")
IS_WHOLE = os.environ.get("PROCOMP_INSTALL") == "1"
#: Variables that say how the index is reached.
_OF_INDEX = ("PIP_", "UV_", "SSL_CERT_")


def block(name: str) -> list[str]:
    """Return the lines of a block of the page, as they are printed."""
    text = re.search(rf"<!-- {name} -->\n```sh\n(.*?)```", PAGE, re.S)
    assert text is not None, name
    return text[1].splitlines()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built in a directory that holds only what the Containerfile copies."""
    clean, out = tmp_path_factory.mktemp("src"), tmp_path_factory.mktemp("dist")
    for line in re.findall(r"^COPY (?!--from)(.+)$", CONTAINERFILE, re.M):
        *sources, target = line.split()
        for source in sources:
            into = clean / target
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, into, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                into = into / Path(source).name if target.endswith("/") else into
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, into)
    made = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(out), str(clean)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode != 0:
        pytest.skip(f"NOT TESTED: the wheel cannot be built here (no hatchling?): {made.stderr[-300:]}")
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def place(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel and ``constraints.txt``, in which the page's first block was run."""
    directory = tmp_path_factory.mktemp("server")
    shutil.copy(wheel, directory)
    shutil.copy(ROOT / "constraints.txt", directory)
    lines = block("install")
    if not IS_WHOLE:
        lines = [line.replace("pip install -q", "pip install -q --no-deps") for line in lines]
    run(lines, directory, {})
    if not IS_WHOLE:
        found = next((directory / "opt").glob("procomp-pay/lib/python*/site-packages"))
        (found / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", "utf-8")
    return directory


def run(lines: list[str], directory: Path, env: dict[str, str]) -> str:
    """Run lines as one script, with the page's directories inside of ``directory``; return the output."""
    text = "\n".join(lines)
    for name in ("/opt/procomp-pay", "/etc/procomp-pay"):
        text = text.replace(name, f"{directory}{name}")
    (directory / "opt").mkdir(exist_ok=True)
    (directory / "etc").mkdir(exist_ok=True)
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "LANG", "TMPDIR") or name.startswith(_OF_INDEX) or name.lower().endswith("_proxy")
    }
    script = f"set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n{text}\n"
    path = f"{directory}/opt/procomp-pay/bin:{inherited['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=directory, timeout=PATIENCE_S, capture_output=True, text=True,
        check=False,
        env={**inherited, "HOME": str(directory), "PATH": path, **env},
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def test_the_wheel_has_everything_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    for needed in ("_alembic/env.py", "_docs/configuration.md", "_deploy/systemd/procomp-pay.service"):
        assert f"procomp_pay/{needed}" in names
    # only the templates of init: beside compose.yaml lie the files with keys and passwords
    templates = {name.removeprefix("procomp_pay/_deploy/") for name in names if "/_deploy/" in name}
    assert {name for name in templates if not name.startswith("systemd/")} == {"Caddyfile", "nginx.conf"}
    assert {name.partition("/")[0] for name in names} == {
        "procomp_pay", next(name for name in names if ".dist-info" in name).partition("/")[0]
    }  # fmt: skip


def test_first_payment_as_the_page_says(place: Path, empty_postgres_url: str) -> None:
    started = time.monotonic()
    again = [f"{line} --no-deps --force-reinstall" for line in block("install")]
    lines = [
        line.replace("postgresql://procomp:PASSWORD@localhost/procomp", f"'{empty_postgres_url}'")
        for line in with_free_ports(block("first-payment"))
    ]
    shown = run(lines, place, {})
    assert re.search(r"PAID|COMPLETED", shown)
    assert "✓ intact" in shown
    env = place / "etc" / "procomp-pay" / "procomp-pay.env"
    assert env.stat().st_mode & 0o777 == 0o600
    program = place / "opt" / "procomp-pay" / "bin" / "procomp-pay"
    assert f"ExecStart={program} serve" in (env.parent / "procomp-pay.service").read_text("utf-8")
    took = time.monotonic() - started
    if IS_WHOLE:
        print(f"\ninit to the first payment: {took:.0f} s")
        assert took < 300
    # another machine: the same version, a copy of the files, the same database; then an upgrade to the same
    shutil.copytree(env.parent, place / "etc" / "copied")
    (place / "elsewhere").mkdir()
    moved = run(
        [
            f"set -a; . {place}/etc/copied/procomp-pay.env; set +a",
            "procomp-pay keys rotate --check",
            "procomp-pay status 'Test Payer'",
            *(line for line in again if "pip install" in line),
            "procomp-pay db upgrade",
            "procomp-pay db status",
            "procomp-pay audit verify",
        ],
        place,
        {"HOME": str(place / "elsewhere")},
    )
    assert "✓ intact" in moved
    assert "PAID" in moved or "COMPLETED" in moved


@pytest.mark.parametrize("tool", ["pipx", "uv"])
def test_one_command_installs_it_for_one_user(wheel: Path, tmp_path: Path, tool: str) -> None:
    """The page's line for this tool, which comes from the index itself."""
    if not IS_WHOLE:
        pytest.skip("NOT TESTED: it needs the index: PROCOMP_INSTALL=1")
    [line] = re.findall(rf"`({tool} [^`]*\.whl)`", PAGE.replace("\n", " "))
    shutil.copy(wheel, tmp_path)
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    made = subprocess.run(
        [sys.executable, "-m", "venv", str(tmp_path / "tools")], capture_output=True, text=True, check=False
    )
    if made.returncode == 0:
        command = [str(tmp_path / "tools" / "bin" / "pip"), "install", "-q", tool]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"NOT TESTED: {tool} cannot be installed here: {made.stderr[-300:]}")
    shown = run(
        [
            f"export PATH={tmp_path}/tools/bin:$PATH",
            line.replace("procomp_pay-….whl", "procomp_pay-*.whl"),
            "$HOME/.local/bin/procomp-pay --version",
            "PROCOMP_HOME=$HOME/data $HOME/.local/bin/procomp-pay tournament add Trial --fee 1000",
            "head -1 $HOME/.local/bin/procomp-pay | sed 's/^#!//; s/python[0-9.]*$/python/' >interpreter",
            "$(cat interpreter) -c 'from importlib.metadata import version; print(version(\"typer\"))'",
        ],
        tmp_path,
        {},
    )
    assert "procomp-pay 0." in shown
    pinned = re.search(r"^typer==(\S+)", (ROOT / "constraints.txt").read_text("utf-8"), re.M)
    assert pinned is not None
    assert pinned[1] in shown.splitlines()


def test_the_container_starts_as_its_file_says(place: Path) -> None:
    """Run the image's last steps without an engine: its command, with nothing writable but /tmp, and its
    health check."""
    command = re.search(r"^CMD \[(.*)\]$", CONTAINERFILE, re.M)
    check = re.search(r"^  CMD \[(.*)\]$", CONTAINERFILE, re.M)
    assert command is not None
    assert check is not None
    words = " ".join(f"'{word}'" for word in re.findall(r'"([^"]+)"', command[1]))
    probe = re.findall(r'"([^"]+)"', check[1])[-1]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    lines = [
        "mkdir -m 700 writable",
        "export PROCOMP_HOME=$PWD/writable PYTHONUNBUFFERED=1",
        f"procomp-pay {words} >served.log 2>&1 &".replace("8080", port),
        "until grep -qs listens served.log; do sleep 1; done",
        f'python3 -c "{probe}"'.replace("8080", port),
        "echo healthy",
    ]
    assert "healthy" in run(lines, place, {})
