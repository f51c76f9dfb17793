"""Attempts on whoever reads afterwards what was left in a workspace: the host's own code, and what it prints.

Each is a function that lays the lure, lets a reader come, and says whether it was swallowed. A reader is either a naive
one, which shows that the lure works, or Holdfast's.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from tests.security.escapes.running import ENV

from holdfast.errors import SandboxError
from holdfast.sandbox.port import Backend
from holdfast.sandbox.snapshots.committing import commit
from holdfast.sandbox.snapshots.port import SnapshotStore
from holdfast.sandbox.snapshots.stores import overlay
from holdfast.sandbox.snapshots.stores.overlay import OverlaySnapshots
from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots
from holdfast.sandbox.workspace import Workspace
from holdfast.storage.stores.memory import MemoryBlobStore
from holdfast.testing.conformance.checking import LOCAL

__all__ = ("LURES", "Lure", "Reader")

SECRET: Final = "0utside-the-workspace"
_FLOOD = 32 << 20


class Reader(NamedTuple):
    """Who comes afterwards: nobody's code but the standard library, or ours."""

    place: Path
    """A folder for this one lure."""
    backend: Backend | None
    """What runs commands for us; None for the naive reader."""

    @property
    def naive(self) -> bool:
        """Whether it is the one that is to fall for it."""
        return self.backend is None

    @property
    def bitten(self) -> bool:
        """Whether what was left there ran on the host."""
        return (self.place / "ran").exists()


Lure = Callable[[Reader], Awaitable[bool]]


def _folders(reader: Reader) -> tuple[Workspace, Workspace]:
    """Returns where the sandbox wrote and where it is to go, with something in each, beside a secret."""
    for name in ("clone", "target", "outside"):
        (reader.place / name).mkdir()
    (reader.place / "outside/secret").write_text(SECRET)
    for name in ("clone", "target"):
        (reader.place / name / "d").mkdir()
        for path in ("f", "d/secret"):
            (reader.place / name / path).write_text("before")
    return Workspace(reader.place / "clone"), Workspace(reader.place / "target")


async def symlink_swap_during_commit(reader: Reader) -> bool:
    """A file is looked at, then becomes a link to a secret, then is copied."""
    clone, target = _folders(reader)
    if reader.naive:
        path = clone.root / "f"
        assert stat.S_ISREG(path.lstat().st_mode)
        path.unlink()
        path.symlink_to(reader.place / "outside/secret")
        shutil.copyfile(path, target.root / "f")
    else:
        store = TreeSnapshots(MemoryBlobStore(), LOCAL)
        base = await store.capture(target)
        for path in ("f", "d/secret"):
            (clone.root / path).write_text("after")
        with _swapping(clone.root, reader.place / "outside"):
            for _ in range(80):
                with suppress(SandboxError, OSError):
                    await commit(store, clone, target, base, ["f", "d/secret"])
    read = [path.read_text() for path in target.root.rglob("*") if path.is_file()]
    return SECRET in read or (reader.place / "outside/secret").read_text() != SECRET


@contextmanager
def _swapping(root: Path, outside: Path) -> Generator[None]:
    """Swaps a file and a folder for links that lead out, and back, as fast as it can."""
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            for name, there in (("f", outside / "secret"), ("d", outside)):
                with suppress(OSError):
                    (root / "link").symlink_to(there)
                    (root / name).rename(root / f"{name}-away")
                    (root / "link").rename(root / name)
                    (root / name).unlink()
                with suppress(OSError):
                    (root / f"{name}-away").rename(root / name)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(5)


async def fifo_or_device_in_commit(reader: Reader) -> bool:
    """Whoever opens it waits for ever, or reads what never ends."""
    clone, target = _folders(reader)
    store = TreeSnapshots(MemoryBlobStore(), LOCAL)
    base = await store.capture(target)
    os.mkfifo(clone.root / "fifo")
    (clone.root / "f").unlink()
    names = ["fifo", "f"]
    os.mkfifo(clone.root / "f")
    with suppress(OSError):  # only root makes devices
        os.mknod(clone.root / "zero", 0o20666, os.makedev(1, 5))
        names.append("zero")
    if reader.naive:
        reading = [sys.executable, "-c", "import sys; open(sys.argv[1]).read()", clone.root / "fifo"]
        with suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(subprocess.run, reading, timeout=1, check=False)
            return False
        return True
    arrived: list[str] = []
    try:
        async with asyncio.timeout(5):
            for name in names:
                with suppress(SandboxError):
                    await commit(store, clone, target, base, [name])
                    arrived.append(name)
    except TimeoutError:
        return True
    return bool(arrived) or any(not path.is_file() and not path.is_dir() for path in target.root.rglob("*"))


