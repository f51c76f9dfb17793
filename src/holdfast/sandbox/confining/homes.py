"""Folders of sandboxes that cannot have a `/tmp` of their own: each gets a fresh one for its home and for what its
programs put into `TMPDIR`, and it is removed with the sandbox.

Who made one has it locked, so what a killed launcher left is known by that: nobody has. What lies in them is hostile
and may be large or deep, so `rm` removes it, beside everything else.

Loaded by the launcher: the standard library only.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress

__all__ = ("Homes",)

_REMOVE = (
    'for each; do rm -rf -- "$each" 2>/dev/null || { chmod -R u+rwx -- "$each"; rm -rf -- "$each"; } 2>/dev/null; done'
)
_SWEPT = 4096
"""Folders that are removed at a start, at most: more do not go on one command line for sure."""


class Homes:
    """Makes them, and removes them."""

    def __init__(self) -> None:
        """Begins to remove what others left."""
        self.removing: set[int] = set()
        """Processes of ours that remove something."""
        self._locks: dict[str, int] = {}
        self._where = f"/tmp/holdfast-{os.geteuid()}-homes"
        os.makedirs(self._where, mode=0o711, exist_ok=True)
        held = os.lstat(self._where)
        if held.st_uid != os.geteuid() or held.st_mode & 0o022 or not stat.S_ISDIR(held.st_mode):
            raise PermissionError(f"{self._where} belongs to somebody else, or others may write to it: remove it")
        os.chmod(self._where, 0o711)  # the user of a sandbox passes through, whatever our mask is
        with self._alone():
            left = [path for name in os.listdir(self._where) if not _is_locked(path := f"{self._where}/{name}")]
        if left:
            self.remove(*left[:_SWEPT])

    @contextmanager
    def _alone(self) -> Generator[None]:
        """Keeps others from taking what is being made for something that was left."""
        descriptor = os.open(self._where, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def make(self, place: int, uid: int, gid: int) -> str:
        """Returns the path of a new folder for the sandbox at a place, whose processes are this user's.

        Raises:
            OSError: there is no room for one; nothing is left of it.
        """
        path = f"{self._where}/{place}.{os.urandom(6).hex()}"
        with self._alone():
            os.mkdir(path, 0o700)
            self._locks[path] = _lock(path)
        try:
            os.chown(path, uid, gid)
            for each in (f"{path}/home", f"{path}/tmp"):
                os.mkdir(each, 0o700)
                os.chown(each, uid, gid)
        except OSError:
            self.remove(path)
            raise
        return path

    def remove(self, *paths: str) -> None:
        """Begins to remove some, of which nobody uses anything any more; what cannot be now is at the next start."""
        self.collect()
        with suppress(OSError):
            self.removing.add(os.posix_spawn("/bin/sh", ["sh", "-c", _REMOVE, "sh", *paths], {"PATH": os.defpath}))
        for each in paths:
            if (lock := self._locks.pop(each, -1)) >= 0:
                os.close(lock)

    def collect(self, options: int = os.WNOHANG) -> None:
        """Forgets the removals that are done; with 0 for `options` it waits for all of them."""
        self.removing -= {pid for pid in self.removing if os.waitpid(pid, options)[0]}


def _lock(path: str) -> int:
    """Returns what holds a folder until it is closed, which the end of this process does, too.

    Raises:
        OSError: somebody has it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _is_locked(path: str) -> bool:
    try:
        os.close(_lock(path))
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False
