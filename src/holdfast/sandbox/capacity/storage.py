"""How full the storage is that sandboxes and stores live on, and what that means.

A file system that is nearly full breaks runs in the middle: a layer that cannot grow, a place that cannot be taken, a
blob that cannot be written. So it is said before.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Literal

import msgspec

__all__ = ("DEGRADED", "UNHEALTHY", "Health", "Storage", "storage_at")

Health = Literal["healthy", "degraded", "unhealthy"]
DEGRADED = 85.0
UNHEALTHY = 95.0
"""Percent in use above which storage is degraded, and unhealthy."""


class Storage(msgspec.Struct, frozen=True):
    """The file system of a path."""

    path: str
    health: Health
    used: float = 0.0
    """Percent of its bytes or of its files, whichever is more, that are in use for whoever asks."""
    fault: str = ""
    """Why nothing can be written there, whatever room there is."""


def storage_at(path: Path) -> Storage:
    """Returns how the storage of a path is; where the path is not there yet, that of the closest folder above it."""
    path = next((each for each in (path, *path.absolute().parents) if os.path.lexists(each)), path)
    try:
        held = os.statvfs(path)
        if held.f_flag & os.ST_RDONLY:
            return Storage(str(path), "unhealthy", fault="it is mounted read-only")
        with tempfile.TemporaryFile(dir=path if path.is_dir() else path.parent):
            pass
    except OSError as error:
        return Storage(str(path), "unhealthy", fault=error.strerror or str(error))
    bytes_used = _percent(held.f_blocks - held.f_bfree, held.f_bavail)
    files_used = _percent(held.f_files - held.f_ffree, held.f_favail)
    used = max(bytes_used, files_used)
    return Storage(str(path), "unhealthy" if used > UNHEALTHY else "degraded" if used > DEGRADED else "healthy", used)


def _percent(used: int, free: int) -> float:
    """Returns how much of what there is for us is in use; some file systems count no files."""
    return 100 * used / (used + free) if used + free > 0 else 0.0
