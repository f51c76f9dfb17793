from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from holdfast.errors import StorageDamaged
from holdfast.storage.sqlite import Database
from holdfast.storage.stores.sqlite import BLOBS, SqliteBlobStore
from holdfast.testing.clock import FakeClock
from holdfast.types import TenantId

LOCAL = TenantId("local")


@pytest.mark.requirement("storage:blobs-by-content")
async def test_bytes_are_kept_once_and_other_bytes_are_noticed(tmp_path: Path) -> None:
    database = await Database.open(str(tmp_path / "b.db"), (BLOBS,))
    store = SqliteBlobStore(database, FakeClock())
    digest = await store.put(LOCAL, b"content")
    await store.put(LOCAL, b"content")
    assert await database.read(lambda c: c.execute("select count(*), size from blob").fetchone()) == (1, 7)
    await database.write(lambda c: c.execute("update blob set bytes = x'00'").rowcount)
    with pytest.raises(StorageDamaged, match="restore the file"):
        await store.get(LOCAL, digest)
    await database.close()


@pytest.mark.requirement("journal:blob-before-event")
async def test_a_blob_handed_in_first_is_committed_no_later_than_what_follows(tmp_path: Path) -> None:
    database = await Database.open(str(tmp_path / "b.db"), (BLOBS,))
    store = SqliteBlobStore(database, FakeClock())
    order: list[str] = []
    await database.write(lambda c: c.set_trace_callback(order.append))
    order.clear()
    putting = asyncio.create_task(store.put(LOCAL, b"content"))
    await asyncio.sleep(0)
    await database.write(lambda c: c.execute("select 'what follows'").fetchone())
    places = [next(n for n, line in enumerate(order) if line.startswith(part)) for part in ("insert", "select 'what")]
    assert places == sorted(places)
    assert putting.done() or "commit" in order[places[1] :]
    assert await store.has(LOCAL, await putting)
    await database.close()
