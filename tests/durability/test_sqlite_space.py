"""No space is left: what is refused is refused whole, what was acknowledged stays, and with space it goes on."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest
from tests.durability.journal_files import ANN, STREAM, TTL, append, goes_on, numbers, small_disk

from holdfast.errors import StorageFull
from holdfast.journal.port import Letter
from holdfast.journal.stores.sqlite import SqliteJournal
from holdfast.storage import sqlite_pace
from holdfast.types import StreamId


async def filled(journal: SqliteJournal) -> int:
    """Appends until there is no space; returns how many were acknowledged."""
    seq = 0
    while True:
        try:
            await append(journal, seq + 1, size=20_000)
        except StorageFull as error:
            assert "free some" in str(error)
            assert journal._database.path in str(error)
            return seq
        seq += 1
        assert seq < 5000, "the disk never filled up"


@pytest.fixture(params=["thread", "event loop"], autouse=True)
def commits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who commits: nobody knows how quick the disk of a machine is."""
    monkeypatch.setattr(sqlite_pace, "_LONG", 0.0 if request.param == "thread" else math.inf)


@pytest.mark.requirement("storage:sqlite-disk-full")
async def test_a_full_disk_refuses_the_append_and_keeps_everything_before_it() -> None:
    with small_disk("8m") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(5_000_000))
        journal = await SqliteJournal.open(disk / "j.db")
        await journal.claim(STREAM, ANN, TTL)
        held = await filled(journal)
        assert held > 20
        assert await numbers(journal) == list(range(1, held + 1)), "what was acknowledged is there"
        big = Letter(key="big", kind="prompt", body=bytes(100_000))
        several = (journal.post(StreamId(f"local/p{n}"), big) for n in range(5))
        answers = await asyncio.gather(*several, return_exceptions=True)
        assert {type(answer) for answer in answers} == {StorageFull}, "everybody of a group is told"
        ballast.unlink()
        await append(journal, held + 1)
        assert await numbers(journal) == list(range(1, held + 2)), "with space it goes on where it was"
        await journal.close()
        journal = await SqliteJournal.open(disk / "j.db")
        await goes_on(journal, held + 1)
        await journal.close()


@pytest.mark.requirement("storage:sqlite-disk-full")
async def test_a_database_at_its_largest_says_so_and_goes_on_once_it_may_grow(tmp_path: Path) -> None:
    journal = await SqliteJournal.open(tmp_path / "j.db")
    await journal.claim(STREAM, ANN, TTL)
    await journal._database.write(lambda c: c.execute("pragma max_page_count = 200").fetchone())
    held = await filled(journal)
    assert await numbers(journal) == list(range(1, held + 1))
    small = [append(journal, held + 1)]
    big = [journal.post(StreamId(f"local/p{n}"), Letter(key="k", kind="p", body=bytes(200_000))) for n in range(3)]
    answers = await asyncio.gather(*big, *small, return_exceptions=True)
    assert [type(answer) for answer in answers[:3]] == [StorageFull] * 3, "what does not fit is refused"
    await journal._database.write(lambda c: c.execute("pragma max_page_count = 100000").fetchone())
    await goes_on(journal, len(await numbers(journal)))
    await journal.close()
