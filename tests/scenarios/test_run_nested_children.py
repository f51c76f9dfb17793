"""Calls that calls make, and that wait for agents: the outer one is left, and comes back for the answer."""

from __future__ import annotations

import asyncio

import pytest
from tests.running import MODEL, all_answered, of, scene, seen, soon, until

from holdfast import Agent, ToolContext, tool
from holdfast.engine.events import RunFinished, ToolFinished, ToolWaiting
from holdfast.testing import Call, Turn
from holdfast.testing.scripts import ScriptRequest
from holdfast.types import session_of, stream_id

pytestmark = pytest.mark.requirement("scripting:nested-children")
RAN: list[str] = []


@tool(effect="none")
async def crowd(context: ToolContext, many: int) -> str:
    """Asks many at once."""
    RAN.append("crowd")
    calls = [context.call("helper", {"prompt": str(n)}) for n in range(many)]
    return " ".join(each.content for each in await asyncio.gather(*calls))


@tool
async def once(context: ToolContext) -> str:
    """Cannot be made again."""
    RAN.append("once")
    return (await context.call("helper", {"prompt": "x"})).content


@tool
async def above(context: ToolContext) -> str:
    """Cannot be made again, and calls what can."""
    return (await context.call("crowd", {"many": 1})).content


def agent() -> Agent:
    RAN.clear()
    helper = Agent("openai/helper", name="helper")
    return Agent(MODEL, tools=[crowd, once, above, helper.as_tool("helper")])


def helped(request: ScriptRequest) -> Turn:
    return Turn(text=f"<{request.last_user_text}>")


async def test_what_inner_calls_wait_for_comes_back_in_order_and_is_asked_once() -> None:
    script = {"scripted": [Turn(calls=[Call("crowd", {"many": 4})]), Turn(text="done")], "helper": helped}
    async with scene(script) as s:
        result = await soon((await s.runtime.start(agent(), "go", session="s")).result())
        log = await s.log()
    assert result.status == "completed"
    outer = [each for each in of(ToolFinished, log) if each.nested is None]
    assert [each.result.content for each in outer] == ["<0> <1> <2> <3>"]
    inner = [each for each in of(ToolFinished, log) if each.nested is not None]
    assert sorted(each.result.content for each in inner) == ["<0>", "<1>", "<2>", "<3>"]
    assert of(RunFinished, log)[-1].usage.total_tokens == 6 * 120
    assert all_answered(log)


@pytest.mark.parametrize("name", ["once", "above"])
async def test_a_call_that_cannot_be_made_again_cannot_wait_for_an_agent_below_it(name: str) -> None:
    script = {"scripted": [Turn(calls=[Call(name, {})]), Turn(text="done")], "helper": helped}
    async with scene(script) as s:
        result = await soon((await s.runtime.start(agent(), "go", session="s")).result())
        log = await s.log()
    assert result.status == "completed"
    assert "cannot wait" in of(ToolFinished, log)[-1].result.content
    assert not of(ToolWaiting, log)
    assert RAN.count("once") <= 1


async def test_an_abort_ends_the_agents_that_inner_calls_wait_for() -> None:
    hangs = asyncio.Event()

    async def never(request: ScriptRequest) -> Turn:
        await hangs.wait()
        return Turn(text="late")

    script = {"scripted": [Turn(calls=[Call("crowd", {"many": 3})]), Turn(text="done")], "helper": never}
    async with scene(script) as s:
        run = await s.runtime.start(agent(), "go", session="s")
        waits = (await soon(seen(run, "tool.waiting"))).data
        await run.abort("enough")
        assert (await soon(run.result())).status == "aborted"
        heads = await s.runtime.journal.heads("local")
        children = [session_of(head.stream) for head in heads if session_of(head.stream) != "s"]
        assert len(children) == 3
        for child in children:
            await until(lambda child=child: s.runtime._worker.tail(stream_id("local", child)) is None)  # type: ignore[misc]
            assert of(RunFinished, await s.log(child))[-1].status == "aborted"
        hangs.set()
        assert all_answered(await s.log())
    assert waits.wait.below  # type: ignore[union-attr]
