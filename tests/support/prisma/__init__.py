"""Prisma's own client and schema engine: WebAssembly and a driver in JavaScript, no native binary.

They are fetched once by npm, at the versions of package.json, into a cache directory.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

FOLDER = Path(__file__).parent
SCHEMA = Path(__file__).parents[3] / "docs" / "platform" / "schema.prisma"
_GENERATOR = 'generator client {\n  provider = "prisma-client-js"\n  output = "./generated"\n}\n'


class Prisma:
    """An installation with a client of docs/platform/schema.prisma."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def drift(self, url: str, *external: list[str]) -> list[str]:
        """Return the migration that Prisma wants to make of a database, with each list of tables.

        :param external: the tables that ``prisma.config.ts`` calls external.
        """
        found: list[str] = json.loads(self._node("drift.mjs", url, str(SCHEMA), json.dumps(external)))
        return found

    def query(self, url: str, *queries: tuple[str, str, dict[str, Any]]) -> list[Any]:
        """Return the results of the client's queries: model, action and arguments."""
        results: list[Any] = json.loads(self._node("query.mjs", url, json.dumps(queries)))
        return results

    def _node(self, script: str, *words: str) -> str:
        return _run(["node", script, *words], self._folder).strip()


def installed() -> Prisma:
    """Return the installation, or skip the test and say so."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"NOT TESTED: no {program}, so that Prisma's own client was not tried")
    sources = [*sorted(FOLDER.glob("*.mjs")), FOLDER / "package.json", SCHEMA]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "procomp-pay-tests"
    folder = cache / f"prisma-{digest}"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "generated" / "index.js").exists():
            _install(folder)
    return Prisma(folder)


def _install(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path in (FOLDER / "package.json", *FOLDER.glob("*.mjs")):
        shutil.copy(path, folder)
    (folder / "schema.prisma").write_text(_GENERATOR + SCHEMA.read_text("utf-8"), "utf-8")
    try:
        # no scripts: they would fetch native binaries
        _run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"], folder)
    except subprocess.SubprocessError as error:
        pytest.skip(f"NOT TESTED: npm could not install Prisma: {error}")
    # the schema engine is not needed for this; naming one keeps Prisma from fetching it
    engine = {"PRISMA_SCHEMA_ENGINE_BINARY": shutil.which("node") or ""}
    _run(["node", "node_modules/prisma/build/index.js", "generate"], folder, **engine)


def _run(words: list[str], folder: Path, **more: str) -> str:
    done = subprocess.run(
        words, cwd=folder, env={**os.environ, "CHECKPOINT_DISABLE": "1", **more},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    if done.returncode:
        raise subprocess.SubprocessError(f"{words[:2]}: {done.stderr[-2000:] or done.stdout[-2000:]}")
    return done.stdout
