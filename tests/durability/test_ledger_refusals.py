"""A ledger whose file is locked or full, and one that shares its file with the journal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path

import pytest
from tests.durability.test_sqlite_refusals import held

from holdfast.errors import Fenced, StorageFull, StorageLocked
from holdfast.journal.port import Head, Record
from holdfast.journal.stores.sqlite import SqliteJournal
from holdfast.journal.stores.sqlite_buffer import HeadBuffer
from holdfast.journal.stores.sqlite_tables import JOURNAL
from holdfast.ledger.amounts import Amount, Cap
from holdfast.ledger.port import Denied, Grant
from holdfast.ledger.stores.sqlite import LEDGER, SqliteLedger
from holdfast.storage.sqlite import Database
from holdfast.storage.stores.sqlite import BLOBS
from holdfast.testing.clock import FakeClock
from holdfast.types import BatchId, StreamId, WorkerId

RUN = ("local", "ann", "s1", "r1")
STREAM = StreamId("local/s1")


@pytest.mark.requirement("ledger:storage-refusals")
async def test_a_locked_file_grants_nothing_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    database = await Database.open(str(path), (LEDGER,), patience=0.2)
    ledger = SqliteLedger(database)
    await ledger.set_caps(("local",), [Cap(tokens=10)])
    with held(path, "begin immediate"):
        calls = (ledger.grant(RUN, Amount(1), f"k{n}") for n in range(8))
        answers = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
        assert {type(answer) for answer in answers} == {StorageLocked}
        assert (await ledger.balance(("local",))).open == Amount(), "reading waits for nobody"
    assert isinstance(await ledger.grant(RUN, Amount(10), "k0"), Grant), "nothing was granted"
    await database.close()


@pytest.mark.requirement("ledger:storage-refusals")
async def test_a_full_disk_changes_nothing_and_with_space_it_goes_on(tmp_path: Path) -> None:
    database = await Database.open(str(tmp_path / "l.db"), (LEDGER,))
    ledger = SqliteLedger(database)
    await ledger.set_caps(("local",), [Cap(tokens=10**6)])
    await database.write(lambda c: c.execute("pragma max_page_count = 60").fetchone())
    granted = 0
    with pytest.raises(StorageFull):
        while granted < 5000:
            answer = await ledger.grant((*RUN, "x" * 100), Amount(3), f"{'k' * 200}{granted}")
            assert isinstance(answer, Grant)
            granted += 1
    assert granted > 50
    balance = await ledger.balance(("local",))
    assert balance.open == Amount(3 * granted), "what was refused counts nowhere"
    assert len(await ledger.open_grants(limit=5000)) == granted
    await database.write(lambda c: c.execute("pragma max_page_count = 100000").fetchone())
    assert isinstance(await ledger.grant((*RUN, "x" * 100), Amount(3), f"{'k' * 200}{granted}"), Grant)
    assert (await ledger.balance(("local",))).open == Amount(3 * granted + 3)
    await database.close()


@pytest.mark.requirement("ledger:shares-the-journals-file")
async def test_a_journal_that_stands_gets_a_ledger_and_both_share_its_commits(tmp_path: Path) -> None:
    path, clock = str(tmp_path / "j.db"), FakeClock()
    journal = await SqliteJournal.open(path, clock=clock)
    await journal.claim(STREAM, WorkerId("w"), 10**7)
    await journal.close()
    buffer = HeadBuffer()
    database = await Database.open(path, (BLOBS, JOURNAL, LEDGER), buffer=buffer)
    journal, ledger = SqliteJournal(database, buffer, clock), SqliteLedger(database, clock)
    await ledger.set_caps(("local",), [Cap(tokens=50)])
    appends = [journal.append(STREAM, 1, n, BatchId(f"b{n}"), [Record(n + 1, "x.y", b"1")]) for n in range(60)]
    grants = [ledger.grant(RUN, Amount(1), f"k{n}") for n in range(60)]
    refused = journal.append(STREAM, 0, 60, BatchId("late"), [Record(61, "x.y", b"1")])
    calls: list[Awaitable[object]] = [*appends, *grants, refused]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Head] * 60 + [Grant] * 50 + [Denied] * 10 + [Fenced]
    assert [record.seq for record in await journal.read(STREAM)] == list(range(1, 61))
    assert (await ledger.balance(RUN)).open == Amount(50)
    await journal.close()
