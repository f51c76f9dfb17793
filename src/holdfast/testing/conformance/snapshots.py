"""The kit of `holdfast.sandbox.snapshots.port`: every sentence of its docstrings, as a check.

A check gets a `Stage`, made by whoever tests an adapter: a store, and a workspace in which the store can work.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from holdfast.errors import PathEscape, SandboxError
from holdfast.sandbox.snapshots.port import SnapshotStore
from holdfast.sandbox.workspace import Workspace
from holdfast.storage.blobs import BlobStore
from holdfast.testing.conformance.checking import LOCAL, expect, refused
from holdfast.types import Digest, SnapshotRef

__all__ = ("CHECKS", "Check", "Stage", "fingerprint")

_LARGE = b"0123456789abcdef" * (300 * 1024)
"""More than one piece."""


class Stage(Protocol):
    """Where a check runs."""

    store: SnapshotStore
    workspace: Workspace
    """Empty at the beginning."""
    blobs: BlobStore
    """Where the store keeps manifests, for the tenant `local`."""

    async def again(self) -> SnapshotStore:
        """Returns the store as another process would open it; the one before is not used any more."""
        ...

    def empty(self) -> Workspace:
        """Returns another workspace, an empty folder."""
        ...


Check = Callable[[Stage], Awaitable[None]]
"""One promise; it raises `AssertionError` when the adapter breaks it."""


def fingerprint(root: Path | str, *, special: bool = True) -> dict[bytes, tuple[object, ...]]:
    """Returns everything a snapshot is about, by name byte for byte: kind, mode, content, target of a link."""
    found: dict[bytes, tuple[object, ...]] = {b".": (oct(Path(root).lstat().st_mode),)}
    for folder, folders, files in os.walk(root):
        for path in (Path(folder, name) for name in (*folders, *files)):
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                state: tuple[object, ...] = ("link", os.fsencode(path.readlink()))
            elif stat.S_ISREG(mode):
                state = ("file", oct(mode), hashlib.sha256(path.read_bytes()).hexdigest())
            else:
                state = ("folder" if stat.S_ISDIR(mode) else "special", oct(mode))
            if special or state[0] != "special":
                found[os.fsencode(path.relative_to(root))] = state
    return found


def _plant(root: Path) -> None:
    """Makes a tree of everything that a snapshot is about."""
    odd = os.fsdecode(b"\xff\xfe")
    for folder in ("src/deep/er", "empty", odd, "locked"):
        (root / folder).mkdir(parents=True)
    for name, data in {
        "src/a.py": b"print()\n",
        "src/deep/er/b": b"",
        f"{odd}/caf\udce9 \n": b"odd name",
        "large": _LARGE,
        "locked/key": b"k",
        ".hidden": b"\0\xff",
        "run": b"#!/bin/sh\n",
    }.items():
        (root / name).write_bytes(data)
    for name, mode in {"run": 0o755, ".hidden": 0o600, "locked": 0o555}.items():
        (root / name).chmod(mode)
    for name, target in {
        "link": "src/a.py",
        "dangling": "nowhere/\udcff",
        "src/out": "/etc/passwd",
        "src/loop": ".",
    }.items():
        (root / name).symlink_to(target)


def _wreck(root: Path) -> None:
    """Changes a planted tree in every way there is."""
    (root / "src/a.py").write_bytes(b"print(1)\n")
    (root / "src/deep/er/b").unlink()
    (root / "src/deep/er").rmdir()
    (root / "src/deep/er").write_bytes(b"a file now")
    (root / "empty").rmdir()
    (root / "run").chmod(0o644)
    (root / "locked").chmod(0o755)
    (root / "locked/key").unlink()
    (root / "link").unlink()
    (root / "link").mkdir()
    (root / "link/inside").write_bytes(b"x")
    (root / "dangling").unlink()
    (root / "dangling").symlink_to("elsewhere")
    (root / ".hidden").rename(root / "renamed")
    (root / "new/deep").mkdir(parents=True)
    (root / "new/deep/file").write_bytes(b"new")
    with (root / "large").open("r+b") as file:
        file.seek(len(_LARGE) - 1)
        file.write(b"!")
    root.chmod(0o700)


async def the_whole_tree_comes_back(stage: Stage) -> None:
    """Makes the tree as it was; what was added since is gone."""
    root = stage.workspace.root
    root.chmod(0o755)
    _plant(root)
    before = fingerprint(root)
    ref = await stage.store.capture(stage.workspace)
    expect(ref.whole and ref.paths == (), "a snapshot of everything names no paths", ref)
    expect(fingerprint(root) == before, "keeping changes nothing")
    _wreck(root)
    expect(fingerprint(root) != before, "the check changed something")
    await stage.store.restore(stage.workspace, ref)
    expect(fingerprint(root) == before, "everything is as it was", _differing(fingerprint(root), before))
    await stage.store.restore(stage.workspace, ref)
    expect(fingerprint(root) == before, "and restoring again comes to the same")


async def any_snapshot_can_be_gone_to(stage: Stage) -> None:
    """Snapshots before and after can both be restored, in any order."""
    root = stage.workspace.root
    states: list[tuple[SnapshotRef, dict[bytes, tuple[object, ...]]]] = []
    for number in range(24):
        (root / f"d{number % 3}").mkdir(exist_ok=True)
        (root / f"d{number % 3}/f{number % 7}").write_bytes(b"%d" % number)
        if number % 5 == 4:
            (root / f"d{number % 3}/f{number % 7}").unlink()
        states.append((await stage.store.capture(stage.workspace), fingerprint(root)))
    for number in (0, 23, 11, 4, 22, 5, 0):
        ref, state = states[number]
        await stage.store.restore(stage.workspace, ref)
        expect(fingerprint(root) == state, f"the tree of snapshot {number}", _differing(fingerprint(root), state))


async def what_did_not_change_is_not_touched(stage: Stage) -> None:
    """What is as it was is not touched."""
    root = stage.workspace.root
    for name in ("same", "other"):
        (root / name).write_bytes(b"1")
    ref = await stage.store.capture(stage.workspace)
    before = (root / "same").stat()
    (root / "other").write_bytes(b"2")
    await stage.store.restore(stage.workspace, ref)
    after = (root / "same").stat()
    expect(before.st_mtime_ns == after.st_mtime_ns, "its time of change is the same", before, after)


async def an_unchanged_tree_is_the_same_snapshot(stage: Stage) -> None:
    """Method may be called again: nothing changed in between, so the content named is the same."""
    _plant(stage.workspace.root)
    first = await stage.store.capture(stage.workspace)
    second = await stage.store.capture(stage.workspace)
    expect(await stage.store.changes(stage.workspace, first, second) == (), "nothing changed")
    expect(await stage.store.changes(stage.workspace, first) == (), "nothing changed since")


async def a_change_of_the_same_size_is_seen(stage: Stage) -> None:
    """However short the time between, and also when size and time of change are set back."""
    file = stage.workspace.root / "f"
    for number in range(30):
        file.write_bytes(b"%02d" % number)
        status = file.stat()
        ref = await stage.store.capture(stage.workspace)
        file.write_bytes(b"xx")
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        await stage.store.restore(stage.workspace, ref)
        expect(file.read_bytes() == b"%02d" % number, "the content comes back", number)


async def special_files_are_left_alone(stage: Stage) -> None:
    """FIFOs, sockets and devices are noted as `special` and left alone."""
    root = stage.workspace.root
    os.mkfifo(root / "pipe")
    (root / "f").write_bytes(b"1")
    ref = await stage.store.capture(stage.workspace)
    (root / "f").write_bytes(b"2")
    await stage.store.restore(stage.workspace, ref)
    expect(stat.S_ISFIFO((root / "pipe").lstat().st_mode), "the FIFO is there")
    expect((root / "f").read_bytes() == b"1", "the file beside it came back")


async def named_paths_come_back_alone(stage: Stage) -> None:
    """Keeps only what is at the paths; a link at its end is kept itself, and what it points to; missing is kept."""
    root = stage.workspace.root
    for name in ("named", "other"):
        (root / name).write_bytes(b"1")
    (root / "link").symlink_to("target")
    (root / "target").write_bytes(b"1")
    before = fingerprint(root)
    ref = await stage.store.capture(stage.workspace, ["named", "link", "made/by/call"])
    expect(not ref.whole and ref.paths == ("named", "link", "made/by/call"), "it says what it covers", ref)
    for name in ("named", "other", "link"):
        (root / name).write_bytes(b"22")
    (root / "made/by").mkdir(parents=True)
    (root / "made/by/call").write_bytes(b"new")
    changed = [change.path for change in await stage.store.changes(stage.workspace, ref)]
    expect(changed == ["made/by/call", "named", "target"], "what it covers is compared", changed)
    await stage.store.restore(stage.workspace, ref)
    before[b"other"] = fingerprint(root)[b"other"]
    expect((root / "other").read_bytes() == b"22", "what was not named stays as it is")
    expect(fingerprint(root) == before, "what was named is as it was", _differing(fingerprint(root), before))
    await refused(PathEscape, stage.store.capture(stage.workspace, ["../x"]), "a path that leads out is refused")
    nothing = await stage.store.capture(stage.workspace, [])
    (root / "named").write_bytes(b"333")
    await stage.store.restore(stage.workspace, nothing)
    expect((root / "named").read_bytes() == b"333", "a snapshot of no paths puts nothing back")


async def changes_say_what_differs(stage: Stage) -> None:
    """Returns what differs between two snapshots, or between one and the files as they are now."""
    root = stage.workspace.root
    _plant(root)
    before = await stage.store.capture(stage.workspace)
    _wreck(root)
    now = await stage.store.changes(stage.workspace, before)
    after = await stage.store.capture(stage.workspace)
    then = await stage.store.changes(stage.workspace, before, after)
    expect(now == then, "both ways say the same", now, then)
    kinds = {change.path: change.kind for change in now}
    wanted = {
        ".hidden": "removed",
        "dangling": "modified",
        "empty": "removed",
        "large": "modified",
        "link": "type",
        "link/inside": "added",
        "locked": "mode",
        "locked/key": "removed",
        "new": "added",
        "new/deep": "added",
        "new/deep/file": "added",
        "renamed": "added",
        "run": "mode",
        "src/a.py": "modified",
        "src/deep/er": "type",
        "src/deep/er/b": "removed",
    }
    expect(kinds == wanted, "each path and what became of it", sorted(kinds.items() ^ wanted.items()))
    expect([c.path for c in now] == sorted(kinds, key=os.fsencode), "sorted by path")
    back = {change.path: change.kind for change in await stage.store.changes(stage.workspace, after, before)}
    swapped = {"added": "removed", "removed": "added"}
    expect(back == {path: swapped.get(kind, kind) for path, kind in wanted.items()}, "the other way round", back)


async def files_of_a_snapshot_can_be_read(stage: Stage) -> None:
    """Returns the first `limit` bytes of a file as the snapshot has it, or as it is now."""
    root = stage.workspace.root
    _plant(root)
    ref = await stage.store.capture(stage.workspace)
    _wreck(root)
    read = stage.store.read
    expect(await read(stage.workspace, ref, "src/a.py", 100) == b"print()\n", "as it was")
    expect(await read(stage.workspace, None, "src/a.py", 100) == b"print(1)\n", "as it is")
    expect(await read(stage.workspace, ref, "large", 5) == _LARGE[:5], "the beginning")
    expect(await read(stage.workspace, ref, "large", len(_LARGE) + 1) == _LARGE, "all of a large one")
    for path in ("src/deep", "no/such", "link/inside", "src/out"):
        await refused(SandboxError, read(stage.workspace, ref, path, 9), f"{path} is no file of the snapshot")


async def an_empty_folder_becomes_the_tree(stage: Stage) -> None:
    """Makes an empty folder the tree of a whole snapshot."""
    _plant(stage.workspace.root)
    before = fingerprint(stage.workspace.root)
    ref = await stage.store.capture(stage.workspace)
    target = stage.empty()
    await stage.store.clone(ref, target)
    expect(fingerprint(target.root) == before, "the clone", _differing(fingerprint(target.root), before))
    await stage.store.clone(ref, target)
    expect(fingerprint(target.root) == before, "cloning again changes nothing")
    (target.root / "run").write_bytes(b"of the clone")
    expect(fingerprint(stage.workspace.root) == before, "a change of the clone is not one of the source")
    mine = await stage.store.capture(target)
    _wreck(target.root)
    await stage.store.restore(target, mine)
    expect((target.root / "run").read_bytes() == b"of the clone", "a clone has snapshots of its own")
    (stage.workspace.root / "run").write_bytes(b"of the source")
    expect((target.root / "run").read_bytes() == b"of the clone", "nor the other way round")


async def a_folder_in_use_is_not_cloned_into(stage: Stage) -> None:
    """SandboxError: the folder holds something that is not of the tree; the snapshot is not whole."""
    (stage.workspace.root / "f").write_bytes(b"1")
    ref = await stage.store.capture(stage.workspace)
    named = await stage.store.capture(stage.workspace, ["f"])
    target = stage.empty()
    await refused(SandboxError, stage.store.clone(named, target), "a snapshot of some paths is no tree")
    (target.root / "theirs").write_bytes(b"x")
    await refused(SandboxError, stage.store.clone(ref, target), "a folder that is not empty")
    expect((target.root / "theirs").read_bytes() == b"x", "nothing was lost")


async def another_process_finds_every_snapshot(stage: Stage) -> None:
    """The snapshot is as durable as the blobs once this returns."""
    root = stage.workspace.root
    _plant(root)
    before = fingerprint(root)
    ref = await stage.store.capture(stage.workspace)
    store = await stage.again()
    _wreck(root)
    await store.restore(stage.workspace, ref)
    expect(fingerprint(root) == before, "as it was", _differing(fingerprint(root), before))
    after = await store.capture(stage.workspace)
    expect(await store.changes(stage.workspace, ref, after) == (), "nothing differs")


async def every_blob_is_named(stage: Stage) -> None:
    """Gives every blob that must be kept for the snapshot, its manifest among them."""
    _plant(stage.workspace.root)
    for ref in (await stage.store.capture(stage.workspace), await stage.store.capture(stage.workspace, ["large"])):
        digests = [digest async for digest in stage.store.digests(ref)]
        expect(ref.manifest in digests, "the manifest is one of them")
        for digest in digests:
            expect(await stage.blobs.has(LOCAL, digest), "each is there", digest)


async def a_dropped_snapshot_takes_no_other_with_it(stage: Stage) -> None:
    """Lets go of what the store holds for the snapshot; nothing happens when that is nothing."""
    file = stage.workspace.root / "f"
    refs: list[SnapshotRef] = []
    for number in range(4):
        file.write_bytes(b"%d" % number)
        refs.append(await stage.store.capture(stage.workspace))
    for ref in (refs[0], refs[2], refs[2]):
        await stage.store.drop(ref)
    for number in (1, 3):
        await stage.store.restore(stage.workspace, refs[number])
        expect(file.read_bytes() == b"%d" % number, "what was not dropped can be restored", number)


async def a_lost_or_foreign_snapshot_is_refused(stage: Stage) -> None:
    """SandboxError: the snapshot is of another store or lost."""
    (stage.workspace.root / "f").write_bytes(b"1")
    ref = await stage.store.capture(stage.workspace)
    lost = SnapshotRef(ref.store, Digest("sha256:" + "0" * 64), whole=True)
    foreign = SnapshotRef("zfs", ref.manifest, whole=True)
    for wrong, words in ((lost, "not in the store"), (foreign, "'zfs'")):
        for call in (
            stage.store.restore(stage.workspace, wrong),
            stage.store.changes(stage.workspace, wrong),
            stage.store.clone(wrong, stage.workspace),
            stage.store.read(stage.workspace, wrong, "f", 1),
        ):
            error = await refused(SandboxError, call, "it is refused")
            expect(words in str(error), f"the words say {words}", str(error))
    expect((stage.workspace.root / "f").read_bytes() == b"1", "nothing was touched")


def _differing(seen: dict[bytes, tuple[object, ...]], wanted: dict[bytes, tuple[object, ...]]) -> list[object]:
    return [(name, seen.get(name), wanted.get(name)) for name in {*seen, *wanted} if seen.get(name) != wanted.get(name)]


CHECKS: tuple[Check, ...] = (
    the_whole_tree_comes_back,
    any_snapshot_can_be_gone_to,
    what_did_not_change_is_not_touched,
    an_unchanged_tree_is_the_same_snapshot,
    a_change_of_the_same_size_is_seen,
    special_files_are_left_alone,
    named_paths_come_back_alone,
    changes_say_what_differs,
    files_of_a_snapshot_can_be_read,
    an_empty_folder_becomes_the_tree,
    a_folder_in_use_is_not_cloned_into,
    another_process_finds_every_snapshot,
    every_blob_is_named,
    a_dropped_snapshot_takes_no_other_with_it,
    a_lost_or_foreign_snapshot_is_refused,
)
"""Every check."""
