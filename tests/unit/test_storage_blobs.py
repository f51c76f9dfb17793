from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from pathlib import Path

import pytest
from tests.durability.journal_files import small_disk

from holdfast.errors import StorageDamaged, StorageFull
from holdfast.flow.clock import SystemClock
from holdfast.storage.blobs import REFRESH, Marks, Stored, Swept
from holdfast.storage.migrating import Schema
from holdfast.storage.sqlite import Database
from holdfast.storage.stores import sqlite
from holdfast.storage.stores.sqlite import BLOBS, SqliteBlobStore
from holdfast.testing.clock import FakeClock
from holdfast.types import TenantId, digest_of

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


async def filled(path: Path, count: int, size: int, clock: FakeClock) -> tuple[Database, SqliteBlobStore]:
    """Returns a store with so many blobs of a size that nobody used for two days."""
    database = await Database.open(str(path), (BLOBS,))
    store = SqliteBlobStore(database, clock)
    for start in range(0, count, 500):
        numbers = range(start, min(count, start + 500))
        await store.put_many(LOCAL, [b"%0*d" % (size, number) for number in numbers])
    await clock.advance(2 * 24 * 3600)
    return database, store


@pytest.mark.requirement("storage:migrations-forward", "storage:blobs-collected-if-unmarked")
async def test_blobs_of_an_older_database_are_found_and_count_as_put_when_it_moved_forward(tmp_path: Path) -> None:
    old = Schema(BLOBS.name, BLOBS.steps[:1])
    database = await Database.open(str(tmp_path / "b.db"), (old,))
    row = (LOCAL, digest_of(b"old"), 3, b"old", 5)
    await database.write(lambda c: c.execute("insert into blob values (?, ?, ?, ?, ?)", row).rowcount)
    await database.close()
    database = await Database.open(str(tmp_path / "b.db"), (BLOBS,))
    clock = SystemClock()
    store = SqliteBlobStore(database, clock)
    assert await store.get(LOCAL, digest_of(b"old")) == b"old"
    assert await store.usage(LOCAL) == Stored(1, 3)
    assert await store.collect(LOCAL, Marks(), before=clock.now() - 2 * REFRESH) == Swept(1, 0, 0)
    await database.close()


@pytest.mark.requirement("storage:blobs-collected-while-written")
async def test_a_put_between_the_look_and_the_removal_saves_its_blob(tmp_path: Path) -> None:
    clock = FakeClock()
    database, store = await filled(tmp_path / "b.db", 1, 10, clock)
    other = await Database.open(str(tmp_path / "b.db"), (BLOBS,))
    before = clock.now() - 24 * 3_600_000_000
    (found,) = await database.read(lambda c: c.execute("select digest, size from blob_use").fetchall())
    await SqliteBlobStore(other, clock).put(LOCAL, b"%010d" % 0)  # another process, after the sweep looked at it
    gone = await database.write(sqlite._remove, LOCAL, [found], before)
    assert gone == []
    assert await store.get(LOCAL, found[0]) == b"%010d" % 0
    await database.close()
    await other.close()


@pytest.mark.requirement("storage:blobs-collected-in-portions")
async def test_others_write_between_the_portions_of_a_collection_and_the_file_becomes_smaller(tmp_path: Path) -> None:
    clock = FakeClock()
    path = tmp_path / "b.db"
    database, store = await filled(path, 1500, 8000, clock)
    size = path.stat().st_size
    transactions: list[str] = []
    await database.write(lambda c: c.set_trace_callback(lambda line: transactions.append(line.partition(" ")[0])))
    collecting = asyncio.create_task(store.collect(LOCAL, Marks(), before=clock.now() - 24 * 3_600_000_000))
    written = 0
    while not collecting.done():
        await store.put(LOCAL, b"beside %d" % written)
        written += 1
    assert (await collecting).removed == 1500
    assert written > 20, "whoever writes beside a collection waits for a portion, not for all of it"
    assert transactions.count("commit") > 1500 / 32
    assert await store.usage(LOCAL) == Stored(written, sum(len(b"beside %d" % n) for n in range(written)))
    assert await database.read(lambda c: c.execute("pragma integrity_check").fetchone()[0]) == "ok"
    await database.close()
    assert path.stat().st_size < size / 5, "the space is given back"


@pytest.mark.requirement("storage:blobs-collected-in-portions")
async def test_a_database_of_before_keeps_its_size_and_uses_its_space_again(tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    with contextlib.closing(sqlite3.connect(path)) as made:
        made.execute("pragma journal_mode = wal")  # as it was made before files could shrink
    clock = FakeClock()
    database, store = await filled(path, 500, 8000, clock)
    size = path.stat().st_size
    assert (await store.collect(LOCAL, Marks(), before=clock.now() - 24 * 3_600_000_000)).removed == 500
    await store.put_many(LOCAL, [b"%08000d" % number for number in range(400)])
    assert path.stat().st_size <= size
    await database.close()


@pytest.mark.requirement("storage:blobs-collected-in-portions")
async def test_a_collection_that_is_cut_off_leaves_whole_blobs_and_the_next_does_the_rest(tmp_path: Path) -> None:
    clock = FakeClock()
    database, store = await filled(tmp_path / "b.db", 1000, 100, clock)
    before = clock.now() - 24 * 3_600_000_000
    kept = [digest_of(b"%0100d" % number) for number in range(0, 1000, 10)]
    collecting = asyncio.create_task(store.collect(LOCAL, Marks(kept), before=before))
    while (await store.usage(LOCAL)).blobs == 1000:
        pass
    collecting.cancel()
    await asyncio.gather(collecting, return_exceptions=True)
    await database.close()
    database = await Database.open(str(tmp_path / "b.db"), (BLOBS,))
    store = SqliteBlobStore(database, clock)
    counted = "select (select count(*) from blob), (select count(*) from blob_use)"
    blobs, uses = await database.read(lambda c: c.execute(counted).fetchone())
    assert blobs == uses, "a blob and its age go together"
    assert 100 < blobs < 1000
    assert (await store.collect(LOCAL, Marks(kept), before=before)).kept == 100
    assert not await store.touch(LOCAL, kept)
    await database.close()


@pytest.mark.requirement("storage:blobs-collected-on-a-full-disk")
async def test_on_a_full_disk_a_collection_makes_room(tmp_path: Path) -> None:
    with small_disk("16m") as disk:
        clock = FakeClock()
        database, store = await filled(disk / "b.db", 1000, 8000, clock)
        await database.read(lambda c: c.execute("pragma wal_checkpoint(truncate)").fetchall())
        ballast = disk / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        with pytest.raises(StorageFull):
            await store.put(LOCAL, bytes(2_000_000))
        os.truncate(ballast, ballast.stat().st_size - 1_000_000)  # the log of a few portions
        swept = await store.collect(LOCAL, Marks(), before=clock.now() - 24 * 3_600_000_000)
        assert swept.removed == 1000
        await store.put(LOCAL, bytes(2_000_000))
        assert await database.read(lambda c: c.execute("pragma integrity_check").fetchone()[0]) == "ok"
        await database.close()
