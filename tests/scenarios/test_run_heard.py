"""What a call waited for passes the end of the gateway, as every result does: secrets, hooks and bounds."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, Scene, all_answered, asked, of, scene, seen, soon, until

from holdfast import Agent, Hooks, ToolContext, Wait, tool
from holdfast.engine.events import RunFinished, ToolFinished, ToolNoted, WaitResolved
from holdfast.runtime.run import Run
from holdfast.safety.redacting import MARK
from holdfast.testing import Call, Turn
from holdfast.tools.hooks.port import Calling, Finding, Note, ToolHooks
from holdfast.types import ToolResult, stream_id

pytestmark = pytest.mark.requirement("results:answers-finished")
CANARY = "canary-8812-of-answers"
heard: list[tuple[str, dict[str, Any], str]] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    heard.clear()


def hears(calling: Calling, result: ToolResult) -> Finding:
    heard.append((calling.tool, calling.arguments, result.content))
    return Finding(result=ToolResult(f"{result.content}, looked at"), notes=(Note("audit", calling.tool),))


HOOKS = Hooks(tools=ToolHooks(after=(hears,)))


@tool(effect="none")
async def order(token: str) -> Wait:
    """Orders something, which is delivered later."""
    return Wait(token)


@tool(effect="none")
async def through(context: ToolContext) -> str:
    """Asks a helper through its tool."""
    return (await context.call("helper", {"prompt": "x"})).content


def agent() -> Agent[Any]:
    return Agent(MODEL, tools=[order, through, Agent("openai/helper", name="helper").as_tool("helper")])


def knowing(s: Scene) -> Scene:
    """Has the runtime know a secret, as when a tool was authenticated with it."""
    s.runtime._bindings.secrets.redactor.learn(CANARY)
    return s


def read(s: Scene) -> list[str]:
    conversation = [each for each in asked(s.server) if each[0]["role"] != "x"][-1]
    return [each["content"] for each in conversation if each["role"] == "tool"]


async def parked(s: Scene) -> Run[Any]:
    run = await s.runtime.start(agent(), "go", session="s")
    await soon(seen(run, "tool.waiting"))
    await until(lambda: s.runtime._worker.tail(stream_id("local", "s")) is None)
    return run


@pytest.mark.parametrize("error", [False, True])
async def test_a_programs_answer_passes_redaction_and_hooks_before_it_is_written_down(error: bool) -> None:
    async with scene([Turn(calls=[Call("order", {"token": "t"})]), "thanks"], hooks=HOOKS) as s:
        run = await parked(knowing(s))
        await soon((await run.answer("t", f"it is {CANARY}", is_error=error)).committed())
        assert (await soon(run.result())).output == "thanks"
        log = await s.log()
        assert read(s) == [f"it is {MARK}, looked at"]
    assert heard == [("order", {"token": "t"}, f"it is {MARK}")]
    assert [each.topic for each in of(ToolNoted, log)] == ["order"]
    assert CANARY not in repr(log)
    assert all_answered(log)


@pytest.mark.parametrize("name", ["helper", "through"])
async def test_an_agents_answer_does_too_also_where_an_inner_call_waited_for_it(name: str) -> None:
    arguments = {"prompt": "x"} if name == "helper" else {}
    script: Any = {"scripted": [Turn(calls=[Call(name, arguments)]), "thanks"], "helper": lambda _: f"it is {CANARY}"}
    async with scene(script, hooks=HOOKS) as s:
        run = await knowing(s).runtime.start(agent(), "go", session="s")
        assert (await soon(run.result())).output == "thanks"
        log = await s.log()
    said = f"it is {MARK}"
    outer = [] if name == "helper" else [("through", {}, f"{said}, looked at")]
    assert heard == [("helper", {"prompt": "x"}, said), *outer], "each result once"
    assert CANARY not in repr(log)
    assert of(RunFinished, log)[-1].usage.total_tokens == 3 * 120


async def test_an_answer_that_came_first_is_without_secrets_at_once_and_seen_by_hooks_when_it_is_waited_for() -> None:
    script = [Turn(calls=[Call("order", {"token": each})]) for each in ("now", "early")]
    async with scene([*script, "thanks"], hooks=HOOKS) as s:
        run = await parked(knowing(s))
        await soon((await run.answer("early", f"it is {CANARY}")).committed())
        assert heard == []
        assert [each.content for each in of(WaitResolved, await s.log())] == [f"it is {MARK}"]
        await soon((await run.answer("now", "now")).committed())
        assert (await soon(run.result())).output == "thanks"
        assert read(s) == ["now, looked at", f"it is {MARK}, looked at"]
        assert CANARY not in repr(await s.log())
    assert [each[1]["token"] for each in heard] == ["now", "early"]


async def test_an_answer_is_no_longer_than_its_tool_may_say_and_all_of_it_can_be_read(tmp_path: Path) -> None:
    long = "word " * 30_000
    script = [Turn(calls=[Call("order", {"token": "t"})]), "thanks"]
    async with scene(script, url=f"sqlite:///{tmp_path}/s.db") as s:
        run = await s.runtime.start(Agent(MODEL, tools=[order, "read"]), "go", session="s", workspace=tmp_path)
        await soon(seen(run, "tool.waiting"))
        await soon((await run.answer("t", long)).committed())
        await soon(run.result())
        assert len(read(s)[0]) < 51_000
        (resolved,) = of(WaitResolved, await s.log())
        assert resolved.result is not None
        stored = resolved.result.stored
        assert (await s.runtime.journal.blobs.get("local", stored)).decode() == long  # type: ignore[arg-type]
        assert f"blob:{stored}" in read(s)[0]
        await s.runtime.collect()
        assert await s.runtime.journal.blobs.has("local", stored), "the log names it"  # type: ignore[arg-type]


async def test_a_run_that_is_to_end_does_not_wait_for_a_hook_and_hides_secrets_all_the_same() -> None:
    begun = asyncio.Event()

    async def hangs(calling: Calling, result: ToolResult) -> Finding:
        begun.set()
        await asyncio.Event().wait()
        return Finding()

    hooks = Hooks(tools=ToolHooks(after=(hangs,), seconds=600))
    async with scene([Turn(calls=[Call("order", {"token": "t"})]), "thanks"], hooks=hooks) as s:
        run = await parked(knowing(s))
        await run.answer("t", f"it is {CANARY}")
        await soon(begun.wait())
        await run.abort("enough")
        assert (await soon(run.result())).status == "aborted"
        log = await s.log()
    assert [each.content for each in of(WaitResolved, log)] == [f"it is {MARK}"]
    assert not of(ToolFinished, log)


async def test_an_answer_that_is_read_behind_the_word_that_ends_the_run_is_shown_to_no_hook() -> None:
    begun, asked_of = asyncio.Event(), list[Any]()

    async def hangs(calling: Calling, result: ToolResult) -> Finding:
        asked_of.append(calling.arguments["token"])
        begun.set()
        await asyncio.Event().wait()
        return Finding()

    hooks = Hooks(tools=ToolHooks(after=(hangs,), seconds=600))
    calls = [Call("order", {"token": each}) for each in "tu"]
    async with scene([Turn(calls=calls), "thanks"], hooks=hooks) as s:
        run = await knowing(s).runtime.start(agent(), "go")
        await soon(seen(run, "tool.waiting", 2))
        await run.answer("t", "one")
        await soon(begun.wait())
        await asyncio.gather(run.abort("enough"), run.answer("u", f"it is {CANARY}"))
        assert (await soon(run.result())).status == "aborted"
        log = await s.log()
    assert asked_of == ["t"]
    assert CANARY not in str(log)
