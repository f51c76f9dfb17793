"""Has the kernel tell which folders of a workspace nobody touched, so that what cannot have changed is not looked at.

Each folder is watched from before it is looked at. Whatever is done to a name in it, or to a file through a name in
it, is noted by the kernel before the call that did it returns; so what nothing was noted of is as it was. What was
noted counts until a capture that looked at it was kept.

A file can have names in more than one folder, and what is written through one is noted there alone. So a folder with
a file of more names is always looked at; and a folder that was made or moved, a name that came and went, or a new name
of a file that has others may have stood for any file here: then everything is looked at. For the same reason it is all
folders that are watched or none. When the kernel noted more than it keeps, every folder has to be looked at again.

Only disks are trusted on which no other machine writes, and only Linux has this. Where it cannot be had there are no
watches, and every folder is looked at.
"""

from __future__ import annotations

import ctypes
import os
import struct
import weakref
from collections.abc import Callable, Set
from typing import Final

__all__ = ("Watch",)

MANY: Final = 1000
"""Names in a workspace from which on it is watched: fewer are looked at as fast."""
_KNOWN: Final = {0xEF53, 0x58465342, 0x9123683E, 0x01021994, 0xF2F52010}
"""ext2 to ext4, xfs, btrfs, tmpfs, f2fs."""

_MODIFY, _ATTRIB, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x4, 0x8, 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _OVERFLOW, _IGNORED, _ONLY_FOLDERS = 0x400, 0x800, 0x4000, 0x8000, 0x01000000
_OF_A_FOLDER = 0x40000000
_NAMED = _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
_MASK: Final = ctypes.c_uint32(_NAMED | _MODIFY | _ATTRIB | _CLOSE_WRITE | _DELETE_SELF | _MOVE_SELF | _ONLY_FOLDERS)
_EVENT: Final = struct.Struct("=iIII")
"""Which watch, what happened, what ties the two halves of a move together, how long the name is."""
_ROOM: Final = 64 * 1024
ENOUGH: Final = 4 << 20
"""Bytes of events that are heard at once; somebody may write faster than we hear."""
_NONE: Final = frozenset[str]()


