"""One writer at a time for a workspace: a lock that belongs to an owner, in this process and among those of the user.

Within the process a table says who has which folder, and who waits stands in a line. Among processes the kernel says
it, by an advisory lock (`flock`) on a file in the user's data folder; that ends with its process however the process
ends, so nobody has to be asked whether a lock is stale. The file says who holds it, and is named by the digest of the
folder's path: nothing is put into the workspace itself. The files of some folders stay open when they are free, since
making one costs more than all the rest; they are removed when others take their places, by `let_go`, and at the end.

Who has a folder may enter it again, as often as it likes; it is free when all have left. That holds from another
process, too: a session that was taken over from an owner who sleeps inside goes on, since its log fences that owner
before it writes anything. Should the sleeper wake and leave while the other is inside, a third may come in.

Not seen: processes of other users, and a folder that goes by two resolved paths, as one does that is mounted twice.
A folder above or below one that is locked is another folder.
"""

from __future__ import annotations

import asyncio
import atexit
import fcntl
import hashlib
import os
import stat
import tempfile
import threading
from collections import OrderedDict, deque
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import final

import msgspec

from holdfast.errors import WorkspaceBusy
from holdfast.types import shown

__all__ = ("Exclusive", "let_go")

_FIRST, _LONGEST = 0.002, 0.1
"""Seconds between looks at a lock of another process, growing from one to the other."""
_IDLE = 8
"""Files of folders that nobody has, which stay open."""
_LENGTH = 256
"""Bytes that a note has at least, so that the file need not change its size with each."""
_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class _Note(msgspec.Struct, frozen=True):
    """What stands in the file of a lock."""

    owner: str
    pid: int
    key: str = ""
    """Tells the owner from those of other logs that are called the same."""


class _Waiter:
    __slots__ = ("_loop", "woken")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.woken = asyncio.Event()

    def wake(self) -> None:
        with suppress(RuntimeError):  # its loop was closed: nobody waits there any more
            self._loop.call_soon_threadsafe(self.woken.set)


class _Folder:
    """A folder that somebody has, or waits for."""

    __slots__ = ("count", "descriptor", "file", "holder", "line")

    def __init__(self) -> None:
        self.holder: tuple[str, str] | None = None
        self.count = 0
        self.line: deque[_Waiter] = deque()
        self.file = ""
        self.descriptor: int | None = None


_FOLDERS: dict[str, _Folder] = {}
_FREE: OrderedDict[str, tuple[str, int]] = OrderedDict()
"""File and descriptor by folder."""
_TABLE = threading.Lock()
"""Held while these are looked at or changed, never while anybody waits: loops of several threads may meet here."""


@final
class Exclusive:
    """The right to write in a folder, while the `async with` block runs."""

    def __init__(self, root: str, store: str, owner: str, wait: float) -> None:
        """`owner` is unique within `store`, and is what others are told; `wait` is in seconds."""
        self._root = root
        self._who = (store, owner)
        self._wait = wait

    async def __aenter__(self) -> None:
        """Takes it, and waits for it if need be.

        Raises:
            WorkspaceBusy: somebody else had it all the time.
        """
        if not self._taken(None):
            await self._queue()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _TABLE:
            folder = _FOLDERS[self._root]
            folder.count -= 1
            if folder.count:
                return
            _unlock(folder, self._root)
            folder.holder = None
            self._next(folder)

    def _taken(self, waiter: _Waiter | None) -> bool:
        """Takes it when that can be done at once, by somebody in the line only when it is their turn."""
        with _TABLE:
            folder = _FOLDERS.setdefault(self._root, _Folder())
            if folder.holder == self._who:
                folder.count += 1
                return True
            if folder.holder is not None or (folder.line and folder.line[0] is not waiter):
                return False
            if not _lock(folder, self._root, self._who):
                return False
            folder.holder, folder.count = self._who, 1
            return True

    async def _queue(self) -> None:
        loop, waiter = asyncio.get_running_loop(), _Waiter()
        end, pause = loop.time() + self._wait, _FIRST
        with _TABLE:
            _FOLDERS.setdefault(self._root, _Folder()).line.append(waiter)
        try:
            while not self._taken(waiter):
                left = end - loop.time()
                if left <= 0:
                    raise WorkspaceBusy(self._refusal())
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, pause)):  # wait_for may keep a cancel to itself
                        await waiter.woken.wait()
                waiter.woken.clear()
                pause = min(2 * pause, _LONGEST)
        finally:
            with _TABLE:
                folder = _FOLDERS[self._root]
                folder.line.remove(waiter)
                if folder.holder is None:
                    self._next(folder)

    def _next(self, folder: _Folder) -> None:
        if folder.line:
            folder.line[0].wake()
        elif folder.holder is None:
            _FOLDERS.pop(self._root, None)

    def _refusal(self) -> str:
        with _TABLE:
            folder = _FOLDERS[self._root]
            if folder.holder is not None:
                who = f"{folder.holder[1]} in this process"
            else:
                note = _note_in(folder.file)
                who = f"{shown(note.owner)} in process {note.pid}" if note else "another process"
        return (
            f"the workspace {self._root!r} is being changed by {who}, and was not free within {self._wait:g} seconds: "
            "wait until that is done, or work in a folder of its own, such as a fork's"
        )


