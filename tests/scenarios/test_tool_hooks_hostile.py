"""Hooks that say what no hook may say, that answer late, and calls that come by on other paths than a model's."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from tests.running import MODEL, all_answered, of, scene, seen, soon

from holdfast import Agent, Hooks, Runtime, ToolContext, Wait, tool
from holdfast.engine.events import ToolFinished, ToolNoted, ToolStarted, ToolWaiting
from holdfast.testing import Call, Turn
from holdfast.testing.scripts import ScriptRequest
from holdfast.tools.hooks.guardrails import AuditTools
from holdfast.tools.hooks.port import Calling, Finding, Note, Ruling, ToolHooks
from holdfast.tools.hooks.programs import ProgramBefore
from holdfast.types import ToolResult

DONE: list[str] = []
LEFT: set[asyncio.Task[Any]] = set()


@pytest.fixture(autouse=True)
def fresh() -> None:
    DONE.clear()
    LEFT.clear()


@tool(effect="keyed")
async def pay(to: str) -> str:
    """Pays."""
    DONE.append(to)
    return f"paid {to}"


@tool(effect="none")
async def hurries(context: ToolContext) -> str:
    """Does not wait for the call it makes."""
    LEFT.add(asyncio.ensure_future(context.call("pay", {"to": "late"})))
    await asyncio.sleep(0)
    return "gone"


@tool(effect="none")
async def both(context: ToolContext) -> str:
    """Makes two calls at once, and one needs a person's word."""
    calls = (context.call("pay", {"to": "slow"}), context.call("pay", {"to": "asked"}))
    return " ".join([each.content for each in await asyncio.gather(*calls)])


AGENT = Agent(MODEL, tools=[pay, hurries, both])
PAYS = [Turn(calls=[Call("pay", {"to": "ann"})]), Turn(text="done")]


def hooks(*before: Any, after: tuple[Any, ...] = ()) -> Hooks:
    return Hooks(tools=ToolHooks(before=before, after=after))


WRONG = cast("Any", 7)
BEFORE = [
    Ruling(reason=WRONG, verdict="deny"),
    Ruling(reason=WRONG, verdict="ask"),
    Ruling(verdict=cast("Any", "allow")),
    Ruling(notes=WRONG),
    Ruling(notes=(WRONG,)),
    Ruling(notes=(Note(WRONG, "topic"),)),
    Ruling(notes=(Note("kind", "topic", tags=WRONG),)),
    Ruling(context=WRONG),
]


@pytest.mark.parametrize("said", BEFORE, ids=repr)
async def test_a_hook_before_a_call_that_says_what_none_may_say_has_failed(said: Ruling) -> None:
    async with scene(PAYS, hooks=hooks(lambda calling: said)) as s:
        result = await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        log = await s.log()
    assert result.status == "completed"
    (finished,) = of(ToolFinished, log)
    assert finished.result.error is not None
    assert finished.result.error.reason == "tool_hook_failed"
    assert DONE == []


AFTER = [
    Finding(notes=WRONG),
    Finding(notes=(Note("kind", WRONG),)),
    Finding(result=cast("Any", "text")),
    Finding(result=ToolResult(WRONG)),
    Finding(result=ToolResult("x", metadata={"a": object()})),
]


@pytest.mark.parametrize("said", AFTER, ids=range(len(AFTER)))
async def test_a_hook_after_a_call_that_says_what_none_may_say_leaves_the_result(said: Finding) -> None:
    async with scene(PAYS, hooks=hooks(after=(lambda calling, result: said,))) as s:
        result = await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        log = await s.log()
    assert result.status == "completed"
    assert [each.result.content for each in of(ToolFinished, log)] == ["paid ann"]
    assert [each.topic for each in of(ToolNoted, log)] == ["security/hook_failed"]


async def test_a_note_with_half_a_character_is_written_down() -> None:
    note = Note("audit\ud800", "a/\ud800", "\ud800", ("\ud800",), "\ud800")
    async with scene(PAYS, hooks=hooks(lambda calling: Ruling(notes=(note,)))) as s:
        assert (await soon((await s.runtime.start(AGENT, "go", session="s")).result())).status == "completed"
        (noted,) = of(ToolNoted, await s.log())
    assert noted.topic == "a/?"


async def test_a_hook_that_ends_as_if_it_were_cancelled_has_failed() -> None:
    async def rude(calling: Calling, result: ToolResult | None = None) -> None:
        raise asyncio.CancelledError

    for given, content in ((hooks(rude), None), (hooks(after=(rude,)), "paid ann")):
        async with scene(PAYS, hooks=given) as s:
            result = await soon((await s.runtime.start(AGENT, "go", session="s")).result())
            (finished,) = of(ToolFinished, await s.log())
        assert result.status == "completed"
        if content is None:
            assert finished.result.error is not None
            assert finished.result.error.reason == "tool_hook_failed"
        else:
            assert finished.result.content == content


async def test_a_call_that_a_hook_still_thinks_about_when_its_caller_is_over_is_not_made() -> None:
    go, over, asks = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def thinks(calling: Calling) -> None:
        if calling.tool == "pay":
            await go.wait()

    async def answers(request: ScriptRequest) -> Turn:
        if not asks.is_set():
            asks.set()
            return Turn(calls=[Call("hurries", {})])
        await over.wait()
        return Turn(text="done")

    async with scene(answers, hooks=hooks(thinks)) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(seen(run, ToolFinished.type))
        go.set()
        await soon(asyncio.wait(LEFT))
        over.set()
        await soon(run.result())
        log = await s.log()
        assert DONE == []
        assert [each.call_id for each in of(ToolStarted, log) if each.nested] == []
        assert all_answered(log)


