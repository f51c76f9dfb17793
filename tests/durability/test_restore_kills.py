"""A restore that is killed at any instant is finished by the next one."""

from __future__ import annotations

import os
import random
import select
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.flow.clock import SystemClock
from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots
from holdfast.sandbox.workspace import Workspace
from holdfast.storage.sqlite import Database
from holdfast.storage.stores.sqlite import BLOBS, SqliteBlobStore
from holdfast.testing.conformance.checking import LOCAL
from holdfast.testing.conformance.snapshots import fingerprint
from holdfast.types import Digest, SnapshotRef

CHILD = """
import asyncio, sys
from holdfast.flow.clock import SystemClock
from holdfast.sandbox.snapshots.stores.tree import TreeSnapshots
from holdfast.sandbox.workspace import Workspace
from holdfast.storage.sqlite import Database
from holdfast.storage.stores.sqlite import BLOBS, SqliteBlobStore
from holdfast.types import Digest, SnapshotRef, TenantId

async def main(path, root, manifest):
    blobs = SqliteBlobStore(await Database.open(path, (BLOBS,)), SystemClock())
    print("go", flush=True)
    ref = SnapshotRef("tree", Digest(manifest), whole=True)
    await TreeSnapshots(blobs, TenantId("local")).restore(Workspace(root), ref)

asyncio.run(main(*sys.argv[1:]))
"""
KILLS = 200 if os.environ.get("HOLDFAST_CAMPAIGN") else 8


def plant(root: Path, mark: bytes) -> None:
    for number in range(120):
        folder = root / f"d{number % 12}" / f"e{number % 5}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"f{number}").write_bytes(mark * (number * 40))
        (folder / f"l{number}").symlink_to(f"f{number}")


def wreck(root: Path, chance: random.Random) -> None:
    for path in sorted(root.rglob("*")):
        match chance.randrange(5):
            case 0 if path.is_symlink() or path.is_file():
                path.unlink()
            case 1 if path.is_file() and not path.is_symlink():
                path.write_bytes(b"wrecked")
                path.chmod(0o600)
            case 2 if path.is_file() and not path.is_symlink():
                path.unlink()
                path.mkdir()
                (path / "inside").write_bytes(b"x")
            case _:
                pass


@pytest.mark.requirement("sandbox:restore-survives-kills")
async def test_a_restore_that_is_killed_again_and_again_comes_to_the_same(tmp_path: Path) -> None:
    root, path, chance = tmp_path / "w", tmp_path / "b.db", random.Random(4)
    root.mkdir()
    plant(root, b"planted ")
    before = fingerprint(root)
    database = await Database.open(str(path), (BLOBS,))
    store = TreeSnapshots(SqliteBlobStore(database, SystemClock()), LOCAL)
    ref = await store.capture(Workspace(root))
    done = 0
    for number in range(KILLS):
        if number % 3 == 0:
            wreck(root, chance)
        done += killed_restore(path, root, ref, chance.random() * 0.08)
    assert done < KILLS, "not one restore was cut off"
    wreck(root, chance)
    killed_restore(path, root, ref, 0.02)
    await store.restore(Workspace(root), ref)
    assert fingerprint(root) == before
    await database.close()


def killed_restore(path: Path, root: Path, ref: SnapshotRef, after: float) -> bool:
    """Lets a process restore, and kills it; returns whether it was done by then."""
    command = [sys.executable, "-c", CHILD, str(path), str(root), Digest(ref.manifest)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"go\n"
        select.select([child.stdout], [], [], after)  # readable when it has ended
        done = child.poll() is not None
        child.kill()  # nothing happens when it has ended by now
        child.wait(5)
    return done