async def terminal_escape_in_output(reader: Reader) -> bool:
    """Control sequences retitle the window, fill the clipboard, answer in our name."""
    line = r"printf '\033]0;title\007\033]52;c;ZXZpbA==\007\033[6n\233\r\010\177safe\302\233'"
    if reader.backend is None:
        done = await asyncio.to_thread(subprocess.run, ("bash", "-c", line), capture_output=True, check=True)
        shown = done.stdout.decode("utf-8", "replace")
    else:
        ended = await reader.backend.run(line, folder=_work(reader), env=ENV, timeout=10, keep=4096)
        shown = ended.output.text()
        assert "safe" in shown
    return any((ord(char) < 32 and char not in "\n\t") or 127 <= ord(char) < 160 for char in shown)


async def output_flood(reader: Reader) -> bool:
    """More is printed than anybody can keep."""
    line = f"head -c {_FLOOD} /dev/zero | tr '\\0' x"
    if reader.backend is None:
        done = await asyncio.to_thread(subprocess.run, ("bash", "-c", line), capture_output=True, check=True)
        return len(done.stdout) == _FLOOD
    ended = await reader.backend.run(line, folder=_work(reader), env=ENV, timeout=30, keep=65536)
    return len(ended.output.raw()) > 65536 or len(ended.output.text()) > 70000


def _work(reader: Reader) -> Path:
    folder = reader.place / "work"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    return folder


async def gitattributes_filter_or_fsmonitor(reader: Reader) -> bool:
    """Git starts what a repository's own settings name, as soon as somebody asks it for a status."""
    clone, target = _folders(reader)
    store = TreeSnapshots(MemoryBlobStore(), LOCAL)
    for folder in (clone.root, target.root):
        _git(folder, "init", "-q")
    _same(target.root, clone.root)
    script = clone.root / "monitor"
    script.write_text(f"#!/bin/sh\ntouch {reader.place}/ran\n")
    script.chmod(0o755)
    (clone.root / ".gitattributes").write_text("* filter=lure diff=lure\n")
    with (clone.root / ".git/config").open("a") as config:
        config.write(f'[core]\n\tfsmonitor = {script}\n[filter "lure"]\n\tclean = {script}\n')
    if reader.naive:
        _git(clone.root, "status")
        return reader.bitten
    await _look_and_bring(store, clone, target, [".gitattributes", "monitor", ".git/config"])
    _git(target.root, "status")
    _git(target.root, "add", "-A")
    return reader.bitten or await _in_a_worktree(reader)


async def _in_a_worktree(reader: Reader) -> bool:
    """In a worktree `.git` is a file that names the repository: a command makes it name one of its own."""
    main, work = reader.place / "main", reader.place / "worktree"
    main.mkdir()
    _git(main, "init", "-q")
    _git(main, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "first")
    _git(main, "worktree", "add", "-q", str(work))
    (work / ".git").chmod(0o666)
    work.chmod(0o777)
    lay = f"""
        mkdir -p own/objects own/refs; echo 'ref: refs/heads/main' > own/HEAD
        printf '#!/bin/sh\\ntouch {reader.place}/ran\\n' > monitor; chmod 755 monitor
        printf '[core]\\n\\trepositoryformatversion = 0\\n\\tfsmonitor = {work}/monitor\\n' > own/config
        echo 'gitdir: own' > .git || (mv .git aside; echo 'gitdir: own' > .git)
    """
    assert reader.backend is not None
    await reader.backend.run(lay, folder=work, env=ENV, timeout=10, keep=1000)
    _git(work, "status")
    return reader.bitten


def _git(folder: Path, *words: str) -> None:
    subprocess.run(
        ("git", *words),
        cwd=folder,
        env={**ENV, "HOME": str(folder.parent)},
        capture_output=True,
        timeout=20,
        check=False,
    )


def _same(source: Path, target: Path) -> None:
    shutil.rmtree(target)
    shutil.copytree(source, target)


