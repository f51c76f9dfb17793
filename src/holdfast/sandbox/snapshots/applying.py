"""Does the steps of a restore, by open folders, so that nothing outside the workspace is touched.

Each folder is opened by its name relative to the one before, never through a link, and what is no single name is
refused, whoever wants it: a snapshot was read with care before, and this is the second fence. A step that finds
something else than was there when it was decided on does nothing: the next survey finds what is left. Files appear
whole: a new one is written beside the old one and renamed over it. Every step can be done twice.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from holdfast.errors import PathEscape
from holdfast.sandbox.snapshots.entries import Entry, is_name
from holdfast.sandbox.snapshots.walking.scanning import open_folder
from holdfast.sandbox.snapshots.walking.surveying import GIVEN, Step

__all__ = ("Draft", "Site", "put_link", "remove", "remove_folder", "temporary_name")

T = TypeVar("T")

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_PLACE = getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK) | os.O_NOFOLLOW | os.O_CLOEXEC
_MOVED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR, errno.EINVAL)
"""What the kernel says when something is not what it was when the step was decided on."""
_DEEP = 100


class Site:
    """A workspace in which steps are done, one after another."""

    def __init__(self, root: str, ask_guard: Callable[[], None]) -> None:
        self._root = root
        self.ask_guard = ask_guard
        self._open: list[tuple[str, int]] = []
        self.moved: OSError | None = None
        """Why the last step that was passed over was not done."""

    def __enter__(self) -> Site:
        self._open = [("", open_folder(self._root))]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._leave(0)

    def folder(self, path: tuple[str, ...]) -> int:
        """Returns the descriptor of a folder; good until the next call.

        Raises:
            PathEscape: it lies outside.
            OSError: it cannot be opened.
        """
        same = 0
        while same < min(len(path), len(self._open) - 1) and self._open[same + 1][0] == path[same]:
            same += 1
        self._leave(same + 1)
        for name in path[same:]:
            _check_inside(name)
            self._open.append((name, open_folder(name, self._open[-1][1])))
        return self._open[-1][1]

    def holds(self, step: Step) -> bool:
        """Returns whether there is anything now where the step would be done.

        Raises:
            PathEscape: that is outside.
        """
        _check_inside(step.name)
        try:
            os.stat(step.name, dir_fd=self.folder(step.folder), follow_symlinks=False)
        except OSError:
            return False
        return True

    def do(self, step: Step) -> None:
        """Does a step that needs no content; one that does not fit any more is passed over.

        Raises:
            PathEscape: it is not one in the workspace.
            OSError: it may not be done, or the disk is full.
        """
        self.ask_guard()
        if step.name or step.do != "mode":  # the workspace itself has no name, and is given nothing but a mode
            _check_inside(step.name)
        try:
            folder = self.folder(step.folder)
            _with_rights(folder, lambda: _do(folder, step))
        except OSError as error:
            if error.errno not in _MOVED:
                raise
            self.moved = error

    def write(self, step: Step, data: bytes) -> None:
        """Makes a file hold exactly this.

        Raises:
            OSError: it may not be written, or the disk is full.
        """
        draft = self.draft(step)
        if draft is None:
            return
        try:
            draft.add(data)
            self.put(draft, step)
        finally:
            draft.close()

    def draft(self, step: Step) -> Draft | None:
        """Returns a new file beside the one of the step; None when the folder is not there any more.

        Raises:
            PathEscape: it is not one in the workspace.
            OSError: it may not be written.
        """
        self.ask_guard()
        _check_inside(step.name)
        try:
            folder = self.folder(step.folder)
            return _with_rights(folder, lambda: Draft(folder, step.name, step.entry))
        except OSError as error:
            if error.errno not in _MOVED:
                raise
            self.moved = error
            return None

    def put(self, draft: Draft, step: Step) -> None:
        """Puts a new file in its place, whatever was there.

        Raises:
            OSError: it may not be written.
        """
        self.ask_guard()
        try:
            draft.put()
        except OSError as error:
            if error.errno not in _MOVED:
                raise
            self.moved = error
            with suppress(OSError):
                remove(draft.folder, step.name)
                draft.put()

    def _leave(self, depth: int) -> None:
        while len(self._open) > depth:
            os.close(self._open.pop()[1])


class Draft:
    """A file that is being written beside the one it is to replace; `close` it in the end."""

    def __init__(self, folder: int, name: str, entry: Entry | None) -> None:
        self._name = name
        self._mode = (entry.mode if entry else 0o600) & GIVEN
        self._temporary = temporary_name(name)
        self.folder = os.dup(folder)
        """Descriptor of the folder it is in."""
        try:
            self._file = os.open(self._temporary, _CREATE, 0o600, dir_fd=folder)
        except BaseException:
            os.close(self.folder)
            raise
        self._placed = False

    def add(self, data: bytes) -> None:
        """Writes what comes next."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file, rest) :]

    def put(self) -> None:
        """Gives it owner and mode, and renames it into its place."""
        _own(self._file, self.folder, self._name)
        os.fchmod(self._file, self._mode)
        os.rename(self._temporary, self._name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        self._placed = True

    def close(self) -> None:
        """Lets go of it, and removes it when it was not put in its place."""
        os.close(self._file)
        if not self._placed:
            with suppress(OSError):
                os.unlink(self._temporary, dir_fd=self.folder)
        os.close(self.folder)


def temporary_name(name: str) -> str:
    """Returns the name of a file that is to become `name`; `sweep` and restoring remove what a killed one left."""
    return f".holdfast-{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}-{secrets.token_hex(6)}"


def put_link(folder: int, name: str, target: bytes) -> None:
    """Makes a name a link, in place of whatever was there.

    Raises:
        IsADirectoryError: that is a folder, and it stays.
        OSError: it may not be written.
    """
    temporary = temporary_name(name)
    os.symlink(target, os.fsencode(temporary), dir_fd=folder)
    try:
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise


def remove(folder: int, name: str) -> None:
    """Removes whatever a name in a folder stands for, with everything below it; no link is followed.

    Raises:
        OSError: it may not be removed, or is no name in the folder, or another disk or folder is mounted at or below
            it, which is not entered.
    """
    if not is_name(name):
        raise OSError(errno.EINVAL, "this is no name of anything in the folder, so it is not removed", name)
    todo = [name]
    while todo:
        _remove(folder, folder, todo.pop(), 0, todo)


def remove_folder(folder: Path) -> None:
    """Removes a folder with all it holds, whatever rights its folders have; what cannot be removed stays."""
    with suppress(OSError):
        above = open_folder(str(folder.parent))
        try:
            remove(above, folder.name)
        finally:
            os.close(above)


def _check_inside(name: str) -> None:
    if not is_name(name):
        raise PathEscape(f"the snapshot has {name!r} for a name, which leads out of the workspace: use another one")


def _remove(top: int, folder: int, name: str, depth: int, todo: list[str]) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.EPERM):
            raise
    else:
        return
    if depth > _DEEP:  # neither the stack nor descriptors are spent on it: it is moved up, and is the next to go
        moved = temporary_name(name)
        os.rename(name, moved, src_dir_fd=folder, dst_dir_fd=top)
        todo.append(moved)
        return
    below = _open_to_empty(folder, name)
    try:
        if _mount_of(below) != _mount_of(folder):
            raise OSError(errno.EXDEV, "something else is mounted there: unmount it first", name)
        for each in os.listdir(below):  # noqa: PTH208 - an open folder, not a path
            _with_rights(below, lambda each=each: _remove(top, below, each, depth + 1, todo))
    finally:
        os.close(below)
    os.rmdir(name, dir_fd=folder)


