"""gVisor: a kernel of its own, in user space, answers what commands ask; of the machine's kernel they see nothing.

Each command gets a fresh container. Its files are served by a process of gVisor's outside, which has our rights,
because it has to give files their owner; what commands can reach is what was put into the root, and no more.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, final

from holdfast.errors import IsolationMissing
from holdfast.sandbox.backends.bundles import bundle
from holdfast.sandbox.backends.installed import InstalledProgram
from holdfast.sandbox.backends.observing import REASONS, Observed, find, seen, unbounded
from holdfast.sandbox.programs.keeping import BUNDLE, RECORDS

__all__ = ("GVisor",)

_OPEN = ("cpu_unlimited",)
"""Ways that are open under its own kernel, by what commands are told there of the time they took."""
_SETTINGS = (
    *("alternatives", "ca-certificates.conf", "group", "host.conf", "hosts", "ld.so.cache", "ld.so.conf"),
    *("ld.so.conf.d", "localtime", "mime.types", "nsswitch.conf", "passwd", "protocols", "services", "ssl/certs"),
)
"""What programs need of `/etc`. It is read with our rights, so the rest would be readable, `shadow` included."""
_THREADS = 64
"""Threads of its own, which the control group counts too."""
_PLATFORM = "ptrace"
"""The one that every gVisor has, and that needs nothing of the machine."""
_OF_ITS_KERNEL = ("own-kernel", "userns", "pidns", "mountns", "netns", "ipcns", "utsns", "no-new-privs")
_OURS_TO_LIMIT = ("--network=none", "--ignore-cgroups", "--oci-seccomp", "--file-access=shared", "--overlay=false")


@final
class GVisor(InstalledProgram):
    """Runs each command in `runsc`; only as root."""

    name = "gvisor"
    own_user = False

    def find(self) -> str:
        """Returns where `runsc` is."""
        if os.geteuid() != 0:
            raise IsolationMissing("gVisor is started by root here: run as root, or choose native or bubblewrap")
        if (found := find("runsc")) is None:
            raise IsolationMissing("there is no 'runsc' on the PATH: install gVisor (the package runsc)")
        return found

    def program_of(self, plan: dict[str, Any]) -> dict[str, Any]:
        """Returns how to start it."""
        plan["mounts"] = [one for each in plan["mounts"] for one in _harmless(each)]
        config = bundle(plan, own_user=False)
        before = [f"--root={RECORDS}", f"--platform={_PLATFORM}", *_OURS_TO_LIMIT]
        if (pids := plan["group"]["pids"]) is not None:
            plan["group"]["pids"] = pids + _THREADS
        # What is limited by its own kernel is in the bundle; that one does not limit CPU.
        rlimits = {name: most for name, most in plan["rlimits"].items() if name == "cpu"}
        words = [self.program, *before, "run", f"-bundle={BUNDLE}", f"-pid-file={BUNDLE}/pid", "@name"]
        return {"config": config, "words": words, "rlimits": rlimits}

    def judge(self, observed: Observed) -> tuple[dict[str, str], tuple[str, ...]]:
        """Returns what was seen to be on; whoever is asked inside is a kernel of gVisor's."""
        on = seen(observed, self.profile.limits)
        if (version := observed.inside.get("version")) == Path("/proc/version").read_text("utf-8").strip():
            raise self.refused(f"what answers in there is the machine's own kernel: {version}")
        ways = {*unbounded(observed, self.profile.limits), *_OPEN}
        return on | dict.fromkeys(_OF_ITS_KERNEL, ""), tuple(sorted(ways))

    def reason(self, layer: str) -> str:
        """Says why a layer is not on."""
        return REASONS.get(layer, "gVisor does not do it here, or the profile does not ask for it")


def _harmless(each: dict[str, Any]) -> list[dict[str, Any]]:
    if each["path"] != "/etc":
        return [each]
    found = [Path("/etc", name) for name in _SETTINGS]
    return [{**each, "path": str(path)} for path in found if path.exists()]
