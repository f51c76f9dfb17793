"""The outbox while several are at it, and while time goes by: nothing is counted twice, overlooked or held up."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, Wrapped, answer, opened, scene, soon, until
from tests.surfaces.commands import Shell

from holdfast import Agent, Runtime
from holdfast.engine.events import CODEC, RunFinished, RunStarted
from holdfast.errors import DeliveryRefused, LeaseHeld, NotDelivered
from holdfast.journal.owning import Pen
from holdfast.journal.port import Claim, Head, Journal, Park, Record
from holdfast.runtime.delivering import outgoing
from holdfast.runtime.delivering.events import BOOKS, DeliveryFailed, DeliveryRevived, RunEnded, Summed, book_named
from holdfast.runtime.delivering.outbox import delivery_id
from holdfast.runtime.delivering.port import Delivery
from holdfast.testing.clock import FakeClock
from holdfast.types import Codec, EventId, StreamId, TenantId, WorkerId, stream_id

AGENT = Agent(MODEL)
BOOK = book_named(TenantId("local"), "outbox")


class Target:
    """Keeps the ids it has taken; raises what it is told to before it takes one."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.tries = 0
        self.taken: list[str] = []

    async def __call__(self, delivery: Delivery) -> None:
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)
        self.taken.append(delivery.id)


class Late(Wrapped):
    """What one reader of the outbox's book finds arrives late."""

    def __init__(self, inner: Journal) -> None:
        super().__init__(inner)
        self.late: asyncio.Task[Any] | None = None
        self.found, self.go = asyncio.Event(), asyncio.Event()

    async def read(self, stream: StreamId, **arguments: Any) -> list[Record]:
        found: list[Record] = await self.inner.read(stream, **arguments)
        if stream == BOOK and found and asyncio.current_task() is self.late:
            self.late = None
            self.found.set()
            await self.go.wait()
        return found


class Jumping(Wrapped):
    """Time goes by while the outbox is given up."""

    clock = FakeClock()
    by = 0

    def append(self, stream: StreamId, *rest: Any, **arguments: Any) -> Any:
        if stream == BOOK and arguments.get("park") is not None:
            Jumping.clock._now += Jumping.by
        return self.inner.append(stream, *rest, **arguments)


class Counting(Wrapped):
    """Counts who claims the outbox, and what is read of it."""

    claims = records = 0

    async def claim(self, stream: StreamId, *rest: Any, **arguments: Any) -> Claim:
        Counting.claims += stream == BOOK
        return await self.inner.claim(stream, *rest, **arguments)

    async def read(self, stream: StreamId, **arguments: Any) -> list[Record]:
        found: list[Record] = await self.inner.read(stream, **arguments)
        Counting.records += len(found) if stream == BOOK else 0
        return found


class Summing(Wrapped):
    """Another process sums the outbox up, once it may, and leaves out what is dead."""

    due = False

    async def head(self, stream: StreamId) -> Head | None:
        if stream == BOOK and Summing.due:
            with contextlib.suppress(LeaseHeld):
                pen = await _held(self.inner, BOOK, BOOKS)
                Summing.due = False
                pen.write(Summed(1))
                assert await pen.park(Park("idle"))
        return await self.inner.head(stream)


async def _held(journal: Journal, stream: StreamId, codec: Codec) -> Pen:
    """Returns the pen of another process."""
    return Pen(journal, await journal.claim(stream, WorkerId("other"), 60_000_000), codec, FakeClock(), lambda _: None)


async def _over(journal: Journal, session: str) -> None:
    """Writes a run that is over, as another process would have that died before its outbox looked."""
    pen = await _held(journal, stream_id("local", session), CODEC)
    (said, key), start = opened()  # pyright: ignore[reportGeneralTypeIssues]
    at = pen.write(said, cause=key).seq
    assert isinstance(start, RunStarted)
    setup = type(start.setup)(start.setup.spec, start.setup.model, start.setup.limits, deliver=("t",))
    for each in (RunStarted(at, setup), answer("done"), RunFinished("completed", steps=1)):
        pen.write(each)
    await pen.sync()
    assert await pen.park(Park("idle"))


