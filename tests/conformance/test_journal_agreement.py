"""The stores are asked the same things in the same order, at random, and must give the same answers."""

from __future__ import annotations

import random
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import HoldfastError
from holdfast.flow.clock import Clock
from holdfast.journal.port import Head, Journal, Letter, Park, Record
from holdfast.journal.stores.memory import MemoryJournal
from holdfast.journal.stores.sqlite import SqliteJournal
from holdfast.testing.clock import FakeClock
from holdfast.types import BatchId, StreamId, WorkerId

STREAMS = [StreamId(name) for name in ("a/1", "a/2", "a/3", "b/1", "b/2")]
KINDS = ("run.x", "run.y", "tool.z")


async def answer(call: Awaitable[object]) -> object:
    try:
        return await call
    except HoldfastError as error:
        return type(error), str(error)


def some_call(
    luck: random.Random, heads: dict[StreamId, Head], clock: Clock
) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """Returns something to ask: mostly what an honest worker asks, sometimes what it should not."""
    stream = luck.choice(STREAMS)
    head = heads.get(stream, Head(stream=stream))
    near = luck.choice((0, 0, 0, 0, 1, -1))
    match luck.randrange(16):
        case 0 | 1:
            over = luck.choice((None, head.epoch, head.epoch + 1))
            return "claim", (stream, WorkerId(luck.choice("vw")), luck.choice((1, 5_000_000))), {"over": over}
        case 2 | 3 | 4:
            seq = head.seq + near
            records = [Record(seq + n + 1, luck.choice(KINDS), luck.randbytes(20)) for n in range(luck.randrange(4))]
            park = luck.choice((None, None, Park("idle"), Park("waiting", clock.now() + luck.randrange(9_000_000))))
            taken = luck.choice((None, head.inbox_seq, head.inbox_taken))
            batch = BatchId(luck.choice((luck.randbytes(4).hex(), head.last_batch or "b")))
            return (
                "append",
                (stream, head.epoch + luck.choice((0, 0, 0, -1)), seq, batch, records),
                {"taken": taken, "park": park},
            )
        case 5 | 6:
            letter = Letter(key=f"k{luck.randrange(100)}", kind="prompt", body=luck.randbytes(3))
            return "post", (stream, letter), {"if_idle": luck.random() < 0.3}
        case 7:
            return "renew", ([(s, h.epoch) for s, h in heads.items()], 5_000_000), {}
        case 8:
            return "release", (stream, head.epoch + near), {}
        case 9 | 10:
            child = StreamId(f"{luck.choice('aab')}/f{luck.randrange(1000)}")
            at = luck.randrange(head.seq + 2)
            return "fork", (stream, at, child, BatchId(child), [Record(at + 1, "fork.x", child.encode())]), {}
        case 11 | 12 | 13 | 14:
            return some_erasure(luck, stream, head, list(heads))
        case _:
            return "advance", (luck.choice((0.1, 3.0)),), {}


def some_erasure(
    luck: random.Random, stream: StreamId, head: Head, heads: list[StreamId]
) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """Returns something to take out."""
    match luck.randrange(4):
        case 0:
            return "delete", (stream, head.epoch + luck.choice((0, 0, -1))), {}
        case 1 | 2:
            record = Record(luck.randrange(head.seq + 1), luck.choice(KINDS), luck.randbytes(9))
            return "scrub", (stream, head.epoch, [record]), {}
        case _:
            return "drop_taken", (heads,), {}


async def state(journal: Journal) -> list[object]:
    """Returns everything that can be seen."""
    heads = [*await journal.heads("a", limit=1000), *await journal.heads("b", limit=1000)]
    return [
        heads,
        [await journal.read(head.stream, limit=10_000) for head in heads],
        [await journal.mail(head.stream, 0) for head in heads],
        [(item.stream, item.record) for item in await journal.feed(limit=100_000)],
        [(item.stream, item.record) for item in await journal.feed(types=KINDS[:2], tenant="a", limit=50)],
        set(await journal.due(1000)),
    ]


@pytest.mark.requirement("journal:stores-agree")
@pytest.mark.parametrize("seed", range(6))
async def test_memory_and_sqlite_give_the_same_answers(tmp_path: Path, seed: int) -> None:
    luck = random.Random(seed)
    clock = FakeClock()
    stores: tuple[Journal, Journal] = (MemoryJournal(clock), await SqliteJournal.open(tmp_path / "j.db", clock=clock))
    said: set[str] = set()
    for turn in range(400):
        heads = {head.stream: head for tenant in "ab" for head in await stores[0].heads(tenant, limit=1000)}
        name, arguments, options = some_call(luck, heads, clock)
        STREAMS_SO_FAR = [*heads]
        if name == "advance":
            await clock.advance(*arguments)
            continue
        answers = [await answer(getattr(store, name)(*arguments, **options)) for store in stores]
        assert answers[0] == answers[1], (turn, name, arguments, options)
        said.add(f"{name} {type(answers[0]).__name__}")
        if turn % 40 == 39:
            assert await state(stores[0]) == await state(stores[1]), (turn, STREAMS_SO_FAR)
    assert {"delete int", "scrub tuple"} <= said
    assert {"append Head", "append tuple", "post Posted", "fork Head", "fork tuple", "claim Claim"} <= said
    await stores[1].close()
