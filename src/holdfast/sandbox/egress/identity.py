"""Which program of the sandbox is at the other end of a connection.

The kernel is asked, never the client. Of a unix socket it knows the process that connected; of a TCP connection the
number of its socket, which is then looked for among the sandbox's processes. A program is its path, as the kernel has
it, with the digest of the file: the first file that is seen under a path is what the path means from then on. A
program is never alone: those that started it, up to the sandbox's first process, are part of who it is.

This is a guardrail and no boundary. A program that may go out does what it is told (an interpreter runs anything), a
socket can be handed on, and a process may become another one after it was looked at; so it is looked at again when it
speaks, and everybody who was seen has to be allowed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import struct
import sys
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Final, final

import msgspec

__all__ = ("Identity", "Peer", "Unidentified")

_CREDENTIALS: Final = struct.Struct("3i")
_ANCESTORS: Final = 64
_PROGRAMS: Final = 4096
"""Paths that are remembered; a sandbox that runs more programs than that has nothing honest in mind."""
_LARGEST: Final = 1 << 30
"""Bytes of a program: reading it takes time that is ours."""
_BUDGET: Final = 4 << 30
"""Bytes of programs that are read for one sandbox, all together."""
_READERS, _LOOKERS = 2, 2
"""Threads that read programs, and tables of the kernel, for all sandboxes of this process."""
_ESTABLISHED: Final = "01"


class Unidentified(Exception):
    """Nobody knows which program that is; the text says why."""


class Peer(msgspec.Struct, frozen=True):
    """A process at the other end."""

    pid: int
    """As the host counts."""
    binaries: tuple[str, ...]
    """The path of its program, then of those that started it."""


@final
class Identity:
    """Tells the programs of one sandbox apart."""

    def __init__(self, pids: Callable[[], Collection[int]], *, init: int = 0) -> None:
        """Makes one for the processes that `pids` returns; `init` is one in whose network namespace TCP is spoken."""
        self._pids = pids
        self._init = init
        self._pinned: dict[str, str] = {}
        self._known: dict[tuple[str, int, int, int, int], str] = {}
        self._left = _BUDGET
        self._reading = asyncio.Lock()
        """Held while a program is read: one at a time, and each once, however many connections want to know."""

    async def of(self, connected: socket.socket) -> tuple[Peer, ...]:
        """Returns who holds the other end of an accepted connection: usually one process.

        Raises:
            Unidentified: nobody in the sandbox, or a program whose file is not the one its path meant at first.
        """
        inside = frozenset(self._pids())
        try:
            if connected.family == socket.AF_UNIX:
                raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
                holders = [int(_CREDENTIALS.unpack(raw)[0])]
            else:
                # A sandbox can make these tables long; they are read beside the event loop.
                loop = asyncio.get_running_loop()
                holders = await loop.run_in_executor(_lookers(), _holders_of, self._init, connected, inside)
            if not holders or any(pid not in inside for pid in holders):
                raise Unidentified("no process of this sandbox holds the connection")
            return tuple([Peer(pid, await self._lineage(pid, inside)) for pid in holders])
        except (OSError, ValueError):  # it ended while it was looked at
            raise Unidentified("the process that holds the connection has ended, or cannot be seen") from None

    async def _lineage(self, pid: int, inside: Collection[int]) -> tuple[str, ...]:
        found: list[str] = []
        while pid in inside and len(found) < _ANCESTORS:
            found.append(await self._program(pid))
            pid = _parent_of(pid)
        return tuple(found)

    async def _program(self, pid: int) -> str:
        descriptor = os.open(f"/proc/{pid}/exe", os.O_RDONLY | os.O_CLOEXEC)
        try:
            path = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - on the path of a connection
            about = os.fstat(descriptor)
            file = (path, about.st_dev, about.st_ino, about.st_mtime_ns, about.st_ctime_ns)
            digest = self._known.get(file) or await self._read(descriptor, file, about.st_size)
        finally:
            os.close(descriptor)
        if self._pinned.setdefault(path, digest) != digest:
            raise Unidentified(f"the file of the program {path!r} is not the one it was at its first use")
        return path

    async def _read(self, descriptor: int, file: tuple[str, int, int, int, int], size: int) -> str:
        async with self._reading:
            if (known := self._known.get(file)) is not None:  # somebody else has just read it
                return known
            if size > min(_LARGEST, self._left) or len(self._known) >= _PROGRAMS:
                raise Unidentified(f"the program {file[0]!r} is too large, or one too many")
            self._left -= size
            copy = os.dup(descriptor)
            reading = _readers().submit(_digest_of, copy)
            # Whoever is cancelled before it begins has nobody that closes it.
            reading.add_done_callback(lambda done: os.close(copy) if done.cancelled() else None)
            digest = await asyncio.wrap_future(reading)
            self._known[file] = digest
            return digest


@cache
def _readers() -> ThreadPoolExecutor:
    """Threads of their own: programs of any size must not keep other work of this process waiting."""
    return ThreadPoolExecutor(_READERS, thread_name_prefix="holdfast-programs")


@cache
def _lookers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_LOOKERS, thread_name_prefix="holdfast-holders")


def _digest_of(descriptor: int) -> str:
    """Reads a program, and closes the descriptor: nobody else may, as long as this goes on."""
    with open(descriptor, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parent_of(pid: int) -> int:
    descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        state = os.read(descriptor, 1024)
    finally:
        os.close(descriptor)
    return int(state[state.rindex(b")") + 2 :].split(b" ", 2)[1])


def _holders_of(init: int, connected: socket.socket, inside: Collection[int]) -> list[int]:
    target = f"socket:[{_inode_of(init, connected)}]"
    return [pid for pid in inside if _holds(pid, target)]


def _holds(pid: int, target: str) -> bool:
    folder = f"/proc/{pid}/fd"
    with suppress(OSError):  # it has just ended
        for name in os.listdir(folder):  # noqa: PTH208 - as above
            with suppress(OSError):
                if os.readlink(f"{folder}/{name}") == target:  # noqa: PTH115
                    return True
    return False


def _inode_of(init: int, connected: socket.socket) -> int:
    """Returns the number of the client's socket, from the tables of the network namespace it is in."""
    client, server = connected.getpeername(), connected.getsockname()
    for table, mapped in (("tcp", False), ("tcp6", True)):
        ours = f"{_shown(client, mapped=mapped)} {_shown(server, mapped=mapped)} {_ESTABLISHED} "
        with suppress(OSError):  # no IPv6 here
            text = Path(f"/proc/{init}/net/{table}").read_bytes()
            at = text.find(ours.encode())
            if at >= 0:
                return int(text[at:].split(None, 9)[8])
    raise ValueError("no such connection")


def _shown(address: tuple[str, int], *, mapped: bool) -> str:
    """Returns an address as those tables write it."""
    host = ip_address(address[0])
    if isinstance(host, IPv6Address):
        host = host.ipv4_mapped or host
    packed = host.packed
    if mapped and len(packed) == 4:
        packed = bytes(10) + b"\xff\xff" + packed
    words = (int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4))
    return f"{''.join(f'{word:08X}' for word in words)}:{address[1]:04X}"
