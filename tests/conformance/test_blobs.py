"""Every place for blobs passes the one kit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.flow.clock import Clock
from holdfast.storage.blobs import BlobStore
from holdfast.storage.sqlite import Database
from holdfast.storage.stores.memory import MemoryBlobStore
from holdfast.storage.stores.sqlite import BLOBS, SqliteBlobStore
from holdfast.testing.conformance import blobs as kit


@pytest.fixture(params=["memory", "sqlite"])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[kit.Make]:
    memory: list[BlobStore] = []
    opened: list[Database] = []

    async def open_one(clock: Clock) -> BlobStore:
        if request.param == "memory":
            if not memory:
                memory.append(MemoryBlobStore(clock))
            return memory[0]
        opened.append(await Database.open(str(tmp_path / "b.db"), (BLOBS,)))
        return SqliteBlobStore(opened[-1], clock)

    yield open_one
    for database in opened:
        await database.close()


@pytest.mark.requirement(
    "storage:blobs-by-content", "storage:blobs-tenant-apart", "storage:blobs-collected-if-unmarked"
)
@pytest.mark.parametrize("check", kit.CHECKS, ids=lambda check: check.__name__)
async def test_blobs(check: kit.Check, make: kit.Make) -> None:
    await check(make)