def _mount_of(folder: int) -> tuple[int, str]:
    """Which disk an open folder is on, and, where the kernel tells, by which mount it was come to."""
    device, mount = os.fstat(folder).st_dev, ""
    with suppress(OSError), open(f"/proc/self/fdinfo/{folder}", encoding="ascii") as file:  # noqa: PTH123 - of numbers
        mount = next((line for line in file if line.startswith("mnt_id:")), "")
    return device, mount


def _open_to_empty(folder: int, name: str) -> int:
    try:
        return open_folder(name, folder)
    except PermissionError:
        _chmod(folder, name, 0o700)
        return open_folder(name, folder)


def _do(folder: int, step: Step) -> None:
    entry = step.entry
    if step.do == "remove" or entry is None:
        remove(folder, step.name)
    elif step.do == "mode":
        _give_mode(folder, step.name, entry.mode & GIVEN)
    elif step.do == "folder":
        try:
            os.mkdir(step.name, 0o700, dir_fd=folder)
        except FileExistsError:
            if _is_folder(folder, step.name):
                return
            remove(folder, step.name)
            os.mkdir(step.name, 0o700, dir_fd=folder)
        _own_folder(folder, step.name)
    elif step.do == "link":
        try:
            put_link(folder, step.name, entry.target)
        except IsADirectoryError:
            remove(folder, step.name)
            put_link(folder, step.name, entry.target)


def _give_mode(folder: int, name: str, mode: int) -> None:
    if not name:
        os.fchmod(folder, mode)
    else:
        _chmod(folder, name, mode)


def _chmod(folder: int, name: str, mode: int) -> None:
    """Changes the mode of a file or folder, but not through a link and not of a file with further names."""
    place = os.open(name, _PLACE, dir_fd=folder)
    try:
        status = os.fstat(place)
        if stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_nlink == 1):
            # Such a descriptor stands for the thing itself, also where nobody may open it; only this way leads there.
            os.chmod(f"/proc/self/fd/{place}" if hasattr(os, "O_PATH") else place, mode)  # noqa: PTH101 - as above
    finally:
        os.close(place)


def _is_folder(folder: int, name: str) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def _own(file: int, folder: int, name: str) -> None:
    """Gives a file to whom the one in its place belongs, or else the folder; that is for root alone to do."""
    if os.geteuid() != 0:
        return
    try:
        owner = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        owner = os.fstat(folder)
    if (owner.st_uid, owner.st_gid) != (0, 0):
        with suppress(PermissionError):
            os.fchown(file, owner.st_uid, owner.st_gid)


def _own_folder(folder: int, name: str) -> None:
    if os.geteuid() == 0:
        owner = os.fstat(folder)
        os.chown(name, owner.st_uid, owner.st_gid, dir_fd=folder, follow_symlinks=False)


def _with_rights(folder: int, act: Callable[[], T]) -> T:
    """Does it, with the right to write in the folder; the folder's own mode is put back by a later step."""
    try:
        return act()
    except PermissionError:
        if os.geteuid() == 0:  # it is not for want of rights
            raise
        os.fchmod(folder, 0o700)
        return act()
