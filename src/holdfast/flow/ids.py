"""Unique names, cheaply.

An id is a random prefix of this process and a counter: unique without asking anybody, and far cheaper than
fresh randomness for each. A forked process draws a new prefix.
"""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Iterator

from holdfast.types import BatchId, SessionId, WorkerId

__all__ = ("is_alive", "new_batch", "new_key", "new_session", "start_of", "worker_name")


class _Source:
    def __init__(self) -> None:
        self.prefix = secrets.token_hex(6)
        self.count = itertools.count(1)
        self.names: Iterator[str] = iter(())

    def name(self) -> str:
        """Returns ten random digits, of which 256 in a row share the first three and no two the next two."""
        drawn = next(self.names, "")
        if not drawn:
            self.names = _names(secrets.token_hex(2)[1:], secrets.randbelow(256), secrets.token_hex(640))
            drawn = next(self.names)
        return drawn


def _names(start: str, mask: int, digits: str) -> Iterator[str]:
    for place in range(256):
        yield f"{start}{place ^ mask:02x}{digits[5 * place : 5 * place + 5]}"


_source = _Source()


def _renew() -> None:
    global _source  # noqa: PLW0603 - a forked child must not repeat its parent's ids
    _source = _Source()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def new_batch() -> BatchId:
    """Returns a name for one append."""
    return BatchId(f"{_source.prefix}{next(_source.count):x}")


def new_key() -> str:
    """Returns an idempotency key for one message."""
    return f"k{_source.prefix}{next(_source.count):x}"


def new_session() -> SessionId:
    """Returns a random session name: people pass it around.

    Those that one process draws in a row begin alike, so that an index has them close together, and a commit of many
    new sessions writes one page of it instead of one for each.
    """
    return SessionId(f"s-{_source.name()}")


def worker_name() -> WorkerId:
    """Returns a name for one worker of this process, as `host:boot:pid:start.number`, so that another process on
    the host can tell whether it is still alive.
    """
    start = start_of(os.getpid())
    return WorkerId(f"{os.uname().nodename}:{_boot()}:{os.getpid()}:{start}.{next(_source.count)}")


def start_of(pid: int) -> str:
    """Returns when a process started, in the kernel's ticks; empty when it is gone or the system does not say.

    One that was killed and that its parent has not asked after yet is gone, once the last of its threads is.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:  # noqa: PTH123 - no pathlib at start-up
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return ""
    state, threads, start = fields[0], fields[17], fields[19]
    return "" if state == "Z" and threads == "1" else start


def is_alive(worker: str) -> bool:
    """Returns False only when the worker certainly is dead: same host, and its process gone or another one."""
    host, boot, pid, start = [*worker.rsplit(":", 3), "", "", ""][:4]
    if host != os.uname().nodename or not pid.isdigit():
        return True
    here, there = _boot().partition("."), boot.partition(".")
    if here[0] != there[0]:
        return False
    if here[2] != there[2]:
        return True  # another namespace: its processes cannot be seen from here
    return start_of(int(pid)) == start.partition(".")[0] != ""


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123 - as above
            return f"{file.read(8)}.{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116 - as above
    except OSError:
        return "unknown"
