"""Calls that calls make get exactly one result each, also those that nobody asks for again."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, all_answered, of, scene, seen, soon, until

from holdfast import Agent, ToolContext, tool
from holdfast.engine.events import RunFinished, ToolFinished, ToolStarted, ToolWaiting, WaitResolved
from holdfast.testing import Call, Turn
from holdfast.testing.scripts import ScriptRequest
from holdfast.types import Event

inner = pytest.mark.requirement("results:inner-calls-answered")


@tool(effect="none")
async def slow(number: int) -> int:
    """Takes for ever."""
    await asyncio.Event().wait()
    return number


@tool
async def pay(sum: int) -> str:
    """Pays."""
    return f"paid {sum}"


def settled(log: list[Event]) -> bool:
    """Whether each inner call that began has one result, and each outer one, too."""
    ends = Counter(each.call_id for each in of(ToolFinished, log) if each.nested is not None)
    began = {each.call_id for each in of(ToolStarted, log) if each.nested is not None}
    return began <= ends.keys() and set(ends.values()) <= {1} and all_answered(log)


@inner
async def test_a_call_that_is_not_made_again_after_a_crash_gets_a_result(tmp_path: Path) -> None:
    first = [True]

    @tool(effect="none")
    async def fickle(context: ToolContext) -> str:
        """Changes its mind."""
        if not first.pop():
            return (await context.call("pay", {"sum": 1})).content
        return (await context.call("slow", {"number": 1})).content

    agent = Agent(MODEL, tools=[slow, pay, fickle])
    async with scene([Turn(calls=[Call("fickle", {})]), "done"], url=f"sqlite:///{tmp_path}/s.db") as s:
        run = await s.runtime.start(agent, "go", session="s")
        await soon(seen(run, "tool.started", 2))
        await s.runtime.close()
        first.append(False)
        async with s.other() as other:
            assert (await soon((await other.resume("s", agent)).result())).status == "completed"
            s.runtime = other
            log = await s.log()
    assert settled(log)
    assert [each.result.error and each.result.error.code for each in of(ToolFinished, log)] == [None, "canceled"]


@inner
async def test_a_call_whose_caller_ran_out_of_its_time_gets_a_result() -> None:
    @tool(effect="none", timeout=0.05)
    async def hasty(context: ToolContext) -> str:
        """Has little time."""
        return (await context.call("slow", {"number": 1})).content

    async with scene([Turn(calls=[Call("hasty", {})]), "done"]) as s:
        run = await s.runtime.start(Agent(MODEL, tools=[slow, hasty]), "go", session="s")
        assert (await soon(run.result())).status == "completed"
        log = await s.log()
    assert settled(log)
    nested = [each.nested for each in of(ToolFinished, log)]
    assert [each and each.parent for each in nested] == [None, "call_0_0"]


@inner
async def test_a_call_that_waited_beside_one_that_a_person_denied_gets_a_result() -> None:
    helper = Agent("openai/helper", name="helper")

    @tool(effect="none")
    async def both(context: ToolContext) -> str:
        """Does two things at once."""
        _, paid = await asyncio.gather(
            context.call("helper", {"prompt": "x"}), context.call("pay", {"sum": 1}), return_exceptions=True
        )
        if isinstance(paid, BaseException):
            raise paid
        return paid.content

    hangs = asyncio.Event()

    async def never(request: ScriptRequest) -> Turn:
        await hangs.wait()
        return Turn(text="late")

    agent = Agent(MODEL, tools=[pay, both, helper.as_tool("helper")])
    script: Any = {"scripted": [Turn(calls=[Call("both", {})]), "done"], "helper": never}
    async with scene(script) as s:
        run = await s.runtime.start(agent, "go", session="s", mode="ask")
        waiting = (await soon(seen(run, "tool.waiting"))).data
        assert isinstance(waiting, ToolWaiting)
        assert waiting.wait.kind == "approval"
        await run.deny(waiting.wait.token)
        assert (await soon(run.result())).status == "completed"
        log = await s.log()
        hangs.set()
    assert any(each.nested and each.nested.name == "helper" for each in of(ToolStarted, log))
    assert settled(log)


@pytest.mark.requirement("results:children-counted")
async def test_what_agents_used_that_were_not_waited_for_yet_counts_when_the_run_is_aborted() -> None:
    hangs = asyncio.Event()

    async def helped(request: ScriptRequest) -> Turn:
        if request.last_user_text == "0":
            await hangs.wait()
        return Turn(text=f"<{request.last_user_text}>")

    @tool(effect="none")
    async def crowd(context: ToolContext) -> str:
        """Asks many at once."""
        calls = [context.call("helper", {"prompt": str(n)}) for n in range(4)]
        for each in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(each, BaseException):
                raise each
        return "all"

    agent = Agent(MODEL, tools=[crowd, Agent("openai/helper", name="helper").as_tool("helper")])
    script: Any = {"scripted": [Turn(calls=[Call("crowd", {})]), "done"], "helper": helped}
    async with scene(script) as s:
        run = await s.runtime.start(agent, "go", session="s")
        await soon(seen(run, "wait.resolved", 3))
        await until(lambda: s.runtime._worker.tail("local/s") is None)  # type: ignore[arg-type]
        await run.abort("enough")
        assert (await soon(run.result())).status == "aborted"
        log = await s.log()
        hangs.set()
    (waiting,) = of(ToolWaiting, log)
    assert len(waiting.beside) == 3
    assert len(of(WaitResolved, log)) == 3
    assert of(RunFinished, log)[-1].usage.total_tokens == (1 + 3) * 120
    assert settled(log)


@pytest.mark.requirement("results:children-counted")
async def test_what_an_agent_used_counts_once_however_often_it_is_heard_of() -> None:
    @tool(effect="none")
    async def crowd(context: ToolContext) -> str:
        """Asks many at once."""
        calls = [context.call("helper", {"prompt": str(n)}) for n in range(5)]
        return " ".join([each.content for each in await asyncio.gather(*calls)])

    agent = Agent(MODEL, tools=[crowd, Agent("openai/helper", name="helper").as_tool("helper")])
    script: Any = {"scripted": [Turn(calls=[Call("crowd", {})]), "done"], "helper": lambda _: "yes"}
    async with scene(script) as s:
        result = await soon((await s.runtime.start(agent, "go", session="s")).result())
        log = await s.log()
    assert result.usage.total_tokens == (2 + 5) * 120
    assert settled(log)
