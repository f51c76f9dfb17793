"""The checks that race: two stores opened on the same data, thousands of turns, nothing lost and nothing double."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from holdfast.errors import Fenced, LeaseHeld
from holdfast.journal.port import Journal, Park, Record, State, Unread
from holdfast.testing.clock import FakeClock
from holdfast.testing.conformance.checking import ANN, STREAM, TTL, Check, Make, expect, is_head, letter, named, notes
from holdfast.types import BatchId, StreamId, WorkerId

__all__ = ("RACING", "contend", "prove_one_sequence")

_APPENDS = 10_000
_AT_ONCE = 50
_ROUNDS = 100
_STREAMS = 25


async def two_claimants_leave_one_sequence(make: Make) -> None:
    """An append that carries a lower epoch is refused: two workers that fight over a stream do no harm."""
    clock = FakeClock()
    stores = (await make(clock), await make(clock))
    acknowledged = await asyncio.gather(
        *(contend(store, STREAM, WorkerId(f"w{n}"), _APPENDS) for n, store in enumerate(stores))
    )
    await prove_one_sequence(stores[0], STREAM, [body for bodies in acknowledged for body in bodies])


async def contend(journal: Journal, stream: StreamId, worker: WorkerId, appends: int) -> list[bytes]:
    """Appends so many records to a stream that others fight for, and returns what was acknowledged, in order.

    It takes the stream from whoever has it, writes until it is fenced, and takes it again.
    """
    done: list[bytes] = []
    over: int | None = None
    while len(done) < appends:
        try:
            head = (await journal.claim(stream, worker, TTL, over=over)).head
        except LeaseHeld as held:
            over = held.epoch
            continue
        seq, fenced = head.seq, False
        # A few rounds at least, or two that are quick to claim would hardly ever write.
        while not fenced and len(done) < appends:
            count = min(_AT_ONCE, appends - len(done))
            bodies = [f"{head.epoch}:{worker}:{len(done) + n}".encode() for n in range(count)]
            calls = (
                journal.append(stream, head.epoch, seq + n, BatchId(body.decode()), [Record(seq + n + 1, "x.y", body)])
                for n, body in enumerate(bodies)
            )
            answers = await asyncio.gather(*calls, return_exceptions=True)
            fenced = _judge(answers)
            written = sum(not isinstance(answer, BaseException) for answer in answers)
            done += bodies[:written]
            seq += written
    return done


def _judge(answers: Sequence[object]) -> bool:
    fenced = False
    for answer in answers:
        if isinstance(answer, Fenced):
            fenced = True
        elif isinstance(answer, BaseException):
            raise answer
        else:
            expect(not fenced, "nothing is written under an epoch after it was fenced", answer)
    return fenced


async def prove_one_sequence(journal: Journal, stream: StreamId, acknowledged: list[bytes]) -> None:
    """Raises AssertionError unless the stream is one gapless sequence of exactly what was acknowledged."""
    records = await journal.read(stream, limit=len(acknowledged) + 1000)
    numbers = [record.seq for record in records]
    expect(numbers == list(range(1, len(records) + 1)), "the sequence has no gap and no double", len(numbers))
    bodies = [record.body for record in records]
    expect(len(set(bodies)) == len(bodies), "no append was written twice")
    lost = set(acknowledged) - set(bodies)
    expect(not lost, "every append that was acknowledged is there", sorted(lost)[:5])
    strange = set(bodies) - set(acknowledged)
    expect(not strange, "no append that was refused is there", sorted(strange)[:5])
    epochs = [int(body.split(b":")[0]) for body in bodies]
    expect(epochs == sorted(epochs), "no epoch goes back")
    expect(len(set(epochs)) > 1, "the owners did change")
    for worker in {body.split(b":")[1] for body in bodies}:
        own = [int(body.split(b":")[2]) for body in bodies if body.split(b":")[1] == worker]
        expect(own == list(range(len(own))), "each worker's appends lie in its own order", worker)


async def mail_is_never_stranded_by_a_park(make: Make) -> None:
    """If mail beyond `taken` lies unread, a park is answered `Unread`; mail that comes later makes the stream due."""
    clock = FakeClock()
    stores = (await make(clock), await make(clock))
    luck = random.Random(7)
    outcomes = {"unread": 0, "due": 0}
    for turn in range(_ROUNDS):
        streams = [named(f"race-{n}") for n in range(_STREAMS)]
        parked = await asyncio.gather(*(_park_and_post(stores, stream, turn, luck) for stream in streams))
        stranded = [stream for stream, answer in zip(streams, parked, strict=True) if not isinstance(answer, Unread)]
        due = await stores[turn % 2].due(limit=1000)
        for stream in stranded:
            expect(stream in due, "mail in a stream that was parked is found by the sweep", stream, turn)
        outcomes["due"] += len(stranded)
        outcomes["unread"] += _STREAMS - len(stranded)
        await asyncio.gather(*(_take(stores[0], stream, turn) for stream in streams))
    expect(all(outcomes.values()), "the race went both ways at least once", outcomes)


async def _park_and_post(stores: tuple[Journal, Journal], stream: StreamId, turn: int, luck: random.Random) -> object:
    claim = await stores[0].claim(stream, ANN, TTL)
    head = claim.head
    state: State = luck.choice(("idle", "waiting"))
    waits = (luck.randrange(3), luck.randrange(3))
    poster = luck.choice(stores)

    async def park() -> object:
        for _ in range(waits[0]):
            await asyncio.sleep(0)
        batch = BatchId(f"park {turn}")
        return await stores[0].append(stream, head.epoch, head.seq, batch, notes(head.seq + 1), park=Park(state))

    async def post() -> None:
        for _ in range(waits[1]):
            await asyncio.sleep(0)
        posted = await poster.post(stream, letter(f"k{turn}"))
        expect(posted.status == "accepted", "a post beside a park is accepted", posted)

    jobs = [park(), post()]
    order = luck.random() < 0.5
    answers = await asyncio.gather(*(jobs if order else reversed(jobs)))
    return answers[0 if order else 1]


async def _take(journal: Journal, stream: StreamId, turn: int) -> None:
    head = await journal.head(stream)
    if head is None or head.owner is None:
        head = (await journal.claim(stream, ANN, TTL)).head
    expect(head.inbox_seq == turn + 1, "every message of every turn is in the inbox", head)
    batch = BatchId(f"take {turn}")
    is_head(
        await journal.append(
            stream, head.epoch, head.seq, batch, notes(head.seq + 1), taken=head.inbox_seq, park=Park("idle")
        )
    )


async def closing_finishes_what_was_asked_for(make: Make) -> None:
    """Finishes what was asked for."""
    clock = FakeClock()
    journal = await make(clock)
    await journal.claim(STREAM, ANN, TTL)
    appends = [asyncio.create_task(_append(journal, n, BatchId(f"b{n}"))) for n in range(100)]
    await asyncio.sleep(0)
    await journal.close()
    await asyncio.gather(*appends)
    again = await make(clock)
    expect(await again.read(STREAM) == notes(1, 100), "whatever was asked for before closing is written")


async def _append(journal: Journal, seq: int, batch: BatchId) -> None:
    is_head(await journal.append(STREAM, 1, seq, batch, notes(seq + 1)))


RACING: tuple[Check, ...] = (
    two_claimants_leave_one_sequence,
    mail_is_never_stranded_by_a_park,
    closing_finishes_what_was_asked_for,
)
"""Every check of this module."""
