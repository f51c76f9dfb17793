"""A process that appends to a journal in SQLite and says what was acknowledged, for tests that kill or trace it.

journal_child.py serial PATH COUNT SYNCHRONOUS    one append after another
journal_child.py group PATH COUNT SYNCHRONOUS     all of them at once
journal_child.py contend PATH COUNT WORKER        against another process that does the same
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from holdfast.flow.clock import SystemClock
from holdfast.journal.port import Head, Record
from holdfast.journal.stores.sqlite import SqliteJournal
from holdfast.testing.conformance.journal_racing import contend
from holdfast.types import BatchId, StreamId, WorkerId

STREAM = StreamId("local/s1")
TTL = 3_600_000_000


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


async def serial(path: str, count: int, synchronous: Any) -> None:
    journal = await SqliteJournal.open(path, clock=SystemClock(), synchronous=synchronous)
    head = (await journal.claim(STREAM, WorkerId(f"w{os.getpid()}"), TTL, over=await epoch(journal))).head
    say("begin")
    for seq in range(head.seq, head.seq + count):
        await journal.append(STREAM, head.epoch, seq, BatchId(f"b{seq}"), [Record(seq + 1, "x.y", b"%d" % (seq + 1))])
        say(f"ack {seq + 1}")
    await journal.close()


async def group(path: str, count: int, synchronous: Any) -> None:
    journal = await SqliteJournal.open(path, synchronous=synchronous)
    streams = [StreamId(f"local/g{n}") for n in range(count)]
    await asyncio.gather(*(journal.claim(stream, WorkerId("w"), TTL) for stream in streams))
    say("begin")
    await asyncio.gather(*(journal.append(s, 1, 0, BatchId("b"), [Record(1, "x.y", b"1")]) for s in streams))
    say("end")
    await journal.close()


async def contend_for(path: str, count: int, worker: Any) -> None:
    journal = await SqliteJournal.open(path)
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    for body in await contend(journal, STREAM, WorkerId(worker), count):
        say(body.decode())
    await journal.close()


async def epoch(journal: SqliteJournal) -> int | None:
    head: Head | None = await journal.head(STREAM)
    return head.epoch if head else None


if __name__ == "__main__":
    what = {"serial": serial, "group": group, "contend": contend_for}[sys.argv[1]]
    asyncio.run(what(sys.argv[2], int(sys.argv[3]), sys.argv[4]))
