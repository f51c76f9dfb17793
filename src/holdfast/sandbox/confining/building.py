"""Makes the process it runs in the first process of a sandbox that has no namespaces.

Without mounts nothing can be hidden, so Landlock says which paths may be opened, and the filter refuses every socket
and whatever else reaches other processes of the user. Here, too, each step takes away what the one before it needed.

This process does not end with the launcher: what it started would live on. It ends when its channel does, and ends what
it started first (`ending.py`); where a command kills it, the launcher inherits that.

Loaded by the launcher: the standard library and `sandbox/kernel/` only.
"""

from __future__ import annotations

import os
from typing import Any

from holdfast.sandbox.confining.starting import Commands
from holdfast.sandbox.kernel import landlock, seccomp, syscalls
from holdfast.sandbox.kernel.cgroups import Group
from holdfast.sandbox.native.building import Step, limit

__all__ = ("confine",)


def confine(plan: dict[str, Any], group: Group | None, step: Step) -> Commands:
    """Confines this process by a plan (`planning.py`), and returns what starts commands in it, and ends them.

    Raises:
        OSError: a step is not possible here; `step` names it.
    """
    step[:] = ["cgroup"]
    if group is not None:
        group.join()
    step[:] = ["children"]
    children = Commands()
    step[:] = ["user"]
    if not plan["rootless"]:
        os.setgroups([])
        os.setresgid(plan["kgid"], plan["kgid"], plan["kgid"])
        os.setresuid(plan["kuid"], plan["kuid"], plan["kuid"])
    step[:] = ["limits"]
    limits = dict(plan["rlimits"])
    if "nproc" in limits:  # the kernel counts everything of the user, wherever it runs
        limits["nproc"] += _threads_of(plan["kuid"])
    limit(limits)
    step[:] = ["rights"]
    syscalls.drop_capabilities()
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    step[:] = ["landlock"]
    owned: dict[str, int] = {path: _open_owned(path) for path in plan["owned"]}
    rules: list[tuple[str | int, int]] = [
        (owned.get(str(path), str(path)), access) for path, access in plan["landlock"]
    ]
    ruleset = landlock.build(rules, offline=True)
    landlock.restrict(ruleset)
    os.close(ruleset)
    step[:] = ["workspace"]
    os.fchdir(owned[plan["cwd"]])  # whether its user comes there at all
    os.chdir("/")
    for each in owned.values():
        os.close(each)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)  # nobody in there may look into this process
    step[:] = ["seccomp"]
    seccomp.install(seccomp.program(alone=False))
    return children


def _open_owned(path: str) -> int:
    """Returns a descriptor of what commands may change; a link on the way, which one of them may have put there, is
    not followed.
    """
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        return syscalls.open_beneath(root, path.lstrip("/"), os.O_PATH)
    finally:
        os.close(root)


def _threads_of(uid: int) -> int:
    """Returns how many threads a user has."""
    count = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/status", encoding="ascii", errors="replace") as file:
                    fields = dict(line.split(":", 1) for line in file if ":" in line)
                count += int(fields["Threads"]) if int(fields["Uid"].split()[0]) == uid else 0
            except (OSError, KeyError, ValueError):
                pass  # it has ended
    return count
