"""What the fold keeps of calls that calls make: which have no result yet, and below which call of the model."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from tests.running import answer, done, opened, soon, told

from holdfast import tool
from holdfast.engine.events import Nested, ToolFinished, ToolStarted, ToolWaiting
from holdfast.engine.folding import fold, replay
from holdfast.engine.state import Call, State
from holdfast.testing.clock import FakeClock
from holdfast.tools import authored
from holdfast.tools.binding import ToolContext
from holdfast.types import CallId, Effect, StreamId, ToolResult, Wait


def inner(call_id: str, parent: str) -> ToolStarted:
    return ToolStarted(CallId(call_id), Effect(outside="none"), nested=Nested(CallId(parent), "t", "{}"))


def begun(call_id: str) -> ToolStarted:
    return ToolStarted(CallId(call_id), Effect(outside="none"))


@pytest.mark.requirement("results:waits-look-at-their-own")
def test_a_wait_looks_at_no_inner_calls_but_those_of_its_own_call() -> None:
    class Watched(dict[CallId, Call]):
        looked = 0

        def __getitem__(self, key: CallId) -> Call:
            self.looked += 1
            return super().__getitem__(key)

        def _all(self, *_: Any) -> Any:
            raise AssertionError("it looked through all inner calls")

        __iter__ = values = items = keys = _all  # type: ignore[assignment]

    state, many = State(), 50
    nested = Watched()
    events = told(*opened(), answer("", *(["s"] * many)), *[begun(f"c{n}") for n in range(many)])
    events = [*events]
    for event in events:
        fold(state, event)
    state.nested = nested
    calls = [inner(f"c{n}/{k}", f"c{n}") for n in range(many) for k in range(10)]
    deep = [inner(f"c{n}/0/0", f"c{n}/0") for n in range(many)]
    waits = [ToolWaiting(CallId(f"c{n}"), Wait(f"t{n}", "child", below=f"c{n}/1")) for n in range(many)]
    for event in told(*calls, *deep, *waits):
        fold(state, event)
    assert nested.looked == many * 11
    assert all(dict.__getitem__(nested, CallId(f"c{n}/0/0")).wait == waits[n].wait for n in range(many))


@pytest.mark.requirement("results:inner-calls-answered")
def test_inner_calls_of_a_log_from_before_are_left_behind_with_their_turn() -> None:
    before = [*opened(), answer("", "s"), begun("c0"), inner("c0/0", "c0"), done(0)]
    state = replay(told(*before))
    assert list(state.left) == ["c0/0"]
    assert not state.unsettled
    again = replay(told(*before, answer("", "s"), begun("c0"), inner("c0/0", "c0")))
    assert not again.left
    assert list(again.unsettled[CallId("c0")]) == ["c0/0"], "of this turn, whatever the last one's was called"
    finished = ToolFinished(CallId("c0/0"), ToolResult("x"), nested=Nested(CallId("c0"), "t", "{}"))
    assert replay(told(*before, finished)).left == {}


@pytest.mark.requirement("results:stale-cancellation")
@pytest.mark.parametrize("asks", [False, True])
async def test_a_cancellation_from_long_ago_is_not_taken_for_one_of_the_call(asks: bool) -> None:
    async def awaits_what_is_cancelled(*_: Any) -> str:
        gone = asyncio.get_running_loop().create_future()
        gone.cancel()
        return await gone

    own = msgspec.structs.replace(awaiting, run=awaits_what_is_cancelled, check=awaits_what_is_cancelled)
    context = ToolContext(call_id=CallId("c"), stream=StreamId("local/s"), key="k", now=FakeClock().now)

    async def with_an_old_one() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        assert task.cancelling()
        if not asks:
            outcome = await authored.run(own, None, context)
            assert isinstance(outcome, ToolResult)
            return outcome.content
        with pytest.raises(LookupError) as told:
            await authored.ask(own, None, context)
        return str(told.value)

    assert "CancelledError" in await soon(asyncio.create_task(with_an_old_one()))


@tool(effect="none")
async def awaiting() -> str:
    """Awaits something."""
    return ""
