"""The outbox behind by thousands of runs: what it costs to catch up grows as their number does, and no faster."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
from tests.running import Wrapped, answer, opened, scene

from holdfast.engine.events import CODEC, RunFinished, RunStarted
from holdfast.errors import NotDelivered
from holdfast.journal.owning import Pen
from holdfast.journal.port import FeedItem, Journal, Park, Record
from holdfast.runtime.delivering import deliverer, outbox
from holdfast.runtime.delivering.port import Delivery
from holdfast.testing.clock import FakeClock
from holdfast.types import Payload, StreamId, WorkerId, stream_id

_FILES = {deliverer.__file__, outbox.__file__}


class Counting(Wrapped):
    """Counts the records that somebody reads."""

    records = 0

    async def read(self, stream: StreamId, **arguments: Any) -> list[Record]:
        found: list[Record] = await self.inner.read(stream, **arguments)
        Counting.records += len(found)
        return found

    async def feed(self, **arguments: Any) -> list[FeedItem]:
        found: list[FeedItem] = await self.inner.feed(**arguments)
        Counting.records += len(found)
        return found


@contextmanager
def counted() -> Generator[list[int]]:
    """Counts the instructions that the outbox executes."""
    count, before = [0], sys.gettrace()

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        if frame.f_code.co_filename not in _FILES:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count[0] += event == "opcode"
        return trace

    sys.settrace(trace)
    try:
        yield count
    finally:
        sys.settrace(before)


async def _finished(journal: Journal, runs: int, *, sessions: int, targets: int) -> None:
    """Writes runs that are over, as another process would have, whose results nobody has got yet."""
    for number in range(sessions):
        claim = await journal.claim(stream_id("local", f"s{number}"), WorkerId("other"), 1_000_000)
        pen = Pen(journal, claim, CODEC, FakeClock(), lambda _: None)
        for run in range(runs // sessions):
            (said, key), start = opened()  # pyright: ignore[reportGeneralTypeIssues]
            at = pen.write(said, cause=f"{key}{run}").seq
            pen.write(_wanting(start, at, f"t{(number + run) % targets}"))
            pen.write(answer("done"))
            pen.write(RunFinished("completed", steps=1))
        await pen.sync()
        assert await pen.park(Park("idle"))


def _wanting(start: Payload | tuple[Payload, str], at: int, target: str) -> RunStarted:
    assert isinstance(start, RunStarted)
    setup = type(start.setup)(start.setup.spec, start.setup.model, start.setup.limits, deliver=(target,))
    return RunStarted(at, setup)


async def _cost(runs: int, *, sessions: int, targets: int, fail: bool) -> tuple[int, int]:
    """Returns how many instructions and records it takes to deliver so many results."""
    taken: list[str] = []
    failing = fail

    async def target(delivery: Delivery) -> None:
        if failing:
            raise NotDelivered("later")
        taken.append(delivery.session)

    clock, named = FakeClock(), {f"t{number}": target for number in range(targets)}
    async with scene([], wrap=Counting, clock=clock, targets=named, seconds=60) as s:
        await _finished(s.runtime.journal, runs, sessions=sessions, targets=targets)
        Counting.records = 0
        with counted() as instructions:
            left = await s.runtime.flush_deliveries()
            assert len(left) == (runs if fail else 0)
            if fail:
                failing = False
                await clock.advance(60)
                assert await s.runtime.flush_deliveries() == []
    assert len(taken) == runs
    return instructions[0], Counting.records


@pytest.mark.requirement("runtime:delivery-backlog-linear")
@pytest.mark.parametrize(
    ("one_session", "targets", "fail"),
    [(False, 1, False), (True, 1, False), (False, 12, False), (False, 1, True)],
    ids=["many sessions", "one session", "many targets", "tried again"],
)
async def test_four_times_the_backlog_takes_four_times_the_work(one_session: bool, targets: int, fail: bool) -> None:
    few, many = 100, 400
    small = await _cost(few, sessions=1 if one_session else few, targets=targets, fail=fail)
    large = await _cost(many, sessions=1 if one_session else many, targets=targets, fail=fail)
    for before, after in zip(small, large, strict=True):
        assert after < 4.6 * before