class _Calls:
    """What the C library has; `OSError` when the kernel refuses."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        self._start, self._add, self._remove, self._disk = (
            library.inotify_init1, library.inotify_add_watch, library.inotify_rm_watch, library.fstatfs
        )  # fmt: skip

    def start(self) -> int:
        """Returns a queue that is read without waiting."""
        return _checked(self._start(os.O_CLOEXEC | os.O_NONBLOCK))

    def add(self, queue: int, folder: int) -> int:
        """Watches an open folder; one that is watched keeps its number."""
        return _checked(self._add(queue, b"/proc/self/fd/%d" % folder, _MASK))

    def remove(self, queue: int, watch: int) -> None:
        """Ends a watch; nothing happens when it ended by itself."""
        self._remove(queue, watch)

    def kind_of_disk(self, folder: int) -> int:
        """Returns the number by which the kernel tells its file systems apart."""
        room = ctypes.create_string_buffer(512)
        _checked(self._disk(folder, room))
        return ctypes.c_long.from_buffer(room).value


def _found() -> _Calls | None:
    try:
        return _Calls()
    except (AttributeError, OSError, TypeError):
        return None


_calls: _Calls | None = _found()


class Watch:
    """The watches of one workspace; of one thread at a time. Whoever lets go of it lets go of them."""

    def __init__(self) -> None:
        self._queue: int | None = None
        self._close: Callable[[], object] = _nothing
        self._refused = _calls is None
        self._device = 0
        self._live = set[int]()
        self._dirty: dict[int, set[str] | None] = {}
        """What was touched since the last capture that was kept; None where that can be anything."""
        self._made = set[tuple[int, bytes]]()
        """Names that came since the last capture that was kept."""

    def begin(self, root: int, names: int) -> None:
        """Hears what happened, so that `touched` is right from here on; starts with a workspace of many names."""
        device = os.fstat(root).st_dev
        if self._queue is not None and device != self._device:
            self._end()
        if self._queue is not None:
            self._hear(self._queue)
        elif names >= MANY and not self._refused:
            self._start(root, device)

    def touched(self, watch: int) -> Set[str] | None:
        """Returns the names in a folder that were touched since it was looked at; None when that can be any."""
        return self._dirty.get(watch, _NONE) if watch in self._live else None

    def add(self, folder: int, device: int) -> int:
        """Watches an open folder that is going to be looked at, and returns the number of its watch; 0 for none."""
        if self._queue is None or _calls is None or device != self._device:
            return 0
        try:
            watch = _calls.add(self._queue, folder)
        except OSError:  # there are no more, or `/proc` is not there
            self._end()
            self._refused = True
            return 0
        self._live.add(watch)
        self._dirty[watch] = None
        return watch

    def doubt(self) -> bool:
        """Makes every folder dirty; returns whether one was trusted."""
        trusted = any(self.touched(watch) is not None for watch in self._live)
        self._dirty = dict.fromkeys(self._live)
        return trusted

    def settle(self, watches: Set[int]) -> None:
        """Takes it that a capture was kept that looked at all that was dirty; these are the watches of its folders."""
        if self._queue is None or _calls is None:
            return
        for left in self._live - watches:  # its folder is no longer in the workspace
            _calls.remove(self._queue, left)
        self._live &= watches
        self._dirty.clear()
        self._made.clear()

    def _start(self, root: int, device: int) -> None:
        if _calls is None:
            return
        try:
            if _calls.kind_of_disk(root) & 0xFFFFFFFF in _KNOWN:
                self._queue, self._device = _calls.start(), device
        except OSError:
            pass
        if self._queue is None:
            self._refused = True
        else:
            self._close = weakref.finalize(self, os.close, self._queue)

    def _end(self) -> None:
        self._close()
        self._queue = None
        for known in (self._live, self._dirty, self._made):
            known.clear()

    def _hear(self, queue: int) -> None:
        moving, heard, doubtful = set[int](), 0, False
        try:
            while heard < ENOUGH:
                data = os.read(queue, _ROOM)
                heard += len(data)
                doubtful |= self._take(data, moving)
        except BlockingIOError:
            doubtful |= bool(moving)  # to somewhere else
        except OSError:
            self._end()
            return
        if doubtful or heard >= ENOUGH:  # only once: it takes a look at each of the folders
            self.doubt()

    def _take(self, data: bytes, moving: set[int]) -> bool:
        """Notes what happened, and returns whether every folder is dirty now; `moving` are the moves of which only the
        first half was heard.
        """
        at, end, doubtful = 0, len(data), False
        while at < end:
            watch, what, move, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size + length
            name = data[at - length : at].rstrip(b"\0")
            known = self._dirty.setdefault(watch, set())
            if not name:
                self._dirty[watch] = None
            elif known is not None:
                known.add(os.fsdecode(name))
            if what & _OVERFLOW:
                self._live.clear()
            elif what & _IGNORED:
                self._live.discard(watch)
            elif what & _NAMED and self._is_doubtful((watch, name), what, move, moving):
                doubtful = True
        return doubtful

    def _is_doubtful(self, name: tuple[int, bytes], what: int, move: int, moving: set[int]) -> bool:
        """Returns whether something may have stood for any file here, and cannot be looked at any more."""
        known = name in self._made
        if what & (_CREATE | _MOVED_TO):
            self._made.add(name)
            moving.discard(move)
            # What a folder that was not watched yet held for a while, nobody told; nor what this took the place of.
            return bool(what & _OF_A_FOLDER) or (known and bool(what & _MOVED_TO))
        if what & _MOVED_FROM:
            if known or what & _OF_A_FOLDER:
                moving.add(move)
            return False
        return known


def _nothing() -> None:
    """Stands for a queue that is not there."""


def _checked(answer: int) -> int:
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return answer
