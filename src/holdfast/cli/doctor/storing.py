"""How full the storage is of the log and its blobs, of the files that snapshots and forks keep, and of sandboxes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from holdfast.cli.doctor.findings import Finding, Level
from holdfast.errors import HoldfastError
from holdfast.runtime.opening import data_url, files_of, workspaces_of
from holdfast.runtime.settings import load_settings
from holdfast.sandbox.capacity.storage import DEGRADED, UNHEALTHY, storage_at
from holdfast.sandbox.native.slots import folder as slots

__all__ = ("storage",)


def storage(env: Mapping[str, str]) -> list[Finding]:
    """Returns how each of them is that is on a disk here."""
    try:
        url = load_settings(Path(), env).store or data_url("holdfast.db")
    except HoldfastError:  # it is among the findings
        url = data_url("holdfast.db")
    database = files_of(url)[1] if url.startswith("sqlite:") else None  # where others keep theirs is not known
    places = (("log", database), ("snapshots", workspaces_of(url)), ("sandboxes", Path(slots())))
    return [_finding(name, path) for name, path in places if path is not None]


def _finding(name: str, path: Path) -> Finding:
    found = storage_at(path)
    if found.fault:
        return Finding("storage", name, "broken", f"unhealthy: {found.path}: {found.fault}", "make it writable again")
    level: Level = "ok" if found.health == "healthy" else "warning"
    line = UNHEALTHY if found.health == "unhealthy" else DEGRADED
    hint = "" if level == "ok" else f"make room below {line:g} %: holdfast runs prune, or move it to a larger disk"
    return Finding("storage", name, level, f"{found.health}: {found.path} is {found.used:.0f} % full", hint)
