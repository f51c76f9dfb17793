"""Many items at once: their order, their limits, their failures, and how it all ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.running import soon, until

from holdfast.errors import UsageError
from holdfast.flow.fanning import Outcome, fan_out
from holdfast.testing.clock import FakeClock


@dataclass(frozen=True)
class Item:
    """Something that takes a while, and then perhaps fails."""

    seconds: int = 0
    key: str = "k"
    fails: bool = False


ITEMS = st.lists(st.builds(Item, st.integers(0, 4), st.sampled_from("abc"), st.booleans()), max_size=25)
LIMITS = st.integers(0, 4)


@dataclass
class Watch:
    """Works on items by a fake clock, and writes down how."""

    items: list[Item]
    clock: FakeClock = field(default_factory=FakeClock)
    began: list[int] = field(default_factory=list[int])
    running: list[int] = field(default_factory=list[int])
    most: int = 0
    most_per_key: int = 0

    async def work(self, index: int) -> int:
        self.began.append(index)
        self.running.append(index)
        self.most = max(self.most, len(self.running))
        self.most_per_key = max(self.most_per_key, *self.keys().values())
        try:
            await self.clock.sleep(self.items[index].seconds)
        finally:
            self.running.remove(index)
        if self.items[index].fails:
            raise ValueError(index)
        return index * 10

    def keys(self) -> Counter[str]:
        return Counter(self.key(index) for index in self.running)

    def key(self, index: int) -> str:
        return self.items[index].key

    def may_start(self, at_once: int, per_key: int) -> list[int]:
        """Returns which of those that have not started could run now."""
        if at_once and len(self.running) >= at_once:
            return []
        keys = self.keys()
        waiting = [index for index in range(len(self.items)) if index not in self.began]
        return [index for index in waiting if not per_key or keys[self.key(index)] < per_key]


@pytest.mark.requirement("flow:fan-out-keeps-order", "flow:fan-out-isolates-failure", "flow:fan-out-per-key-limit")
@settings(deadline=None)
@given(ITEMS, LIMITS, LIMITS)
async def test_each_item_gets_its_outcome_in_order_within_the_limits_and_no_room_is_left_unused(
    items: list[Item], at_once: int, per_key: int
) -> None:
    watch = Watch(items)
    task = asyncio.create_task(fan_out(watch.work, range(len(items)), at_once=at_once, key=watch.key, per_key=per_key))
    while not task.done():
        await watch.clock.advance(0.5)
        assert not watch.may_start(at_once, per_key)
    outcomes = await task
    assert [each.index for each in outcomes] == list(range(len(items)))
    assert sorted(watch.began) == list(range(len(items)))
    for outcome, item in zip(outcomes, items, strict=True):
        assert outcome.started
        if item.fails:
            assert isinstance(outcome.error, ValueError)
            assert outcome.value is None
        else:
            assert (outcome.value, outcome.error) == (outcome.index * 10, None)
    assert watch.most <= (at_once or len(items))
    assert watch.most_per_key <= (per_key or len(items))


@pytest.mark.requirement("flow:fan-out-ends-with-its-caller")
@settings(deadline=None)
@given(ITEMS, LIMITS, LIMITS, st.integers(0, 12))
async def test_a_cancelled_caller_learns_of_each_item_whether_it_ended_and_whether_it_started(
    items: list[Item], at_once: int, per_key: int, halves: int
) -> None:
    watch, outcomes = Watch(items), list[Outcome[int]]()
    task = asyncio.create_task(
        fan_out(watch.work, range(len(items)), at_once=at_once, key=watch.key, per_key=per_key, into=outcomes)
    )
    await watch.clock.advance(halves / 2)
    ran = set(watch.running)
    over = task.done()
    task.cancel("enough")
    if over:
        assert outcomes == await task
        return
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await soon(task)
    assert not watch.running
    assert [each.index for each in outcomes] == list(range(len(items)))
    assert [each.index for each in outcomes if each.started] == sorted(watch.began)
    for outcome in outcomes:
        cancelled = isinstance(outcome.error, asyncio.CancelledError)
        assert cancelled == (outcome.index in ran or not outcome.started)


async def test_without_limits_everything_runs_at_once_and_nothing_is_something_to_fan_out() -> None:
    together = asyncio.Barrier(200)

    async def meet(_: int) -> None:
        await together.wait()

    assert len(await soon(fan_out(meet, range(200)))) == 200
    assert await fan_out(meet, []) == []


@pytest.mark.requirement("flow:fan-out-per-key-limit")
async def test_a_key_at_its_limit_holds_up_nobody_else() -> None:
    stuck, done = asyncio.Event(), list[str]()

    async def work(name: str) -> None:
        if name == "slow":
            await stuck.wait()
        done.append(name)

    names = ["slow"] * 1000 + ["quick"] * 5
    task = asyncio.create_task(fan_out(work, names, at_once=2, key=str, per_key=1))
    await until(lambda: len(done) == 5)
    assert done == ["quick"] * 5
    stuck.set()
    await soon(task)
    assert len(done) == 1005


@pytest.mark.requirement("flow:fan-out-isolates-failure")
async def test_whatever_way_an_item_fails_is_its_own_affair() -> None:
    def at_the_call() -> Awaitable[str]:
        raise OSError("at the call")

    async def later() -> str:
        await asyncio.sleep(0)
        raise OSError("later")

    async def by_cancellation() -> str:
        gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        gone.cancel()
        return await gone

    async def well() -> str:
        await asyncio.sleep(0)
        return "well"

    calls: list[Callable[[], Awaitable[str]]] = [at_the_call, later, by_cancellation, well]
    failed = await soon(fan_out(lambda call: call(), calls, at_once=1))
    assert [type(each.error) for each in failed] == [OSError, OSError, asyncio.CancelledError, type(None)]
    assert failed[3].result() == "well"
    with pytest.raises(OSError, match="at the call"):
        failed[0].result()
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


@pytest.mark.requirement("flow:fan-out-ends-with-its-caller")
async def test_clean_up_is_awaited_however_often_the_caller_is_cancelled() -> None:
    inside, clean, cleaned = asyncio.Event(), asyncio.Event(), list[int]()

    async def work(number: int) -> None:
        inside.set()
        try:
            await asyncio.Event().wait()
        finally:
            await clean.wait()
            cleaned.append(number)

    task = asyncio.create_task(fan_out(work, range(9), at_once=3))
    await soon(inside.wait())
    for _ in range(3):
        task.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
    assert not task.done()
    clean.set()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    assert cleaned == [0, 1, 2]


@pytest.mark.requirement("flow:fan-out-ends-with-its-caller")
async def test_a_result_that_comes_in_spite_of_the_cancellation_is_kept() -> None:
    inside, outcomes = asyncio.Event(), list[Outcome[str]]()

    async def stubborn(_: int) -> str:
        inside.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "anyway"
        raise AssertionError

    task = asyncio.create_task(fan_out(stubborn, range(2), at_once=1, into=outcomes))
    await soon(inside.wait())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    assert (outcomes[0].value, outcomes[0].error, outcomes[0].started) == ("anyway", None, True)
    assert (type(outcomes[1].error), outcomes[1].started) == (asyncio.CancelledError, False)


class Panic(BaseException):
    """No error of the work, and nothing to go on after."""


async def test_what_is_no_exception_ends_it_all_and_is_raised_again() -> None:
    ended: list[int] = []

    async def work(number: int) -> None:
        if number == 3:
            raise Panic
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    outcomes: list[Outcome[None]] = []
    with pytest.raises(Panic):
        await soon(fan_out(work, range(100), at_once=4, into=outcomes))
    assert ended == [0, 1, 2]
    assert [each.started for each in outcomes] == [True] * 4 + [False] * 96


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_the_end_of_the_program_goes_through(kind: type[BaseException]) -> None:
    ended: list[int] = []

    async def work(number: int) -> None:
        if number == 2:
            raise kind
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    async def program() -> None:
        await fan_out(work, range(10), at_once=3)

    with pytest.raises(kind):
        asyncio.run(program())
    assert sorted(ended) == [0, 1]


@pytest.mark.requirement("flow:fan-out-bounded-tasks")
async def test_a_hundred_thousand_items_make_no_more_tasks_than_may_run() -> None:
    others, most = len(asyncio.all_tasks()) + 1, 0

    async def work(number: int) -> int:
        nonlocal most
        if not number % 500:
            most = max(most, len(asyncio.all_tasks()) - others)
        return number

    outcomes = await soon(fan_out(work, range(100_000), at_once=8, key=lambda n: n % 1000, per_key=1), 60)
    assert [each.value for each in outcomes] == list(range(100_000))
    assert 1 < most <= 8


@pytest.mark.parametrize(("at_once", "per_key"), [(-1, 0), (0, -1), (0, 2)])
async def test_limits_that_mean_nothing_are_refused_before_anything_starts(at_once: int, per_key: int) -> None:
    async def never(_: int) -> None:
        raise AssertionError

    with pytest.raises(UsageError, match="give"):
        await fan_out(never, [1], at_once=at_once, per_key=per_key)
    with pytest.raises(ZeroDivisionError):
        await fan_out(never, [1, 0], key=lambda n: 1 / n)
