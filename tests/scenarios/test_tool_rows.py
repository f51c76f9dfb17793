"""What holds for every tool, whatever it is: what is told of it, what is gated, and how much of a result is read."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.loopback import Request, Server, answer, serving
from tests.running import MODEL, all_answered, asked, of, scene, seen, soon
from tests.security.injections.world import GATES, Gate

from holdfast import Agent, ToolContext, ToolFailure, tool
from holdfast.engine.events import ToolFinished, ToolStarted, ToolWaiting
from holdfast.testing import Call, Turn
from holdfast.tools.binding import Tool
from holdfast.tools.elsewhere.declaring import remote
from holdfast.tools.transports.http import Http

LONG = "".join(chr(97 + number % 26) for number in range(60_000))


@tool(effect="none")
async def says() -> str:
    """Says much."""
    return LONG


@tool(effect="none")
async def fails() -> str:
    """Fails at length."""
    raise ToolFailure(LONG)


@tool(effect="none")
async def through(context: ToolContext) -> str:
    """Says what another one says."""
    return (await context.call("says")).content


@tool(effect="none", max_output=1_000)
async def short() -> str:
    """May say little."""
    return LONG


def read_of(messages: list[dict[str, Any]]) -> list[str]:
    return [each["content"] for each in messages if each["role"] == "tool"]


@pytest.mark.requirement("tools:output-bounded")
@pytest.mark.parametrize(
    ("name", "arguments", "limit"),
    [
        ("says", {}, 50_000),
        ("fails", {}, 50_000),
        ("through", {}, 50_000),
        ("short", {}, 1_000),
        ("afar", {}, 50_000),
        ("helper", {"prompt": "go"}, 50_000),
        ("question", {"questions": [{"question": "What?"}]}, 50_000),
        ("bash", {"command": "head -c 60000 /dev/zero | tr '\\0' x"}, 50_000),
        ("read", {"path": "long.txt"}, 50_000),
        ("grep", {"pattern": "x"}, 50_000),
    ],
)
async def test_of_60_000_characters_50_000_are_read_and_a_note_says_so(
    name: str, arguments: dict[str, Any], limit: int, tmp_path: Path
) -> None:
    (tmp_path / "long.txt").write_text("x" * 60 + "\n" + ("x" * 59 + "\n") * 1_000, "utf-8")

    async def gives(_: Request, writer: asyncio.StreamWriter, __: Server) -> None:
        writer.write(answer(LONG.encode()))

    script = {"scripted": [Turn(calls=[Call(name, arguments)]), Turn(text="done")], "helper": [Turn(text=LONG)]}
    async with serving(gives) as server, scene(script) as s:

        @remote(Http(server.url, private=True), effect="none")
        async def afar() -> None:
            """Asks elsewhere."""

        helper = Agent("openai/helper", name="helper").as_tool("helper")
        known: list[Tool | str] = [says, fails, through, short, afar, helper, "question", "bash", "grep"]
        known += ["read"] if name == "read" else []
        run = await s.runtime.start(Agent(MODEL, tools=known), "go", session="s", workspace=tmp_path)
        if name == "question":
            waiting = (await soon(seen(run, ToolWaiting.type))).data
            assert isinstance(waiting, ToolWaiting)
            await run.answer(waiting.wait.token, LONG)
        await soon(run.result())
        (content,) = read_of(asked(s.server)[-1])
        log = await s.log()
        assert afar.close is not None
        await afar.close()
    assert all_answered(log)
    assert len(content) <= limit + 300
    assert "left out" in content or "more" in content


@pytest.mark.requirement("tools:permission-gate", "tools:one-declaration-per-name")
@pytest.mark.parametrize("gate", GATES, ids=str)
async def test_a_gated_tool_is_told_of_once_with_its_own_schema_and_does_nothing_before_the_word(gate: Gate) -> None:
    done: list[str] = []

    @tool
    async def transfer(to: str, amount: int = 1) -> str:
        """Sends money."""
        done.append(to)
        return "sent"

    agent, told = Agent(MODEL, tools=[transfer, says]), list[Any]()
    turns = [Turn(calls=[Call("transfer", {"to": "ann"})]), Turn(text="done")]
    async with scene(turns, policy=gate.policy, hooks=gate.hooks) as s:
        run = await s.runtime.start(agent, "go", session="s", mode=gate.mode, unattended=gate.unattended)
        if gate.waits:
            waiting = (await soon(seen(run, ToolWaiting.type))).data
            assert isinstance(waiting, ToolWaiting)
            assert not of(ToolStarted, await s.log())
            assert done == []
            await run.approve(waiting.wait.token)
        await soon(run.result())
        log = await s.log()
        bodies: list[Any] = [each.json() for each in s.server.requests]
        told = [each["tools"] for each in bodies]
    assert done == (["ann"] if gate.waits else [])
    assert len(of(ToolFinished, log)) == 1
    async with scene([Turn(text="done")]) as s:
        await soon((await s.runtime.start(agent, "go", session="s")).result())
        free: Any = s.server.requests[0].json()
    assert [each == free["tools"] for each in told] == [True, True]
    assert [each["function"]["name"] for each in free["tools"]] == ["transfer", "says"]


@pytest.mark.requirement("tools:opt-in-by-name")
@pytest.mark.parametrize("tools", [[], ()])
async def test_an_agent_without_tools_tells_of_none_and_whatever_is_called_is_refused(tools: Any) -> None:
    turns = [Turn(calls=[Call("bash", {"command": "ls"}), Call("read", {"path": "."})]), Turn(text="done")]
    async with scene(turns) as s:
        await soon((await s.runtime.start(Agent(MODEL, tools=tools), "go", session="s")).result())
        bodies: list[Any] = [each.json() for each in s.server.requests]
        results = of(ToolFinished, await s.log())
    assert all("tools" not in each for each in bodies)
    assert [each.result.error and each.result.error.code for each in results] == ["unsupported_tool"] * 2
