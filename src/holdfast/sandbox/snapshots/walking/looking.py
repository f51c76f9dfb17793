"""Tells which files of a folder were not touched since they were read; what an unchanged workspace costs is spent here.

Linux fills in all there is to know of a file at an address of our choice, so the files of a folder are put side by
side in one buffer, a picture, and the picture is compared with the last one as a whole: no object is made for a file
that is as it was. Only where a picture differs is it looked into, and a picture in which nothing but the times of
reading differ takes the place of the last. Elsewhere than on Linux each file is asked about by itself.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable
from itertools import repeat
from typing import Final

from holdfast.sandbox.snapshots.walking.reading import Row, holds

__all__ = ("Looker", "Picture", "still")

_SIZE: Final = 256
"""Bytes that `statx` fills in of each file, the same on every machine."""
_FIELDS: Final = struct.Struct("=16xI8xH2xQQ48xqI4xqI132x")
"""Of those: number of names, mode, inode, size, ctime and mtime, each time as seconds and ns."""
_NO_FOLLOW: Final = ctypes.c_int(0x100 | 0x800)  # nor mount what would be mounted at a look
_BASIC: Final = ctypes.c_uint(0x7FF)
_SECOND: Final = 1_000_000_000


def _found() -> Callable[..., int] | None:
    try:
        return ctypes.CDLL(None).statx
    except (AttributeError, OSError, TypeError):
        return None


_statx: Final = _found()


class Picture:
    """The rows of a folder as they looked the last time that all of them held."""

    __slots__ = ("data", "names")

    def __init__(self, names: list[bytes], data: bytes) -> None:
        self.names = names
        self.data = data


class Looker:
    """Looks at folders, one after the other; of one thread at a time."""

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(0)
        self._places: list[ctypes.c_void_p] = []

    def differing(self, folder: int, rows: list[Row], picture: Picture | None) -> tuple[list[str], Picture | None]:
        """Returns the names of the rows that do not hold any more, and the picture to come back with."""
        if _statx is None:
            return [row[0] for row in rows if not still(folder, row)], None
        if picture is None:
            picture = Picture([os.fsencode(row[0]) for row in rows], b"")
        count = len(rows)
        self._make_room(count)
        seen = list(
            map(_statx, repeat(ctypes.c_int(folder)), picture.names, repeat(_NO_FOLLOW), repeat(_BASIC), self._places)
        )
        failed = any(seen)
        data = ctypes.string_at(self._buffer, count * _SIZE)
        if data == picture.data and not failed:
            return [], picture
        dirty: list[str] = []
        for row, answer, now in zip(rows, seen, _FIELDS.iter_unpack(data), strict=True):
            links, mode, inode, size, seconds, ns, modified_seconds, modified_ns = now
            changed, modified = seconds * _SECOND + ns, modified_seconds * _SECOND + modified_ns
            # Where the call is forbidden (it is younger than some filters of calls) the plain one is not.
            same = still(folder, row) if answer else row[1:] == (changed, modified, inode, size, mode, links)
            if not same:
                dirty.append(row[0])
        if not dirty and not failed:
            picture.data = data
        return dirty, picture

    def _make_room(self, count: int) -> None:
        if count > len(self._places):
            self._buffer = ctypes.create_string_buffer(count * _SIZE)
            first = ctypes.addressof(self._buffer)
            self._places = [ctypes.c_void_p(first + number * _SIZE) for number in range(count)]


def still(folder: int, row: Row) -> bool:
    """Returns whether what the row tells of was not touched since."""
    try:
        return holds(row, os.stat(row[0], dir_fd=folder, follow_symlinks=False))
    except OSError:
        return False
