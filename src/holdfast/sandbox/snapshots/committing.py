"""Brings chosen changes of one workspace, usually a clone, into another, after a look at each.

Everything is checked before anything is written: that the target is still as the base was wherever a change goes, and
that no change brings something that acts later on the machine of whoever owns the target, such as a link that leads
out, a setuid bit, a hook of git, or a folder that git would take for a repository. Then each file is replaced as a
whole, and looked at once more just before. A commit that was cut off is made again: what arrived already is equal and
is passed over.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import IO

import msgspec

from holdfast.errors import PathEscape, SandboxError
from holdfast.sandbox.snapshots.applying import Site, put_link
from holdfast.sandbox.snapshots.entries import CHUNK, Entry, encode_chunks, state_of
from holdfast.sandbox.snapshots.port import SnapshotStore
from holdfast.sandbox.snapshots.walking.reading import drained, keep_nothing, read_entry
from holdfast.sandbox.snapshots.walking.scanning import open_folder
from holdfast.sandbox.snapshots.walking.surveying import Step
from holdfast.sandbox.workspace import Workspace
from holdfast.types import Change, Digest, FileState, SnapshotRef, digest_of, shown

__all__ = ("PROTECTED", "Refusal", "commit", "review")

PROTECTED = (
    ".git/commondir",
    ".git/config",
    ".git/config.worktree",
    ".git/hooks",
    ".git/info/attributes",
    ".git/modules",
    ".git/worktrees",
)
"""What no commit changes, in a repository at any depth: git runs commands that these name."""


class Refusal(msgspec.Struct, frozen=True):
    """Why one path cannot be committed."""

    path: str
    why: str


async def commit(
    store: SnapshotStore,
    source: Workspace,
    target: Workspace,
    base: SnapshotRef,
    paths: Sequence[str],
    protected: Sequence[str] = PROTECTED,
) -> tuple[Change, ...]:
    """Makes the chosen paths in `target` what they are in `source`, and returns what that changed.

    `base` is the whole snapshot both came from; a path is one that `changes` names. A folder that is added is made
    with its path alone; what is in it is chosen by its own paths. Folders above a path are made when they are missing.

    Raises:
        SandboxError: some paths are refused, all of them named, and nothing was written; or a file changed, in
            either folder, while it was committed, and those before it are committed.
    """
    chosen, refused = await review(store, source, target, base, paths, protected)
    if refused:
        lines = "".join(f"\n  {shown(refusal.path)}: {refusal.why}" for refusal in refused)
        raise SandboxError(f"nothing was committed, because of {len(refused)} of the paths:{lines}")
    await asyncio.to_thread(_write, source, target, chosen)
    return tuple(chosen)


async def review(
    store: SnapshotStore,
    source: Workspace,
    target: Workspace,
    base: SnapshotRef,
    paths: Sequence[str],
    protected: Sequence[str] = PROTECTED,
) -> tuple[list[Change], list[Refusal]]:
    """Returns what a commit would change, and what stands in its way; nothing is written.

    Raises:
        SandboxError: the base is not whole, or lost.
    """
    if not base.whole:
        raise SandboxError("a commit needs a snapshot of the whole workspace as its base")
    ours = {change.path: change for change in await store.changes(source, base)}
    theirs = {change.path: change for change in await store.changes(target, base)}
    chosen: list[Change] = []
    refused: list[Refusal] = []
    wanted = dict.fromkeys(paths)
    for path in wanted:
        change = ours.get(path)
        there = theirs.get(path)
        why = "it did not change" if change is None else _danger(change, source, protected)
        if why is None and there is not None and change is not None and there.after != change.after:
            why = "it changed in the target too"
        if why is not None or change is None:
            refused.append(Refusal(path, why or ""))
        elif there is None:
            try:
                target.refuse_apart(path)
                chosen.append(change)
            except SandboxError as error:
                refused.append(Refusal(path, str(error)))
    gone = {path for path in wanted if path in ours and _is_gone(ours[path])}
    found = await asyncio.to_thread(_all_repositories, source, target, chosen, protected)
    refused += [Refusal(path, why) for path, why in found.items()]
    chosen = [change for change in chosen if change.path not in found]
    refused += await asyncio.to_thread(_all_in_the_way, target, chosen, gone, ours)
    return chosen, refused


def _is_gone(change: Change) -> bool:
    return change.after is None


def _danger(change: Change, source: Workspace, protected: Sequence[str]) -> str | None:
    """Why a change must not be made at all; None when it may."""
    after = change.after
    if (guarded := _guarded(change, protected)) is not None:
        return f"{guarded!r} is protected"
    if after is None:
        return None
    if after.kind == "special":
        return "it is a device, FIFO or socket"
    if after.mode & (stat.S_ISUID | stat.S_ISGID):
        return "it has a setuid or setgid bit"
    if after.kind == "link" and _leads_out(source, change.path, after.target):
        return f"it is a link that leads out of the workspace, to {shown(after.target)}"
    return None


def _guarded(change: Change, protected: Sequence[str], *, only_top: bool = False) -> str | None:
    """Which protected path the change is at or below, or is above as anything but a folder."""
    parts = tuple(part.casefold() for part in PurePosixPath(change.path).parts)
    for each in protected:
        guard = tuple(part.casefold() for part in PurePosixPath(each).parts)
        for start in range(1 if only_top else len(parts)):
            rest = parts[start:]
            if rest[: len(guard)] == guard:
                return each
            above = guard[: len(rest)] == rest
            if above and not _stays_folder(change):
                return each
    return None


def _all_repositories(
    source: Workspace, target: Workspace, chosen: Sequence[Change], protected: Sequence[str]
) -> dict[str, str]:
    """Which changes git would act on later, and why, though they are in no folder of the name `.git`."""
    guarded = [each.removeprefix(".git/") for each in protected if each.startswith(".git/")]
    found: dict[str, str] = {}
    with Site(str(source.root), lambda: None) as ours, Site(str(target.root), lambda: None) as theirs:
        known: dict[tuple[str, ...], tuple[bool, bool]] = {}
        for change in chosen:
            parts = tuple(change.path.split("/"))
            for depth in range(len(parts)):
                above = parts[:depth]
                if above and above[-1].casefold() == ".git":
                    continue  # there the names alone decide
                if above not in known:
                    there, here = _names_of(theirs, above), _names_of(ours, above)
                    known[above] = _is_repository(there), _is_repository(there | here)
                was, becomes = known[above]
                below = "/".join(parts[depth:])
                if was and (guard := _guarded(msgspec.structs.replace(change, path=below), guarded, only_top=True)):
                    found[change.path] = f"{guard!r} of a git repository is protected"
                elif becomes and not was:
                    found[change.path] = f"the folder {shown('/'.join(above) or '.')} would become a git repository"
    return found


def _names_of(site: Site, above: tuple[str, ...]) -> frozenset[str]:
    try:
        return frozenset(name.casefold() for name in os.listdir(site.folder(above)))  # noqa: PTH208 - as below
    except OSError:
        return frozenset()


def _is_repository(names: frozenset[str]) -> bool:
    """Whether git takes a folder with these names for a repository, once they hold what they should."""
    return "head" in names and ("commondir" in names or {"objects", "refs"} <= names)


def _stays_folder(change: Change) -> bool:
    return change.after is None or change.after.kind == "folder"


def _leads_out(source: Workspace, path: str, target: str) -> bool:
    if target.startswith("/") or not target:
        return True
    parts = [part for part in target.split("/") if part not in ("", ".")]
    up = parts.count("..")
    parent = path.rpartition("/")[0]
    # `..` after a name would go up from where that name leads, and that may be another link by then.
    if ".." in parts[up:] or up > (len(parent.split("/")) if parent else 0):
        return True
    try:
        with source.at(f"{parent}/{target}" if parent else target, follow=True, missing=True, look=True):
            return False
    except (PathEscape, OSError):
        return True


def _all_in_the_way(
    target: Workspace, chosen: Sequence[Change], gone: set[str], ours: Mapping[str, Change]
) -> list[Refusal]:
    found = ((change.path, _in_the_way(target, change, gone, ours)) for change in chosen)
    return [Refusal(path, why) for path, why in found if why is not None]


def _in_the_way(target: Workspace, change: Change, gone: set[str], ours: Mapping[str, Change]) -> str | None:
    """What in the target keeps a change from being made; None when nothing does."""
    *above, name = change.path.split("/")
    with Site(str(target.root), lambda: None) as site:
        for depth in range(1, len(above) + 1):
            folder = "/".join(above[:depth])
            try:
                site.folder(tuple(above[:depth]))
            except FileNotFoundError:
                return None if folder in ours or change.after is None else f"the target has no folder {shown(folder)}"
            except OSError:
                return None if folder in gone else f"{shown(folder)} is no folder in the target"
        if change.before is None or change.before.kind != "folder":
            return None
        if change.after is not None and change.after.kind == "folder":
            return None
        try:
            held = _names_in(site, tuple(above), name)
        except OSError:
            return None
    left = sorted(each for each in held if f"{change.path}/{each}" not in gone)
    return f"the target's folder still holds {shown(left[0])}" if left else None


def _names_in(site: Site, above: tuple[str, ...], name: str) -> list[str]:
    folder = open_folder(name, site.folder(above))
    try:
        return os.listdir(folder)  # noqa: PTH208 - an open folder, not a path
    finally:
        os.close(folder)


def _write(source: Workspace, target: Workspace, chosen: Sequence[Change]) -> None:
    # What goes, goes first and from the bottom up; what comes, from the top down; a folder gets its mode when
    # everything is in it, since it may be one that nobody can write in.
    going = [change for change in reversed(chosen) if change.after is None or change.kind == "type"]
    coming = [change for change in chosen if change.after is not None]
    cleared = {change.path for change in going}
    with Site(str(target.root), target.ask_guard) as site:
        for change in sorted(going, key=_depth, reverse=True):
            _take_away(site, change)
        for change in sorted(coming, key=_depth):
            # What was cleared away is to be gone, everything else what it was when it was looked at.
            _bring(source, site, msgspec.structs.replace(change, before=None) if change.path in cleared else change)
        for change in sorted(coming, key=_depth, reverse=True):
            if change.after is not None and change.after.kind == "folder":
                above, name = _split(change.path)
                site.do(Step("mode", above, name, Entry(b"", "folder", change.after.mode)))


def _depth(change: Change) -> tuple[int, str]:
    return change.path.count("/"), change.path


def _split(path: str) -> tuple[tuple[str, ...], str]:
    *above, name = path.split("/")
    return tuple(above), name


def _take_away(site: Site, change: Change) -> None:
    """Removes one name, and a folder only when it is empty."""
    above, name = _split(change.path)
    site.ask_guard()
    try:
        folder = site.folder(above)
        if not _is_there(folder, name):
            return
        _look_again(folder, name, change)
        if change.before is not None and change.before.kind == "folder":
            os.rmdir(name, dir_fd=folder)
        else:
            os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise SandboxError(f"{shown(change.path)} cannot be removed from the target: {error.strerror}") from error


def _bring(source: Workspace, site: Site, change: Change) -> None:
    above, name = _split(change.path)
    after = change.after
    if after is None:
        return
    try:
        for depth in range(len(above)):
            if not site.holds(Step("folder", above[:depth], above[depth])):
                site.do(Step("folder", above[:depth], above[depth], Entry(b"", "folder")))
                site.do(Step("mode", above[:depth], above[depth], Entry(b"", "folder", 0o755)))
        if after.kind == "file":
            _copy(source, site, Step("file", above, name, Entry(os.fsencode(name), "file", after.mode)), change, after)
        elif after.kind == "link":
            site.ask_guard()
            _look_again(site.folder(above), name, change)
            put_link(site.folder(above), name, os.fsencode(after.target))
        else:
            _look_again(site.folder(above), name, change)
            site.do(Step("folder", above, name, Entry(os.fsencode(name), "folder", after.mode)))
    except OSError as error:
        raise SandboxError(f"{shown(change.path)} cannot be written to the target: {error.strerror}") from error


def _copy(source: Workspace, site: Site, step: Step, change: Change, after: FileState) -> None:
    """Copies a file that must still be the one that was looked at."""
    draft = site.draft(step)
    if draft is None:
        raise SandboxError(f"the folder of {shown(change.path)} in the target went away meanwhile: commit again")
    try:
        pieces: list[Digest] = []
        with source.reading(change.path) as file:
            while data := _piece(file):
                pieces.append(digest_of(data))
                draft.add(data)
        digest = digest_of(encode_chunks(pieces)) if after.size > CHUNK else (pieces or [digest_of(b"")])[0]
        if digest != after.digest:
            raise SandboxError(f"{shown(change.path)} changed while it was committed: look at it again")
        site.ask_guard()
        _look_again(draft.folder, step.name, change)
        draft.put()
    finally:
        draft.close()


def _look_again(folder: int, name: str, change: Change) -> None:
    """Refuses to replace what is not in the target any more as it was when the change was looked at.

    Raises:
        SandboxError: it is not.
    """
    before, status = change.before, _is_there(folder, name)
    now: FileState | None = None
    if status is not None and stat.S_ISDIR(status.st_mode):
        now = state_of(Entry(b"", "folder", stat.S_IMODE(status.st_mode)))
    elif status is not None:
        room = before.size if before is not None else 0
        try:
            read = drained(read_entry(folder, name, change.path, None, room, keep_nothing))
            now = state_of(read[1]) if read is not None else None
        except SandboxError:  # it is larger than it was, or cannot be read
            now = FileState("file", size=-1)
    if now != before:
        raise SandboxError(
            f"{shown(change.path)} changed in the target while it was committed; what came before it is committed. "
            "Look at it again, then commit the rest"
        )


def _is_there(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _piece(file: IO[bytes]) -> bytes:
    parts: list[bytes] = []
    room = CHUNK
    while room and (part := file.read(room)):
        parts.append(part)
        room -= len(part)
    return b"".join(parts)