async def test_no_call_begins_beside_one_for_which_the_caller_is_left() -> None:
    go, slow = asyncio.Event(), asyncio.Event()

    async def thinks(calling: Calling) -> Ruling | None:
        if calling.arguments.get("to") == "slow":
            slow.set()
            await go.wait()
        return Ruling(verdict="ask", reason="a person") if calling.arguments.get("to") == "asked" else None

    script = [Turn(calls=[Call("both", {})]), Turn(text="done")]
    async with scene(script, hooks=hooks(thinks)) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(slow.wait())
        for _ in range(50):
            await asyncio.sleep(0)
        assert not of(ToolWaiting, await s.log()), "the caller is left while a call of it is under way"
        go.set()
        token = (await soon(seen(run, "tool.waiting"))).data.wait.token  # type: ignore[union-attr]
        await run.approve(token)
        await soon(run.result())
        log = await s.log()
    assert sorted(DONE) == ["asked", "slow"]
    ends = [each.call_id for each in of(ToolFinished, log) if each.nested]
    assert sorted(ends) == sorted(set(ends))
    assert len(ends) == 2


async def test_a_run_can_be_stopped_after_a_program_that_says_too_much() -> None:
    asks, again = asyncio.Event(), asyncio.Event()

    async def answers(request: ScriptRequest) -> Turn:
        if asks.is_set():
            again.set()
            await asyncio.Event().wait()
        asks.set()
        return Turn(calls=[Call("pay", {"to": "ann"})])

    loud = ProgramBefore([sys.executable, "-c", "import sys; sys.stdout.write('x' * 10_000_000)"])
    async with scene(answers, hooks=hooks(loud)) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(seen(run, ToolFinished.type))
        await soon(again.wait())
        await run.abort("enough")
        assert (await soon(run.result())).status == "aborted"


@tool(effect="none")
async def groups() -> str:
    """Works in a group of tasks, one of which fails."""

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
    except* ValueError:
        pass
    return "fine"


async def test_a_run_can_be_stopped_after_a_tool_in_which_a_group_of_tasks_failed() -> None:
    again = asyncio.Event()

    async def answers(request: ScriptRequest) -> Turn:
        if request.answers:
            again.set()
            await asyncio.Event().wait()
        return Turn(calls=[Call("groups", {})])

    async with scene(answers) as s:
        run = await s.runtime.start(Agent(MODEL, tools=[groups]), "go", session="s")
        await soon(again.wait())
        await run.abort("enough")
        assert (await soon(run.result())).status == "aborted"


@tool(effect="none", at_once=1)
async def again(context: ToolContext, times: int) -> str:
    """Calls itself."""
    return (await context.call("again", {"times": times - 1})).content if times else "the end"


@tool(effect="none")
async def around(context: ToolContext, times: int) -> str:
    """Stands between."""
    return (await context.call("again", {"times": times})).content


async def test_a_tool_of_which_there_is_one_at_a_time_may_call_itself() -> None:
    script = [Turn(calls=[Call("again", {"times": 3})]), Turn(text="done")]
    async with scene(script) as s:
        run = await s.runtime.start(Agent(MODEL, tools=[again, around]), "go", session="s")
        result = await soon(run.result())
        log = await s.log()
    assert result.status == "completed"
    assert [each.result.content for each in of(ToolFinished, log) if each.nested is None] == ["the end"]


async def _is_sent(context: ToolContext) -> str:
    return "sent"


@tool(effect="checkable", check=_is_sent)
async def sends(context: ToolContext) -> str:
    """Sends, and the process dies."""
    await asyncio.Event().wait()
    return ""


async def test_what_hooks_note_of_a_call_whose_process_died_is_written_down_before_its_result(tmp_path: Path) -> None:
    agent, script = Agent(MODEL, tools=[sends]), [Turn(calls=[Call("sends", {})]), Turn(text="done")]
    given = hooks(after=(AuditTools(),))
    async with scene(script, url=f"sqlite:///{tmp_path}/s.db", hooks=given) as s:
        run = await s.runtime.start(agent, "go", session="s")
        await soon(seen(run, ToolStarted.type))
        await s.runtime.close()
        async with Runtime.open(s.url, hooks=given) as other:
            await soon((await other.resume("s", agent)).result())
            s.runtime = other
            log = await s.log()
    assert [type(each.data) for each in log if isinstance(each.data, ToolFinished | ToolNoted)] == [
        ToolNoted,
        ToolFinished,
    ]


@tool
async def claims(context: ToolContext) -> Wait:
    """Says of its wait that it is that of a call below it."""
    DONE.append("claimed")
    return Wait(context.key, below="call_0_0/0")


async def test_a_tool_cannot_have_itself_called_again_by_what_it_waits_for() -> None:
    script = [Turn(calls=[Call("claims", {})]), Turn(text="done")]
    async with scene(script) as s:
        run = await s.runtime.start(Agent(MODEL, tools=[claims]), "go", session="s")
        waiting = (await soon(seen(run, ToolWaiting.type))).data
        await run.answer(waiting.wait.token, "answered")  # type: ignore[union-attr]
        await soon(run.result())
        log = await s.log()
    assert DONE == ["claimed"]
    assert all_answered(log)


async def test_a_model_cannot_call_what_is_there_for_the_calls_of_a_tool() -> None:
    script = [Turn(calls=[Call("script_llm", {"prompt": "x", "tokens": 9})]), Turn(text="done")]
    async with scene(script) as s:
        run = await s.runtime.start(Agent(MODEL, tools=["script"]), "go", session="s")
        await soon(run.result())
        (finished,) = of(ToolFinished, await s.log())
    assert finished.result.error is not None
    assert finished.result.error.reason == "tool_unsupported"