async def _look_and_bring(store: SnapshotStore, clone: Workspace, target: Workspace, paths: list[str]) -> None:
    """Does all that the host does with files: keeps, compares, reads, commits and puts them back."""
    before = await store.capture(target)
    after = await store.capture(clone)
    await store.changes(clone, after)
    for path in paths:
        await store.read(clone, after, path, 1 << 16)
        clone.contents(path)
        with suppress(SandboxError):
            await commit(store, clone, target, before, [path])
    await store.restore(clone, after)


class _Pickled:
    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.open, (self._path, os.O_CREAT)


async def pickle_or_conftest_run_by_host(reader: Reader) -> bool:
    """Modules that shadow others, settings of test runners, pickled objects: whoever loads them runs them."""
    clone, target = _folders(reader)
    store = TreeSnapshots(MemoryBlobStore(), LOCAL)
    line = f"open({str(reader.place / 'ran')!r}, 'w')\n"
    names = ["conftest.py", "sitecustomize.py", "usercustomize.py", "json.py", "msgspec.py", "setup.py", "yaml.py"]
    for name in names:
        (clone.root / name).write_text(line)
    (clone.root / "state.pickle").write_bytes(pickle.dumps(_Pickled(str(reader.place / "ran"))))
    if reader.naive:
        with suppress(TypeError):
            pickle.loads((clone.root / "state.pickle").read_bytes())
        return reader.bitten
    await _look_and_bring(store, clone, target, [*names, "state.pickle"])
    assert reader.backend is not None
    # What starts commands for us must not take its modules from there.
    await reader.backend.run("true", folder=clone.root, env=ENV, timeout=10, keep=100)
    return reader.bitten


async def snapshot_poisoning(reader: Reader) -> bool:
    """A file that was opened before a snapshot is written through that descriptor after it."""
    clone, _ = _folders(reader)
    if reader.naive:
        with (clone.root / "f").open("r+b", buffering=0) as kept:
            shutil.copytree(clone.root, reader.place / "snapshot", copy_function=os.link)
            kept.write(b"poison")
        return (reader.place / "snapshot/f").read_bytes() != b"before"
    blobs = MemoryBlobStore()
    if await _poisons(reader, TreeSnapshots(blobs, LOCAL), clone):
        return True
    if overlay.probe(reader.place / "probe") is not None:
        return False
    layers = OverlaySnapshots(reader.place / "layers", blobs, LOCAL)
    try:
        return await _poisons(reader, layers, clone)
    finally:
        await layers.release(clone)


async def _poisons(reader: Reader, store: SnapshotStore, space: Workspace) -> bool:
    """Writes through what was opened before a snapshot: by descriptors here, and by a sandbox that lives on."""
    assert reader.backend is not None
    await store.capture(space)  # from here on the layers are there
    kept = [os.open(space.root / name, os.O_RDWR) for name in ("f", "d/secret")]
    try:
        for descriptor in kept:
            os.pwrite(descriptor, b"second", 0)  # a layer of its own now holds it
        with suppress(SandboxError):  # whoever keeps files open may be refused a snapshot
            ref = await store.capture(space)
            _write_all(kept, b"poison")
            await store.restore(space, ref)
            _write_all(kept, b"poison")
    finally:
        for descriptor in kept:
            os.close(descriptor)
    if any((space.root / name).read_bytes() != b"second" for name in ("f", "d/secret")):
        return True
    run = partial(reader.backend.run, folder=space.root, env=ENV, timeout=10, keep=1000)
    with suppress(SandboxError):  # where it cannot run in such a workspace at all
        await run("printf second > f")
        ref = await store.capture(space)
        await run("printf poison > f")
        if (space.root / "f").read_bytes() != b"poison":
            return True  # it went elsewhere: into what the snapshot is made of
        await store.restore(space, ref)
        return (space.root / "f").read_bytes() != b"second"
    return False


def _write_all(descriptors: Sequence[int], data: bytes) -> None:
    for descriptor in descriptors:
        with suppress(OSError):  # it may have become one that cannot be written
            os.pwrite(descriptor, data, 0)


LURES: Final[dict[str, Lure]] = {
    lure.__name__: lure
    for lure in (
        symlink_swap_during_commit,
        fifo_or_device_in_commit,
        terminal_escape_in_output,
        output_flood,
        gitattributes_filter_or_fsmonitor,
        pickle_or_conftest_run_by_host,
        snapshot_poisoning,
    )
}
"""By their names in the list."""
