"""Folders of sandboxes that cannot have a `/tmp` of their own: each gets a fresh one for its home and for what its
programs put into `TMPDIR`, and it is removed with the sandbox.

A folder is named after its place (`native/slots.py`), so what a killed launcher left is known by that: nobody holds the
place. What lies in them is hostile and may be large or deep, so `rm` removes it, beside everything else.

Loaded by the launcher: the standard library only.
"""

from __future__ import annotations

import os
import stat

from holdfast.sandbox.native.slots import Slots

__all__ = ("Homes",)

_REMOVE = 'rm -rf -- "$1" 2>/dev/null || { chmod -R u+rwx -- "$1"; rm -rf -- "$1"; } 2>/dev/null'


class Homes:
    """Makes them, and removes them."""

    def __init__(self, slots: Slots) -> None:
        self.removing: set[int] = set()
        """Processes of ours that remove something."""
        self._where = f"/tmp/holdfast-{os.geteuid()}-homes"
        os.makedirs(self._where, mode=0o711, exist_ok=True)
        held = os.lstat(self._where)
        if held.st_uid != os.geteuid() or held.st_mode & 0o022 or not stat.S_ISDIR(held.st_mode):
            raise PermissionError(f"{self._where} belongs to somebody else, or others may write to it: remove it")
        os.chmod(self._where, 0o711)  # the user of a sandbox passes through, whatever our mask is
        for name in os.listdir(self._where):
            place, _, _ = name.partition(".")
            if place.isdigit() and slots.try_take(int(place)):
                self.remove(f"{self._where}/{name}")
                slots.give_back(int(place))

    def make(self, place: int, uid: int, gid: int) -> str:
        """Returns the path of a new folder for the sandbox at a place, whose processes are this user's."""
        path = f"{self._where}/{place}.{os.urandom(6).hex()}"
        for each in (path, f"{path}/home", f"{path}/tmp"):
            os.mkdir(each, 0o700)
            os.chown(each, uid, gid)
        return path

    def remove(self, path: str) -> None:
        """Begins to remove one, of which nobody uses anything any more."""
        self.collect()
        self.removing.add(os.posix_spawn("/bin/sh", ["sh", "-c", _REMOVE, "sh", path], {"PATH": os.defpath}))

    def collect(self, options: int = os.WNOHANG) -> None:
        """Forgets the removals that are done; with 0 for `options` it waits for all of them."""
        self.removing -= {pid for pid in self.removing if os.waitpid(pid, options)[0]}
