"""The backends that are set against the attempts: all that can be opened by name, with quotas the attempts exceed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from holdfast.errors import IsolationMissing
from holdfast.sandbox.backends.choosing import NAMES, open_backend
from holdfast.sandbox.backends.container import Container
from holdfast.sandbox.policy.profile import Profile, Quotas, Tree
from holdfast.sandbox.port import Backend

__all__ = ("CANNOT", "CONTENDERS", "LIMITED", "STARVED", "Absent", "opened")

_MB = 1 << 20
LIMITED: Final = Profile(limits=Quotas(memory=512 * _MB, pids=128, disk=256 * _MB, inodes=8000, nofile=1024))
"""What the attempts are made under: each asks for more of something than this."""
STARVED: Final = msgspec.structs.replace(LIMITED, limits=msgspec.structs.replace(LIMITED.limits, cpus=0.2, cpu=1))
"""The same with little of the processors."""
RUNC: Final = "container, runc"
"""The backend `container` takes the first of its two runtimes; this is the other one."""
CONTENDERS: Final = (*(name for name in NAMES if name not in ("none", "wasm")), RUNC)
"""Not among them is what runs no programs: attempts are programs (`tests/security/test_wasm_sandbox.py`)."""
CANNOT: Final = {
    "gvisor": frozenset(("hard-links", "scripts")),
    "process": frozenset(
        ("dev-shm", "files-survive", "python-asyncio-server", "python-multiprocessing", "unix-socket")
    ),
}
"""Workloads that a backend refuses, and says so: sockets, and what writes to `/tmp` or `/dev/shm` by that very path. A
gVisor of 2022 knows nothing of a flag that `stat` and `ls -l` of today set.
"""


class Absent(Exception):
    """A backend does not work here."""


@asynccontextmanager
async def opened(name: str, profile: Profile) -> AsyncGenerator[Backend]:
    """Yields a backend.

    Raises:
        Absent: it does not work on this machine.
    """
    if profile.limits.disk is not None and name == "native":  # which bounds what is added in a layer
        profile = msgspec.structs.replace(profile, workspace=Tree(apply="when-ended"))
    try:
        if name == RUNC:
            backend = await Container.open(profile, "runc")
        else:
            backend = await open_backend(msgspec.structs.replace(profile, backend=name))
    except IsolationMissing as error:
        raise Absent(str(error)) from error
    try:
        yield backend
    finally:
        await backend.close()