@pytest.mark.requirement("runtime:delivery-fenced")
@pytest.mark.parametrize("meanwhile", ["looks", "forgets"])
async def test_who_looks_while_another_one_does_counts_each_attempt_once(tmp_path: Path, meanwhile: str) -> None:
    url, clock, target = f"sqlite:///{tmp_path}/s.db", FakeClock(), Target(*[NotDelivered("later")] * 9)
    async with (
        Runtime.open(url, clock=clock, targets={"t": target}) as maker,
        scene(["done"], url=url, clock=clock, wrap=Late) as s,
    ):
        looker, late = s.runtime, s.runtime.journal
        assert isinstance(late, Late)
        await _over(maker.journal, "s")
        assert [each.attempts for each in await maker.flush_deliveries()] == [1]
        assert [each.attempts for each in await looker.undelivered()] == [1]
        await clock.advance(1.1)
        assert [each.attempts for each in await maker.flush_deliveries()] == [2]
        late.late = asyncio.create_task(looker.undelivered())
        first = late.late
        await soon(late.found.wait())
        if meanwhile == "looks":
            assert [each.attempts for each in await looker.undelivered()] == [2]
        else:
            looker._outgoing._deliverer.forget()
        late.go.set()
        assert [each.attempts for each in await soon(first)] == [2]
        assert [each.attempts for each in await looker.undelivered()] == [target.tries] == [2]


@pytest.mark.requirement("runtime:delivery-retries")
async def test_a_delivery_whose_time_comes_while_the_outbox_is_given_up_is_tried(tmp_path: Path) -> None:
    url, target = f"sqlite:///{tmp_path}/s.db", Target(NotDelivered("later"))
    Jumping.clock, Jumping.by = clock, _ = FakeClock(), 2_000_000
    async with Runtime.open(url, clock=clock) as maker:
        await _over(maker.journal, "s")
    async with scene([], url=url, clock=clock, wrap=Jumping, targets={"t": target}) as s:
        deliverer = s.runtime._outgoing._deliverer  # which looks once, for it was just opened
        await until(lambda: target.tries == 1 and deliverer._task is None)
        Jumping.by = 0
        assert deliverer.parked() == Park("waiting", clock.now())
        async with s.other() as stranger:  # who has no such target has nothing to look for
            assert [each.target for each in await stranger.undelivered()] == ["t"]
            assert stranger._outgoing._deliverer.next_in() is None
        await clock.advance(0.1)
        await until(lambda: len(target.taken) == 1)
        assert await s.runtime.flush_deliveries() == []


@pytest.mark.requirement("runtime:delivery-retries", "runtime:delivery-revived")
async def test_one_slow_delivery_holds_up_no_new_one_no_retry_and_no_revival() -> None:
    clock, fast, flaky, shut = FakeClock(), Target(), Target(NotDelivered("later")), Target(DeliveryRefused("closed"))
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow(_delivery: Delivery) -> None:
        begun.set()
        await go.wait()

    targets = {"slow": slow, "fast": fast, "flaky": flaky, "shut": shut}
    async with scene(["done"], clock=clock, targets=targets) as s:
        for name in targets:
            await soon((await s.runtime.start(AGENT, "go", session=name, deliver=[name])).result())
            await soon(begun.wait())
        await until(lambda: (len(fast.taken), flaky.tries, shut.tries) == (1, 1, 1))
        await until(lambda: len(s.runtime._outgoing._deliverer.outbox.pending) == 3)
        await clock.advance(1.1)
        await until(lambda: len(flaky.taken) == 1)
        reviving = asyncio.create_task(s.runtime.revive_deliveries())
        await until(lambda: len(shut.taken) == 1)
        go.set()
        assert await soon(reviving) == await s.runtime.flush_deliveries() == []


