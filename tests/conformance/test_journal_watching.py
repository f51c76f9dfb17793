"""When the journal in SQLite compares what is listened to: because of others, never because of itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from tests.running import until

from holdfast.errors import StorageError
from holdfast.journal.port import Letter, Park, Record
from holdfast.journal.stores import sqlite_watching
from holdfast.journal.stores.sqlite import SqliteJournal
from holdfast.journal.stores.sqlite_tables import Mark, fetch_marks
from holdfast.storage.sqlite import Connection
from holdfast.types import BatchId, StreamId, WorkerId

ANN = WorkerId("ann")
TTL = 10_000_000
ONE, TWO = StreamId("local/one"), StreamId("local/two")


def letter(key: str, size: int = 0) -> Letter:
    return Letter(key=key, kind="prompt", body=b"x" * size)


class Counted:
    """How often a journal looked, and how often it compared."""

    def __init__(self, journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> None:
        self.looks = self.comparisons = 0
        self.failures = 0
        """So many comparisons are going to fail."""
        version = journal._database.version

        def look() -> asyncio.Future[int]:
            self.looks += 1
            return version()

        def compare(connection: Connection, streams: Sequence[StreamId]) -> dict[StreamId, Mark]:
            self.comparisons += 1
            if self.failures:
                self.failures -= 1
                raise StorageError("the disk is tired; try again")
            return fetch_marks(connection, streams)

        monkeypatch.setattr(journal._database, "version", look)
        monkeypatch.setattr(sqlite_watching, "fetch_marks", compare)
        monkeypatch.setattr(sqlite_watching, "_EVERY", 0.02)

    async def settled(self) -> None:
        """Lets it look until it has nothing new to see."""
        seen = -1
        while seen != self.comparisons:
            seen, looks = self.comparisons, self.looks
            await until(lambda looks=looks: self.looks > looks + 4, "nobody looks any more")


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[SqliteJournal]:
    journal = await SqliteJournal.open(tmp_path / "j.db")
    yield journal
    await journal.close()


@pytest.fixture
async def other(journal: SqliteJournal, tmp_path: Path) -> AsyncIterator[SqliteJournal]:
    other = await SqliteJournal.open(tmp_path / "j.db")
    yield other
    await other.close()


async def write(journal: SqliteJournal, stream: StreamId, times: int) -> None:
    head = (await journal.claim(stream, ANN, TTL)).head
    for seq in range(head.seq + 1, head.seq + times + 1):
        await journal.append(stream, head.epoch, seq - 1, BatchId(f"b{seq}"), [Record(seq, "x.y", b"x" * 2000)])
    await journal.post(stream, letter(f"k{head.seq}"))
    await journal.release(stream, head.epoch)


def is_asleep(journal: SqliteJournal) -> bool:
    timer = journal._watch._timer
    return timer is not None and timer.when() > asyncio.get_running_loop().time() + 60


@pytest.mark.requirement("journal:listening-own-commits")
async def test_commits_of_this_journal_compare_nothing(journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(journal, monkeypatch)
    stop = journal.listen(ONE, lambda: None, mail=True)
    await write(journal, ONE, 3)
    await counted.settled()
    before = counted.comparisons
    looks = counted.looks
    for _ in range(3):
        await write(journal, TWO, 400)  # enough for the log to be copied into the file in between
        await counted.settled()
    assert counted.looks > looks + 12
    assert counted.comparisons == before
    stop()


@pytest.mark.requirement("journal:listener-hinted", "journal:listening-own-commits")
async def test_others_are_heard_between_and_beside_commits_of_this_journal(
    journal: SqliteJournal, other: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(journal, monkeypatch)
    hinted, mailed = asyncio.Event(), asyncio.Event()
    stops = [journal.listen(ONE, hinted.set), journal.listen(ONE, mailed.set, mail=True)]
    await other.post(ONE, letter("first"))
    await counted.settled()
    for number in range(40):
        hinted.clear()
        mailed.clear()
        own = asyncio.create_task(write(journal, TWO, number % 4))
        await asyncio.sleep(0)
        await asyncio.gather(other.post(ONE, letter(f"k{number}")), *([own] if number % 3 else []))
        await asyncio.wait_for(asyncio.gather(hinted.wait(), mailed.wait()), 5)
        await own
    for stop in stops:
        stop()


@pytest.mark.requirement("journal:listener-hinted")
async def test_mail_of_others_is_heard_though_an_own_append_brought_it_along(
    journal: SqliteJournal, other: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(journal, monkeypatch)
    mailed = asyncio.Event()
    stops = [journal.listen(ONE, lambda: None), journal.listen(ONE, mailed.set, mail=True)]
    head = (await journal.claim(ONE, ANN, TTL)).head
    await counted.settled()
    mailed.clear()
    monkeypatch.setattr(sqlite_watching, "_EVERY", 3600)  # from here on nobody looks
    await until(lambda: is_asleep(journal), "a look is still under way")
    await other.post(ONE, letter("k"))
    await journal.append(ONE, head.epoch, 0, BatchId("b"), [Record(1, "x.y", b"")])
    await asyncio.wait_for(mailed.wait(), 5)
    for stop in stops:
        stop()


@pytest.mark.requirement("journal:listener-hinted")
async def test_a_comparison_that_failed_is_made_up_for(
    journal: SqliteJournal, other: SqliteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Counted(journal, monkeypatch)
    hinted = asyncio.Event()
    stop = journal.listen(ONE, hinted.set)
    await counted.settled()
    counted.failures = 2
    await other.post(ONE, letter("k"))
    await asyncio.wait_for(hinted.wait(), 5)
    assert counted.failures == 0
    stop()


@pytest.mark.requirement("journal:listener-hinted")
@pytest.mark.parametrize("size", [10, 300_000])
async def test_a_letter_whose_sender_was_cancelled_is_told_of_and_again_when_it_comes_twice(
    journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(sqlite_watching, "_EVERY", 3600)  # nobody looks
    mailed = asyncio.Event()
    stop = journal.listen(ONE, mailed.set, mail=True)
    sending = asyncio.create_task(journal.post(ONE, letter("k", size)))
    await asyncio.sleep(0)  # handed in
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await asyncio.wait_for(mailed.wait(), 5)
    assert [mail.key for mail in await journal.mail(ONE, 0)] == ["k"]
    mailed.clear()
    assert (await journal.post(ONE, letter("k", size))).status == "duplicate"
    await asyncio.wait_for(mailed.wait(), 5)
    stop()


async def test_five_thousand_parked_streams_are_compared_in_one_row(journal: SqliteJournal) -> None:
    streams = [StreamId(f"local/s{number}") for number in range(5_000)]
    claims = await asyncio.gather(*(journal.claim(stream, ANN, TTL) for stream in streams))
    assert len(claims) == 5_000
    await journal.append(streams[0], 1, 0, BatchId("b"), [Record(1, "x.y", b"")], park=Park("idle"))
    await journal.post(streams[1], letter("k"))
    took = time.process_time()
    marks = await journal._database.read(fetch_marks, [*streams, StreamId("local/nowhere")])
    assert time.process_time() - took < 0.5
    assert len(marks) == 5_000
    assert marks[streams[0]] == (1, 0, 1, 1)
    assert marks[streams[1]] == (0, 1, 1, 0)
    assert set(list(marks.values())[2:]) == {(0, 0, 1, 0)}
