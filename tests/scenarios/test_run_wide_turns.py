"""Turns of very many calls: they cost what their calls cost, and no more than a few of them act at once."""

from __future__ import annotations

import asyncio

import pytest
from tests.counting import counting
from tests.running import MODEL, all_answered, asked, of, paired, scene, seen, soon, until

from holdfast import Agent, Limits, Wait, tool
from holdfast.engine.events import ToolFinished, ToolStarted, ToolWaiting
from holdfast.errors import Fenced, UsageError
from holdfast.testing import Call, Turn

BEGAN: list[int] = []
ACTING: set[int] = set()
AT_ONCE = Limits().calls_at_once
MOST: list[int] = [0]


@tool(effect="none")
async def crowd(n: int) -> str:
    """Acts for a while, together with others; the earlier it was called the longer."""
    BEGAN.append(n)
    ACTING.add(n)
    MOST[0] = max(MOST[0], len(ACTING))
    for _ in range(3 - n % 3):
        await asyncio.sleep(0)
    ACTING.remove(n)
    return f"result {n}"


@tool(effect="none")
async def cling(n: int) -> str:
    """Takes for ever, and keeps to itself that it was stopped."""
    BEGAN.append(n)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return "kept"
    return ""


@tool(effect="none")
async def displaced(n: int) -> str:
    """Finds that somebody else owns the session, when enough others are at it."""
    BEGAN.append(n)
    if n == AT_ONCE - 1:
        raise Fenced("somebody else owns it")
    await asyncio.Event().wait()
    return ""


@tool(effect="none")
async def wonder(n: int) -> Wait:
    """Asks somebody."""
    return Wait(f"wonder {n}", "callback", deadline=2**52 - n)


@tool
async def spend(n: int) -> str:
    """Does what a person has to allow."""
    return f"spent {n}"


@tool(effect="none", at_once=3)
async def few(n: int) -> str:
    """Acts for a while, as the crowd does; three of it at a time."""
    return await crowd(n)


AGENT = Agent(MODEL, tools=[crowd, cling, displaced, wonder, spend, few])


@pytest.fixture(autouse=True)
def fresh() -> None:
    BEGAN.clear()
    ACTING.clear()
    MOST[0] = 0


def wide(name: str, count: int) -> Turn:
    return Turn(calls=[Call(name, {"n": n}) for n in range(count)])


@pytest.mark.requirement("engine:parallel-bounded", "engine:parallel-results-in-call-order")
async def test_of_two_thousand_calls_a_few_act_at_once_and_all_have_their_results_in_order() -> None:
    async with scene([wide("crowd", 2000), "done"], seconds=60) as s:
        result = await soon((await s.runtime.start(AGENT, "go", session="s")).result(), 50)
        log, conversation = await s.log(), asked(s.server)[-1]
    assert (result.status, result.output) == ("completed", "done")
    assert MOST == [AT_ONCE]
    assert list(range(2000)) == BEGAN, "they begin in the model's order"
    assert [each["content"] for each in conversation if each["role"] == "tool"] == [f"result {n}" for n in range(2000)]
    assert paired(conversation)
    assert all_answered(log)
    assert len(of(ToolStarted, log)) == len(of(ToolFinished, log)) == 2000


@pytest.mark.requirement("engine:parallel-limit")
@pytest.mark.parametrize(("name", "limits", "most"), [("crowd", Limits(calls_at_once=5), 5), ("few", None, 3)])
async def test_no_more_calls_overlap_than_the_limits_and_the_tool_say(name: str, limits: Limits, most: int) -> None:
    async with scene([wide(name, 100), "done"]) as s:
        runs = [await s.runtime.start(AGENT, "go", session=each, limits=limits) for each in ("s", "t")]
        if name == "crowd":
            await soon(runs[0].result())
            assert [most] == MOST
        for run in runs:
            await soon(run.result())
    assert len(BEGAN) == 200
    assert MOST[0] == most or name == "crowd"


@pytest.mark.requirement("engine:parallel-limit")
def test_a_number_that_lets_no_call_run_is_refused() -> None:
    with pytest.raises(UsageError, match="calls_at_once"):
        Limits(calls_at_once=0)
    with pytest.raises(UsageError, match="at_once"):
        tool(at_once=0)(few.function)


@pytest.mark.requirement("engine:turn-linear")
async def test_a_turn_of_four_times_the_calls_costs_about_four_times_as_much() -> None:
    costs: list[int] = []
    for count in (500, 2000):
        async with scene([wide("crowd", count), "done"], seconds=60) as s:
            with counting("engine", "journal", "tools", "runtime") as lines:
                await soon((await s.runtime.start(AGENT, "go", session="s")).result(), 50)
        costs.append(lines.count)
    assert costs[1] < 6 * costs[0], costs


@pytest.mark.requirement("engine:parallel-bounded", "engine:abort-tool-call", "engine:every-call-one-result")
async def test_an_abort_ends_what_acts_and_lets_none_begin_that_waited_its_turn() -> None:
    async with scene([wide("cling", 3 * AT_ONCE), "never"]) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await until(lambda: len(BEGAN) == AT_ONCE)
        await run.abort("enough")
        assert (await soon(run.result())).status == "aborted"
        log = await s.log()
    assert list(range(AT_ONCE)) == BEGAN
    said = [each.result.content for each in of(ToolFinished, log)]
    assert said[:AT_ONCE] == ["kept"] * AT_ONCE
    assert all(content.startswith("Canceled") for content in said[AT_ONCE:])
    assert len(said) == 3 * AT_ONCE
    assert all_answered(log)


@pytest.mark.requirement("engine:fenced-touches-nothing")
async def test_a_session_that_is_lost_in_one_of_many_calls_begins_no_other() -> None:
    async with scene([wide("displaced", 3 * AT_ONCE), "never"]) as s:
        await s.runtime.start(AGENT, "go", session="s")
        await until(lambda: len(BEGAN) == AT_ONCE)
        await until(lambda: not s.runtime._worker._live)
        log = await s.log()
    assert list(range(AT_ONCE)) == BEGAN
    assert of(ToolFinished, log) == []


async def answered_one_by_one(name: str, count: int) -> int:
    """Returns how many lines a turn runs whose calls all wait, and are answered one after another."""
    async with scene([wide(name, count), "done"], seconds=60) as s:
        run = await s.runtime.start(AGENT, "go", session="s", mode="accept-edits")
        await soon(seen(run, "tool.waiting", count), 50)
        waits = [each.wait for each in of(ToolWaiting, await s.log())]
        with counting("engine", "journal", "tools", "runtime") as lines:
            for wait in waits:
                receipt = await run.approve(wait.token)
                await soon(receipt.committed(), 50)
            result = await soon(run.result(), 50)
        assert (result.status, result.output) == ("completed", "done")
        assert all_answered(await s.log())
    return lines.count


@pytest.mark.requirement("engine:waits-linear")
@pytest.mark.parametrize("name", ["wonder", "spend"])
async def test_a_turn_of_four_times_the_waits_that_are_answered_one_by_one_costs_about_four_times_as_much(
    name: str,
) -> None:
    costs = [await answered_one_by_one(name, count) for count in (100, 400)]
    assert costs[1] < 5 * costs[0], costs
