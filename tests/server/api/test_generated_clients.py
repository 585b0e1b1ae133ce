"""Clients that others' generators make from the document understand the answers.

The generators are no dependencies: openapi-python-client wants another typer than ours. CI installs them
beside; ``PROCOMP_OPENAPI_PYTHON`` and ``PROCOMP_OPENAPI_TYPESCRIPT`` name their directories of programs.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from procomp_pay.server.api.routes import document
from tests.support.http_requests import token
from tests.support.openapi_contract import DOCUMENT
from tests.support.server import Served


def _programs(name: str) -> Path:
    """Return the directory of a generator's programs, or skip the test."""
    if not os.environ.get(name):
        pytest.skip(f"NOT TESTED: {name} names no directory of programs; .ci/run sets it")
    return Path(os.environ[name])


async def _run(*words: str | Path, cwd: Path) -> None:
    process = await asyncio.create_subprocess_exec(*words, cwd=cwd, stdout=-1, stderr=-2)
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()


def test_optional_fields_have_no_default_and_enums_no_twins() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert not [
            field for field, described in schema.get("properties", {}).items() if "default" in described
        ], name
        values = [value.lower() for value in schema.get("enum", ())]
        assert len(set(values)) == len(values), name
    for methods in DOCUMENT["paths"].values():
        for described in methods.values():
            for parameter in described.get("parameters", ()):
                values = [str(value).lower() for value in parameter["schema"].get("enum", ())]
                assert len(set(values)) == len(values), parameter["name"]
    for status, response in DOCUMENT["components"]["responses"].items():
        assert response["content"]["application/json"]["example"]["status_code"] == int(status)


def test_the_two_shapes_of_an_open_payment_are_told_apart_by_the_method() -> None:
    started = DOCUMENT["components"]["schemas"]["Started"]
    assert len(started["oneOf"]) == 2
    assert started["discriminator"]["propertyName"] == "method"
    shapes = {method: path.rpartition("/")[2] for method, path in started["discriminator"]["mapping"].items()}
    assert shapes == {"kaspi_qr": "KaspiStarted", "apple_pay": "WalletStarted", "google_pay": "WalletStarted"}


async def test_a_generated_python_client_decodes_all_methods(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ask a real server with the client, as an app does."""
    programs = _programs("PROCOMP_OPENAPI_PYTHON")
    (tmp_path / "document.json").write_text(document(), "utf-8")
    words = ("generate", "--path", "document.json", "--output-path", "made_client", "--meta", "none")
    await _run(programs / "openapi-python-client", *words, cwd=tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def part(name: str) -> Any:
        return importlib.import_module(f"made_client.{name}")

    try:
        initiate, status = part("api.payments.initiate_payment"), part("api.payments.get_status")
        async with part("client").AuthenticatedClient(served.url, token=token(role="staff")) as client:
            for method, shape in (("kaspi_qr", "Kaspi"), ("apple_pay", "Wallet"), ("google_pay", "Wallet")):
                body = part("models").InitiateBody.from_dict({"participant_id": "p1", "method": method})
                started = await initiate.asyncio(client=client, body=body)
                assert (type(started).__name__, started.method) == (f"{shape}Started", method)
                standing = await status.asyncio("p1", client=client)
                assert (standing.payment_id, standing.method) == (started.payment_id, method)
            refused = await status.asyncio("nobody", client=client)
            assert refused.code == "participant_not_found"
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "made_client"]:
            del sys.modules[name]


_TYPESCRIPT = """
import type { components } from "./document";
type Schemas = components["schemas"];
export const body: Schemas["InitiateBody"] = { participant_id: "p1", method: "kaspi_qr" };
export const refund: Schemas["RefundBody"] = { reason: "injured" };
export function open(started: Schemas["Started"]): string | null {
  return started.method === "kaspi_qr" ? started.payment_url : started.client_secret;
}
"""


async def test_generated_typescript_types_tell_the_methods_apart(tmp_path: Path) -> None:
    programs = _programs("PROCOMP_OPENAPI_TYPESCRIPT")
    (tmp_path / "document.json").write_text(document(), "utf-8")
    (tmp_path / "app.ts").write_text(_TYPESCRIPT, "utf-8")
    await _run(programs / "openapi-typescript", "document.json", "-o", "document.d.ts", cwd=tmp_path)
    await _run(programs / "tsc", "--noEmit", "--strict", "app.ts", cwd=tmp_path)
