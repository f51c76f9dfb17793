"""Which remotes the git tool speaks with: hosts over https, http and ssh, and folders that the program named.

A folder as a remote is a repository whose own hooks run on a push, and whose files a pull reads. So one in the
workspace is never used, and another one only when the program allows it. Only a plain path counts as a folder: in a
`file:` URL git decodes what a look at its text would miss.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from holdfast.tools.binding import ToolFailure
from holdfast.tools.builtin.repository.finding import inside
from holdfast.tools.builtin.repository.running import LOOK, Git

__all__ = ("Remote", "find_remote")

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_URL: Final = re.compile(r"(https?|ssh)://[^/].*", re.DOTALL)
_SCP: Final = re.compile(r"(?:[\w.-]+@)?(?:\w[\w.-]*|\[[0-9A-Fa-f:.]+\]):(?!:|//).+", re.ASCII)
"""`user@host:path`, which is ssh, too."""
_TRIED: Final = ("", "/.git", ".git", ".git/.git")
"""What git appends to a path until it finds a repository."""


class Remote(msgspec.Struct, frozen=True):
    """Whom a call speaks with."""

    name: str
    protocols: str
    """By which, as `GIT_ALLOW_PROTOCOL` has them."""


async def find_remote(git: Git, name: str) -> Remote:
    """Returns the remote of that name; `origin` without one.

    Raises:
        ToolFailure: there is none, or one of its addresses is not used.
    """
    name = name or "origin"
    known = (await git.run("remote", env=LOOK)).split()
    if not _NAME.fullmatch(name) or name not in known:
        listed = ", ".join(known) or "none"
        raise ToolFailure(f"There is no remote {name!r}; there are: {listed}.", code="invalid_input")
    addresses: set[str] = set()
    for side in ((), ("--push",)):
        addresses.update((await git.run("remote", "get-url", "--all", *side, name, env=LOOK)).splitlines())
    space, allowed = git.repository.space, git.remotes
    return Remote(name, ":".join(sorted({_protocol(name, address, space, allowed) for address in addresses})))


def _protocol(name: str, address: str, space: Path, allowed: Iterable[Path]) -> str:
    if url := _URL.fullmatch(address):
        return url[1]
    if _SCP.fullmatch(address):
        return "ssh"
    # A backslash or a colon would make it something else to a git of another system.
    if not address.startswith("/") or "::" in address or "://" in address:
        raise _refused(name, "is no https, http or ssh URL and no plain path from the root")
    if any(inside(space, Path(address + more)) for more in _TRIED):
        raise _refused(name, "is a folder of the workspace, whose hooks would run")
    if not any(inside(Path(os.path.realpath(folder)), Path(address)) for folder in allowed):
        raise _refused(name, "is a folder outside the workspace that the program does not allow (`git_tool(remotes=)`)")
    return "file"


def _refused(name: str, why: str) -> ToolFailure:
    return ToolFailure(f"The remote {name!r} {why}. Use git in bash if you trust it.", code="permission_denied")