def let_go() -> None:
    """Removes the files of locks that nobody has."""
    with _TABLE:
        while _FREE:
            _drop(*_FREE.popitem()[1])


def _lock(folder: _Folder, root: str, who: tuple[str, str]) -> bool:
    """Takes the lock among processes; also returns True where this machine has no place for such locks."""
    file, descriptor = _FREE.pop(root, ("", None))
    if descriptor is None or not _is_taken(descriptor):
        if descriptor is not None:
            os.close(descriptor)
        file, descriptor = _opened(root)
        folder.file = file
        if descriptor is None:
            return not file or _is_ours(_note_in(file), who)
    folder.file, folder.descriptor = file, descriptor
    note = msgspec.json.encode(_Note(who[1], os.getpid(), _key(who))).ljust(_LENGTH)
    with suppress(OSError):
        os.pwrite(descriptor, note, 0)
        os.ftruncate(descriptor, len(note))
    return True


def _key(who: tuple[str, str]) -> str:
    return hashlib.sha256("\0".join(who).encode("utf-8", "replace")).hexdigest()[:32]


def _is_ours(note: _Note | None, who: tuple[str, str]) -> bool:
    """Whether it is our own session that has it, in a process that lives: the note of a dead one says nothing."""
    if note is None or note.key != _key(who) or note.pid == os.getpid():
        return False
    try:
        os.kill(note.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _opened(root: str) -> tuple[str, int | None]:
    """Returns the file of a lock and the descriptor that has it; none when another process has it, and no file where
    there is no place for one.
    """
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:32] + ".lock"
    for place in _places():
        file = f"{place}/{name}"
        with suppress(OSError):  # read-only, full, or a disk without locks: the next place
            while _is_made(place):
                descriptor = os.open(file, _OPEN, 0o600)
                try:
                    if _is_taken(descriptor):
                        return file, descriptor
                    if os.fstat(descriptor).st_nlink:
                        os.close(descriptor)
                        return file, None
                except BaseException:
                    os.close(descriptor)
                    raise
                os.close(descriptor)  # it was removed since it was opened: a new one is the lock now
    return "", None


def _is_taken(descriptor: int) -> bool:
    """Takes the lock of an open file; returns whether that is the lock, and nobody else has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    # Whoever removes a file has its lock: one that is there now stays as long as it is held here.
    return os.fstat(descriptor).st_nlink > 0


def _unlock(folder: _Folder, root: str) -> None:
    if folder.descriptor is None:
        return
    with suppress(OSError):
        os.pwrite(folder.descriptor, b" " * _LENGTH, 0)  # whoever has it next has not written its name yet
        fcntl.flock(folder.descriptor, fcntl.LOCK_UN)
    _FREE[root] = folder.file, folder.descriptor
    folder.descriptor = None
    while len(_FREE) > _IDLE:
        _drop(*_FREE.popitem(last=False)[1])


def _drop(file: str, descriptor: int) -> None:
    with suppress(OSError):
        if _is_taken(descriptor):
            os.unlink(file)  # noqa: PTH108 - a lock is let go of on the event loop
    os.close(descriptor)


def _after_fork() -> None:
    """What the parent has is not the child's; the descriptors are, and would let it in where the parent is."""
    _TABLE.release()
    held = [folder.descriptor for folder in _FOLDERS.values() if folder.descriptor is not None]
    for descriptor in (*held, *(descriptor for _, descriptor in _FREE.values())):
        os.close(descriptor)
    _FOLDERS.clear()
    _FREE.clear()


os.register_at_fork(before=_TABLE.acquire, after_in_parent=_TABLE.release, after_in_child=_after_fork)
atexit.register(let_go)


def _places() -> tuple[str, str]:
    """Where the files of locks lie: in the data folder, or else in one for this user among the temporary ones."""
    home = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")  # noqa: PTH111 - as above
    return f"{home}/holdfast/locks", f"{tempfile.gettempdir()}/holdfast-locks-{os.geteuid()}"


def _is_made(place: str) -> bool:
    """Makes the folder for locks; returns whether nobody else can put files into it."""
    with suppress(OSError):
        Path(place).mkdir(mode=0o700, parents=True, exist_ok=True)
        status = os.lstat(place)
        return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022
    return False


def _note_in(file: str) -> _Note | None:
    with suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(Path(file).read_bytes(), type=_Note)
    return None
