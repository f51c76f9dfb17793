"""Ten thousand of these, a hundred thousand of those: what must not grow with the size of the store."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.journal.port import Head, Letter, Park, Record
from holdfast.journal.stores.memory import MemoryJournal
from holdfast.journal.stores.sqlite import SqliteJournal
from holdfast.storage.sqlite import Connection
from holdfast.testing.clock import FakeClock
from holdfast.types import BatchId, StreamId, WorkerId

ANN = WorkerId("ann")
TTL = 10_000_000


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[SqliteJournal]:
    journal = await SqliteJournal.open(tmp_path / "j.db", clock=FakeClock())
    yield journal
    await journal.close()


def pages_read(connection: Connection, query: str) -> str:
    return " ".join(row[3] for row in connection.execute(f"explain query plan {query}").fetchall())


@pytest.mark.requirement("journal:sweep-finds-work")
async def test_the_sweep_looks_at_nothing_but_what_is_due(journal: SqliteJournal) -> None:
    def add_idle(_: Connection) -> None:
        for n in range(100_000):
            journal._buffer.put(Head(stream=StreamId(f"local/idle-{n}"), seq=9), 0)

    await journal._database.write(add_idle)
    await journal.post(StreamId("local/due"), Letter(key="k", kind="p", body=b""))
    took = time.perf_counter()
    assert await journal.due() == ["local/due"]
    assert time.perf_counter() - took < 0.1
    query = "select stream from head where due_at <= 1 order by due_at, stream limit 1"
    assert await journal._database.read(pages_read, query) == "SEARCH head USING COVERING INDEX head_due (due_at<?)"


@pytest.mark.requirement("journal:sweep-finds-work")
async def test_the_sweep_in_memory_looks_at_nothing_but_what_may_be_due() -> None:
    journal = MemoryJournal(FakeClock())
    for n in range(5_000):
        stream = StreamId(f"local/idle-{n}")
        await journal.post(stream, Letter(key="k", kind="p", body=b""))
        await journal.claim(stream, ANN, TTL)
        await journal.append(stream, 1, 0, BatchId("b"), [Record(1, "x.y", b"")], taken=1, park=Park("idle"))
    await journal.post(StreamId("local/due"), Letter(key="k", kind="p", body=b""))
    assert list(journal._restless) == ["local/due"]


@pytest.mark.requirement("journal:fork-constant-cost")
async def test_a_fork_costs_the_same_wherever_it_is_made(journal: SqliteJournal) -> None:
    stream = StreamId("local/long")
    await journal.claim(stream, ANN, TTL)
    await journal.append(stream, 1, 0, BatchId("b"), [Record(n, "x.y", bytes(500)) for n in range(1, 20_001)])
    changes: list[int] = []
    for at in (1, 10_000, 20_000):
        before = await journal._database.write(lambda c: c.total_changes)
        await journal.fork(stream, at, StreamId(f"local/f{at}"), BatchId(f"f{at}"), [Record(at + 1, "x.y", b"own")])
        changes.append(await journal._database.write(lambda c: c.total_changes) - before)
    assert changes == [2, 2, 2]


async def test_the_newest_record_cannot_be_deleted(journal: SqliteJournal) -> None:
    stream = StreamId("local/s")
    await journal.claim(stream, ANN, TTL)
    await journal.append(stream, 1, 0, BatchId("b"), [Record(n, "x.y", b"") for n in (1, 2)])
    with pytest.raises(Exception, match="newest record stays"):
        await journal._database.write(lambda c: c.execute("delete from record where seq = 2").rowcount)
    await journal._database.write(lambda c: c.execute("delete from record where seq = 1").rowcount)


@pytest.mark.requirement("journal:large-writes-outside-the-loop")
@pytest.mark.parametrize("how", ["append", "post"])
@pytest.mark.parametrize(("size", "here"), [(10, True), (256 * 1024, True), (256 * 1024 + 1, False)])
async def test_only_what_is_small_is_written_in_the_event_loops_thread(
    journal: SqliteJournal, how: str, size: int, here: bool
) -> None:
    threads: list[int] = []

    def ran(statement: str) -> None:
        if statement.startswith("begin"):  # the statements of a turn run in one place; its commit is the thread's
            threads.append(threading.get_ident())

    stream, body = StreamId("local/s"), b"x" * size
    epoch = (await journal.claim(stream, ANN, TTL)).head.epoch
    await journal._database.write(lambda connection: connection.set_trace_callback(ran))
    if how == "append":
        halves = [Record(1, "x.y", body[: size // 2]), Record(2, "x.y", body[size // 2 :])]
        await journal.append(stream, epoch, 0, BatchId("b"), halves)
    else:
        await journal.post(stream, Letter(key="k", kind="prompt", body=body))
    assert [thread == threading.get_ident() for thread in threads] == [here]


@pytest.mark.requirement("journal:post-duplicate")
async def test_a_key_is_known_wherever_in_a_long_stream_its_message_lies(journal: SqliteJournal) -> None:
    stream, other = StreamId("local/s"), StreamId("local/t")
    await journal.claim(stream, ANN, TTL)
    for n in range(1, 31):
        await journal.post(stream, Letter(key=f"k{n}", kind="p", body=b"x"))
        await journal.post(other, Letter(key=f"other{n}", kind="p", body=b"x"))
        await journal.append(stream, 1, n - 1, BatchId(f"b{n}"), [Record(n, "x.y", b"")], taken=n)
    for n in range(1, 31):
        again = await journal.post(stream, Letter(key=f"k{n}", kind="p", body=b"x"))
        assert (again.status, again.n) == ("duplicate", n)
    for name, key in ((stream, "other1"), (other, "k1")):
        assert (await journal.post(name, Letter(key=key, kind="p", body=b"x"))).status == "accepted"


async def test_what_is_done_to_the_mail_of_a_stream_looks_at_no_other_streams(journal: SqliteJournal) -> None:
    done: list[str] = []
    stream = StreamId("local/s")
    await journal.claim(stream, ANN, TTL)
    await journal._database.write(lambda connection: connection.set_trace_callback(done.append))
    for key in ("a", "b", "a"):
        await journal.post(stream, Letter(key=key, kind="p", body=b"x"))
    await journal.append(stream, 1, 0, BatchId("b"), [Record(1, "x.y", b"")], taken=2)
    assert await journal.drop_taken([stream]) == 2
    await journal.delete(stream, 1)
    await journal._database.write(lambda connection: connection.set_trace_callback(None))
    statements = [each for each in done if each.startswith(("select", "update", "delete")) and "inbox" in each]
    assert {each.split()[0] for each in statements} == {"select", "update", "delete"}
    for each in statements:
        plan = await journal._database.read(pages_read, each)
        assert "SCAN" not in plan.replace("SCAN wanted", ""), (each, plan)
