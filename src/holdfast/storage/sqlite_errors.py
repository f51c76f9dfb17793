"""What SQLite and the file system say, in our words.

Every message names the file and ends with the next step. Nothing here decides whether to try again.
"""

from __future__ import annotations

import errno
import os
import sqlite3

from holdfast.errors import StorageDamaged, StorageError, StorageFull, StorageLocked, StorageReadOnly

__all__ = ("is_busy", "storage_error", "write_refusal")

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# Quotas and network file systems report a lack of space as a failed write.
_NO_SPACE = (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)
_OS_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
_OS_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_busy(error: BaseException) -> bool:
    """Returns whether waiting for another program may help."""
    return isinstance(error, sqlite3.Error) and _code(error) & 0xFF in _BUSY


def storage_error(error: BaseException, path: str) -> StorageError:
    """Returns our error for what the database or the file system said about the file."""
    if isinstance(error, StorageError):
        return error
    if isinstance(error, OSError):
        return _from_os(error, path)
    if isinstance(error, sqlite3.Error):
        return _from_sqlite(error, path)
    return StorageError(f"a transaction on {path!r} failed with {type(error).__name__}: {error}; report it as a bug")


def write_refusal(path: str) -> StorageReadOnly | None:
    """Returns why nothing can be written to the file or its folder, or None when it can."""
    folder = os.path.dirname(path) or "."  # noqa: PTH120 - no pathlib at start-up
    if os.path.exists(path) and not _allowed(path, os.W_OK):  # noqa: PTH110
        return _read_only(f"the database {path!r} cannot be written")
    if os.path.isdir(folder) and not _allowed(folder, os.W_OK | os.X_OK):  # noqa: PTH112
        return _read_only(f"the folder {folder!r} of the database {path!r} cannot be written")
    return None


def _allowed(path: str, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) or 0


def _from_sqlite(error: sqlite3.Error, path: str) -> StorageError:
    code = _code(error)
    primary = code & 0xFF
    if primary in _BUSY:
        return StorageLocked(f"another program keeps the database {path!r} locked; close it, then try again")
    if primary in _DAMAGED:
        return _damaged(code, path)
    if primary == sqlite3.SQLITE_FULL or code in _NO_SPACE:
        return _full(path)
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
        return write_refusal(path) or _unusable(error, path)
    return StorageError(f"the database {path!r} failed: {error} (SQLite code {code}); check the disk and its log")


def _unusable(error: sqlite3.Error, path: str) -> StorageError:
    if _code(error) & 0xFF == sqlite3.SQLITE_READONLY:
        return _read_only(f"the database {path!r} cannot be written ({error})")
    if os.path.isdir(path):  # noqa: PTH112
        return StorageError(f"{path!r} is a folder; name a file for the database")
    return StorageError(f"the database {path!r} cannot be opened: {error}; check that its folder exists")


def _damaged(code: int, path: str) -> StorageDamaged:
    if code & 0xFF == sqlite3.SQLITE_NOTADB:
        return StorageDamaged(f"the file {path!r} is not a Holdfast database; name another file, or move it away")
    return StorageDamaged(
        f"the database {path!r} is damaged; restore a backup, or save what is left with `sqlite3 FILE .recover`"
    )


def _from_os(error: OSError, path: str) -> StorageError:
    if error.errno in _OS_READ_ONLY:
        return write_refusal(path) or _read_only(f"the database {path!r} cannot be opened ({error.strerror})")
    if error.errno in _OS_FULL:
        return _full(path)
    if error.errno == errno.EISDIR:
        return StorageError(f"{path!r} is a folder; name a file for the database")
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return StorageError(f"the folder of the database {path!r} does not exist; make it, or name another file")
    return StorageError(f"the database {path!r} cannot be opened: {error.strerror}; check the disk")


def _full(path: str) -> StorageFull:
    return StorageFull(f"no space is left for the database {path!r}; free some and try again, what it holds is safe")


def _read_only(what: str) -> StorageReadOnly:
    return StorageReadOnly(f"{what}; change its permissions or its mount, or name another file")
