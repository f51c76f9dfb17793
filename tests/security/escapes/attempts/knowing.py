"""What an attempt is told, and how it says that it could not be made. Runs inside: standard library only.

No secret is in here: an attempt that names one in its evidence has really read it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ("CouldNotTry", "Refused", "Spec", "call_myself", "strangers")


class CouldNotTry(Exception):
    """Something the attempt itself needs is not there."""


class Refused(Exception):
    """It was tried, and did not work."""


@dataclass(frozen=True)
class Spec:
    """Where the canaries are."""

    nonce: str
    """Names this run in everything it leaves behind."""
    outside: str
    """A folder beside the workspace that is nobody's business inside."""
    pid: int
    """The canary process, by its number on the host."""
    address: int
    """Of 16 secret bytes in that process."""
    descriptor: int
    """Of a secret file that process holds open and nobody can open."""
    tcp: int
    udp: int
    udp6: int
    """Ports of listeners on the host's loopback; 0 where there is none."""
    abstract: str
    """Name of an abstract unix socket."""
    shm_key: int
    shm_file: str
    handle_type: int
    handle: str
    """The secret file's handle in its file system, as hexadecimal digits."""
    disk: tuple[int, int]
    """Numbers of a block device."""
    pidns: str
    mntns: str
    """The namespaces of the host, as /proc names them."""

    @property
    def secret(self) -> str:
        """The path of the file that must not be read."""
        return f"{self.outside}/secret"

    @property
    def target(self) -> str:
        """The path of the file that must not be written."""
        return f"{self.outside}/target"

    def mark(self, name: str) -> str:
        """Returns what an attempt of this name leaves where it was."""
        return f"{self.nonce} {name}\n"


def strangers(spec: Spec) -> Iterator[int]:
    """Yields processes to try something on: on the host the canary alone, in a namespace of our own everything."""
    yield spec.pid
    with suppress(OSError):
        if Path("/proc/self/ns/pid").readlink().name != spec.pidns:
            for name in os.listdir("/proc"):  # noqa: PTH208 - names
                if name.isdigit() and int(name) not in (spec.pid, os.getpid()):
                    yield int(name)


def call_myself(name: str) -> None:
    """Sets what the host sees as this process's name."""
    try:
        Path("/proc/self/comm").write_text(name[:15])
    except OSError:  # a sandbox may have no /proc
        with suppress(ImportError, OSError):
            import ctypes

            ctypes.CDLL(None).prctl(15, name[:15].encode(), 0, 0, 0)  # PR_SET_NAME