@pytest.mark.requirement("runtime:delivery-revived")
async def test_more_dead_ones_than_are_kept_are_all_revived_and_none_counts_as_arrived() -> None:
    target, dead = Target(), 1_010
    async with scene([], targets={"t": target}) as s:
        pen = await _held(s.runtime.journal, BOOK, BOOKS)
        for stream in (stream_id("local", f"s{number}") for number in range(dead)):
            pen.write(RunEnded(stream, 2, EventId("began"), 4, ("t",)))
            pen.write(DeliveryFailed(delivery_id(stream, EventId("began"), "t"), "closed"))
        await pen.sync()
        assert await pen.park(Park("idle"))
        left = await s.runtime.revive_deliveries()
        kinds: list[str] = []
        while records := await s.runtime.journal.read(BOOK, after=len(kinds)):
            kinds += [each.type for each in records]
    assert kinds.count(DeliveryRevived.type) == dead
    assert (target.taken, len(left)) == ([], dead)
    assert all("was deleted" in each.error for each in left)


@pytest.mark.requirement("runtime:delivery-revived")
async def test_what_the_outbox_does_not_tell_of_any_more_has_not_arrived_for_that() -> None:
    tries: list[str] = []

    async def shut(delivery: Delivery) -> None:
        tries.append(delivery.id)
        Summing.due = len(tries) == 2
        raise DeliveryRefused("closed")

    async with scene(["done"], wrap=Summing, targets={"t": shut}) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s", deliver=["t"])).result())
        dead = await s.runtime.flush_deliveries()
        assert await s.runtime.revive_deliveries() == dead
        assert (await s.runtime.undelivered(), len(tries)) == ([], 2)


@pytest.mark.requirement("runtime:delivery-revived")
async def test_a_revival_waits_so_long_for_another_process_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "_HELD", 0.5)
    target = Target(DeliveryRefused("closed"))
    async with scene(["done"], wrap=Counting, targets={"t": target}) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s", deliver=["t"])).result())
        dead = await s.runtime.flush_deliveries()
        pen = await _held(s.runtime.journal, BOOK, BOOKS)
        Counting.claims = Counting.records = 0
        with pytest.raises(LeaseHeld, match="another process has been delivering"):
            await soon(s.runtime.revive_deliveries())
        assert (Counting.claims < 6, Counting.records) == (True, 0)
        assert await pen.park(Park("idle"))
        assert await s.runtime.flush_deliveries() == dead
        assert await s.runtime.revive_deliveries() == []


@pytest.mark.requirement("runtime:delivery-survives", "cli:deliveries")
async def test_a_run_that_ended_where_nobody_accounted_for_it_is_told_of_and_nothing_is_written(tmp_path: Path) -> None:
    sh, clock, target = Shell(tmp_path), FakeClock(), Target(NotDelivered("later"))
    (tmp_path / "data" / "holdfast").mkdir(parents=True)
    async with scene([], url=sh.store, clock=clock, seconds=40) as s:
        await _over(s.runtime.journal, "s")
        (left,) = await s.runtime.undelivered()
        shown = (await asyncio.to_thread(sh.run, "deliveries", "list")).stdout
        assert f"{left.id}  not tried yet  s event 2 to t" in shown
        assert await s.runtime.journal.head(BOOK) is None
        async with Runtime.open(sh.store, clock=clock, targets={"t": target}) as other:
            (tried,) = await other.flush_deliveries()
            assert (tried.id, tried.attempts) == (left.id, 1)
            shown = (await asyncio.to_thread(sh.run, "deliveries", "list")).stdout
            assert f"{left.id}  not before " in shown  # whether anybody is there then is not known
            await clock.advance(1.1)
            assert await other.flush_deliveries() == await s.runtime.undelivered() == []
    assert target.taken == [left.id]
