"""Containers by a runtime of the OCI specification, `crun` or `runc`, without an engine, a daemon or an image.

Engines (podman, docker) start the same runtimes, twenty times as slowly and as a service that others share; where one
is installed its runtime is, too, and is used directly.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, final

from holdfast.errors import IsolationMissing
from holdfast.sandbox.backends.bundles import bundle
from holdfast.sandbox.backends.installed import InstalledProgram
from holdfast.sandbox.backends.observing import REASONS, Observed, find, seen, unbounded
from holdfast.sandbox.policy.profile import Profile
from holdfast.sandbox.programs.keeping import BUNDLE, RECORDS

__all__ = ("Container", "Runtime")

Runtime = Literal["crun", "runc"]
_RUNTIMES: tuple[Runtime, ...] = ("crun", "runc")
_ENGINES = ("podman", "docker")
# Resources are limited by the group that the runtime is started in; it is to make none itself.
_BEFORE = {"crun": ["--cgroup-manager=disabled"], "runc": ["--rootless=true"]}


@final
class Container(InstalledProgram):
    """Runs each command in a container of its own; only as root."""

    name = "container"

    def __init__(self, profile: Profile, runtime: Runtime | None = None) -> None:
        self.runtime: Runtime | None = runtime
        super().__init__(profile)

    @classmethod
    async def open(cls, profile: Profile, runtime: Runtime | None = None) -> Container:
        """Starts it once to see what it does here; the first runtime there is, or the one that is given.

        Raises:
            IsolationMissing: it is not installed, does not work here, or lacks a layer that is required.
        """
        made = cls(profile, runtime)
        await made.begin()
        return made

    def find(self) -> str:
        """Returns where the runtime is; without one given, the first there is."""
        if os.geteuid() != 0:
            raise IsolationMissing("containers are started by root here: run as root, or choose native or bubblewrap")
        for each in _RUNTIMES if self.runtime is None else (self.runtime,):
            if (found := find(each)) is not None:
                return found
        engines = [each for each in _ENGINES if find(each)]
        besides = f" ({' and '.join(engines)} here has none)" if engines else ""
        wanted = self.runtime or "crun' or 'runc"
        raise IsolationMissing(f"there is no '{wanted}' on the PATH{besides}: install the package crun, or runc")

    def program_of(self, plan: dict[str, Any]) -> dict[str, Any]:
        """Returns how to start it."""
        before = ["--root", RECORDS, *_BEFORE[Path(self.program).name]]
        words = [self.program, *before, "run", "--bundle", BUNDLE, "--pid-file", f"{BUNDLE}/pid", "@name"]
        return {"config": bundle(plan, own_user=True), "words": words}

    def judge(self, observed: Observed) -> tuple[dict[str, str], tuple[str, ...]]:
        """Returns what was seen to be on; nothing bounds what is added to the workspace."""
        return seen(observed, self.profile.limits), unbounded(observed, self.profile.limits)

    def reason(self, layer: str) -> str:
        """Says why a layer is not on."""
        return REASONS.get(layer, f"{self.program} does not do it here, or the profile does not ask for it")
