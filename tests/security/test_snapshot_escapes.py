"""Snapshots of a workspace in which somebody swaps links: nothing outside is read, written or removed."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from holdfast.errors import SandboxError
from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots
from holdfast.sandbox.workspace import Workspace
from holdfast.storage.stores.memory import MemoryBlobStore
from holdfast.testing.conformance.checking import LOCAL
from holdfast.testing.conformance.snapshots import fingerprint
from holdfast.types import digest_of

pytestmark = pytest.mark.requirement("sandbox:snapshots-stay-inside")
SECRET = b"not yours"


@contextmanager
def swapping(root: Path, outside: Path) -> Generator[None]:
    """Swaps a folder for a link that leads out, and a file too, as fast as it can."""
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            for name, target in (("d", outside), ("f", outside / "secret")):
                with suppress(OSError):
                    (root / "swap").symlink_to(target)
                    (root / name).rename(root / f"{name}.away")
                    (root / "swap").rename(root / name)
                    (root / name).unlink()
                with suppress(OSError):
                    (root / f"{name}.away").rename(root / name)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(5)
        assert not thread.is_alive()


async def test_links_that_are_swapped_in_lead_nowhere(tmp_path: Path) -> None:
    root, outside = tmp_path / "w", tmp_path / "outside"
    for folder in (root, root / "d", outside):
        folder.mkdir()
    (outside / "secret").write_bytes(SECRET)
    (outside / "inside").write_bytes(b"theirs")
    (root / "d/inside").write_bytes(b"ours")
    (root / "f").write_bytes(b"ours")
    space, blobs = Workspace(root), MemoryBlobStore()
    store = TreeSnapshots(blobs, LOCAL)
    ref = await store.capture(space)
    theirs, ours = fingerprint(outside), fingerprint(root)
    with swapping(root, outside):
        for _ in range(60):
            with suppress(SandboxError, OSError):
                await store.capture(space)
            with suppress(SandboxError, OSError):
                await store.restore(space, ref)
    assert fingerprint(outside) == theirs
    assert not await blobs.has(LOCAL, digest_of(SECRET))
    await store.restore(space, ref)
    assert fingerprint(root) == ours


async def test_a_file_with_a_name_outside_keeps_its_mode_and_content_there(tmp_path: Path) -> None:
    root = tmp_path / "w"
    root.mkdir()
    (root / "f").write_bytes(b"1")
    (root / "f").chmod(0o644)
    store, space = TreeSnapshots(MemoryBlobStore(), LOCAL), Workspace(root)
    ref = await store.capture(space)
    (root / "f").unlink()
    outside = tmp_path / "outside"
    outside.write_bytes(b"1")
    outside.chmod(0o600)
    os.link(outside, root / "f")
    await store.restore(space, ref)
    assert (outside.stat().st_mode & 0o777, outside.read_bytes()) == (0o600, b"1")
    assert (root / "f").stat().st_mode & 0o777 == 0o644
