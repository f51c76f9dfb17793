"""What a sandbox should be: who asks for it says what it must keep, what it may use, and how much of it.

A profile is a wish. What a backend makes of it on this machine is its posture (`sandbox/port.py`): layers that are
named in `require` and are missing there make it refuse, and nothing else is ever promised silently.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from holdfast.sandbox.policy.openshell import Policy

__all__ = ("PROTECTED", "BackendName", "Ceiling", "Env", "Pooling", "Profile", "Quotas", "Tree")

BackendName = Literal["auto", "native", "bubblewrap", "container", "gvisor", "process", "wasm", "none"]

PROTECTED = (
    ".git/hooks",
    ".git/config",
    ".git/config.worktree",
    ".git/commondir",
    ".git/info/attributes",
    ".git/modules",
    ".git/worktrees",
    ".mcp.json",
    ".vscode",
    ".idea",
    ".claude",
    ".codex",
    ".envrc",
)
"""Paths in a workspace that programs outside the sandbox obey: writing them would be a way out of it."""


class Quotas(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much a sandbox may use; None for as much as there is. What is over ends with a breach that names it."""

    memory: int | None = 2 * 1024**3
    """Bytes, of all its processes together."""
    cpus: float | None = None
    """Processors, of all its processes together."""
    pids: int | None = 512
    """Processes and threads at once."""
    wall: float | None = None
    """Seconds one command may take, whatever its caller allows."""
    cpu: float | None = None
    """Seconds of CPU of one command with all it starts; of a process that goes on, and without `native`, of each
    process.
    """
    disk: int | None = None
    """Bytes that may be added to the workspace, and to `/tmp`. With `apply: at-once` they do not bound the workspace,
    which is the folder itself then.
    """
    inodes: int | None = None
    """Files and folders that may be added to the workspace, and to `/tmp`; as `disk`."""
    nofile: int | None = 1024
    """Open files of each process. A program that meets it says so itself, if anybody does: nothing is named."""
    file: int | None = None
    """Bytes of one file."""
    output: int | None = None
    """Bytes of output of one command that are kept. One that prints more goes on, and is told."""
    sandboxes: int | None = None
    """Sandboxes alive at once on this machine, also those that idle or are ready, of all runtimes of this user whose
    profiles set such a limit. More are refused.
    """


class Tree(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens to the files of the workspace."""

    protect: tuple[str, ...] = PROTECTED
    """Paths relative to the workspace that can be read but not changed, and what they lead to in there. Of
    `.git/worktrees` that is what leads git from a work tree elsewhere to this repository.
    """
    apply: Literal["at-once", "when-ended", "when-succeeded"] = "at-once"
    """When what a command does to files is done to the folder: at once; or as a whole when the command has ended by
    itself, or only when it has with exit code 0. Until then it lies in a layer that `disk` and `inodes` bound, and one
    that was killed leaves no trace.
    """
    rollback: Literal["never", "failed"] = "never"
    """Whether files are put back after a call of any tool that failed, took too long, was stopped or was killed, before
    the next one begins: as the snapshot before it has them, where there is one.
    """


class Pooling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens to a sandbox before and after its command."""

    reuse: Literal["owner", "never"] = "owner"
    """Whether it serves the next command of the same owner in the same workspace, with what lies in its `/tmp` and home
    folder, where the backend keeps any; with `never` it ends with its command.
    """
    ready: int = 0
    """Sandboxes that are kept made for each owner in a workspace, from the first command on, so that none waits for the
    making. They are made again while commands run, and end when nobody took one for a minute.
    """


class Env(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What commands find in their environment."""

    allow: tuple[str, ...] = ()
    """Variables of ours that are passed on, besides PATH, LANG and the like; none that holds a secret."""
    secrets: dict[str, tuple[str, ...]] = {}
    """Variables of ours whose values stay outside, each with the hosts it may go to: commands get placeholders, and the
    proxy fills them in, in the header that authorises, where a request to such a host is allowed.
    """


class Ceiling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The most that tools may ask for which are programs or containers of their own."""

    programs: tuple[str, ...] = ()
    """Programs that a tool may start on this machine without a sandbox: names, looked for in the system's folders, or
    whole paths. None without it.
    """
    memory: int = 1024**3
    """Bytes that a container may have, of all its processes together."""
    cpus: float = 2.0
    pids: int = 256
    networks: tuple[Literal["none", "bridge"], ...] = ("none",)
    """The networks a container may be in; `bridge` leads wherever the engine's own does."""


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of sandbox."""

    backend: BackendName = "auto"
    """What it runs in; `auto` takes the strongest that works here and refuses where none does."""
    require: tuple[str, ...] = ()
    """Layers without which nothing is started, such as `netns`, `landlock>=4` or `disk-quota`."""
    policy: Policy = Policy()
    limits: Quotas = Quotas()
    workspace: Tree = Tree()
    env: Env = Env()
    pool: Pooling = Pooling()
    tools: Ceiling = Ceiling()

    @property
    def unbound(self) -> tuple[str, ...]:
        """Quotas that are set and do not bound the workspace, since commands change the folder itself."""
        if self.workspace.apply != "at-once":
            return ()
        return tuple(name for name in ("disk", "inodes") if getattr(self.limits, name) is not None)
