"""Tools that call others: each call passes the gateway, stands in the log, and is made once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, all_answered, asked, of, scene, seen, soon, until

from holdfast import Agent, Effect, ToolContext, tool
from holdfast.engine.events import ToolFinished, ToolStarted, ToolWaiting
from holdfast.errors import UsageError
from holdfast.testing import Call, Turn

RAN: list[str] = []
HANGS = [True]


@pytest.fixture(autouse=True)
def fresh() -> None:
    RAN.clear()
    HANGS[0] = True


@tool(effect="none")
async def double(number: int) -> int:
    """Doubles."""
    RAN.append(f"double {number}")
    return number * 2


@tool
async def pay(sum: int) -> str:
    """Pays."""
    RAN.append(f"pay {sum}")
    return f"paid {sum}"


@tool(effect=Effect(workspace=True, outside="none"), touches=lambda arguments: (arguments.path,))
async def put(path: str, text: str, context: ToolContext) -> str:
    """Writes a file."""
    assert context.workspace is not None
    RAN.append(f"put {path}")
    (context.workspace.root / path).write_text(text)
    return "put"


@tool(effect="none")
async def script(context: ToolContext, plan: list[str]) -> str:
    """Calls what it is told to, and then waits if it must."""
    RAN.append("script")
    said: list[str] = []
    for each in plan:
        name, _, rest = each.partition(" ")
        arguments = {
            "double": {"number": 1},
            "pay": {"sum": 5},
            "put": {"path": rest, "text": "x"},
            "script": {"plan": []},
        }
        result = await context.call(name, arguments[name])
        said.append(f"{result.content}{' failed' if result.error else ''}")
    if HANGS[0] and plan and plan[-1] == "pay":
        await asyncio.Event().wait()
    return ", ".join(said)


@tool(effect="none")
async def together(context: ToolContext) -> str:
    """Makes two calls at once."""
    async with asyncio.TaskGroup() as group:
        one = group.create_task(context.call("double", {"number": 2}))
        two = group.create_task(context.call("pay", {"sum": 7}))
    return f"{one.result().content} {two.result().content}"


AGENT = Agent(MODEL, tools=[double, pay, put, script, together])
DONE = Turn(text="done")


def planned(*plan: str) -> Turn:
    return Turn(calls=[Call("script", {"plan": list(plan)})])


@pytest.mark.requirement("tools:nested-logged")
async def test_a_call_that_a_call_makes_passes_the_gateway_and_stands_below_it_in_the_log(tmp_path: Path) -> None:
    HANGS[0] = False
    async with scene([planned("double", "put a", "script", "pay"), DONE]) as s:
        run = await s.runtime.start(AGENT, "go", session="s", workspace=tmp_path)
        assert (await soon(run.result())).status == "completed"
        log = await s.log()
    assert all_answered(log)
    starts = of(ToolStarted, log)
    assert [(each.call_id, each.nested and each.nested.name) for each in starts] == [
        ("call_0_0", None),
        ("call_0_0/0", "double"),
        ("call_0_0/1", "put"),
        ("call_0_0/2", "script"),
        ("call_0_0/3", "pay"),
    ]
    assert starts[2].snapshot is not None
    ends = {str(each.call_id): each.result.content for each in of(ToolFinished, log)}
    assert ends["call_0_0/0"] == "2"
    assert ends["call_0_0"] == "2, put, , paid 5"


@pytest.mark.requirement("tools:nested-served-from-log")
async def test_a_call_that_runs_again_gets_what_its_calls_came_to_and_makes_none_of_them_twice(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    async with scene([planned("double", "put a", "pay"), DONE], url=url) as s:
        run = await s.runtime.start(AGENT, "go", session="s", workspace=tmp_path)
        await soon(seen(run, "tool.finished", 3))
        await s.runtime.close()
        HANGS[0] = False
        (tmp_path / "a").write_text("by hand, since")
        async with s.other() as other:
            result = await soon((await other.resume("s", AGENT)).result())
            s.runtime = other
            log = await s.log()
    assert result.status == "completed"
    assert RAN == ["script", "double 1", "put a", "pay 5", "script"]
    assert (tmp_path / "a").read_text() == "by hand, since"
    assert all_answered(log)


async def test_a_call_that_makes_others_than_before_is_told_and_does_nothing_twice(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    plans = [["double", "pay"], ["pay", "pay"]]

    @tool(effect="none", name="fickle")
    async def fickle(context: ToolContext) -> str:
        """Changes its mind."""
        said = [await context.call(name, {"sum": 5} if name == "pay" else {"number": 1}) for name in plans.pop(0)]
        if plans:
            await asyncio.Event().wait()
        return ", ".join(each.content for each in said)

    agent = Agent(MODEL, tools=[double, pay, fickle])
    async with scene([Turn(calls=[Call("fickle", {})]), DONE], url=url) as s:
        run = await s.runtime.start(agent, "go", session="s")
        await soon(seen(run, "tool.finished", 2))
        await s.runtime.close()
        async with s.other() as other:
            await soon((await other.resume("s", agent)).result())
            s.runtime = other
            log = await s.log()
    assert RAN == ["double 1", "pay 5"]
    assert "has to call the same ones" in of(ToolFinished, log)[-1].result.content


@pytest.mark.requirement("tools:nested-approval")
async def test_a_call_below_a_call_may_need_a_word_and_the_upper_one_comes_back_for_it() -> None:
    HANGS[0] = False
    async with scene([Turn(calls=[Call("together", {})]), DONE]) as s:
        run = await s.runtime.start(AGENT, "go", session="s", mode="ask")
        await soon(seen(run, "tool.waiting"))
        await until(lambda: s.runtime._worker.tail("local/s") is None)  # type: ignore[arg-type]
        [waiting] = of(ToolWaiting, await s.log())
        assert (waiting.call_id, waiting.wait.subject) == ("call_0_0", "pay")
        await run.approve(waiting.wait.token)
        result = await soon(run.result())
        log = await s.log()
    assert result.status == "completed"
    assert RAN.count("pay 7") == 1
    assert of(ToolFinished, log)[-1].result.content == "4 paid 7"
    assert all_answered(log)


@pytest.mark.requirement("tools:nested-approval")
@pytest.mark.parametrize("how", ["gather", "group"])
async def test_what_was_allowed_beside_a_question_comes_to_its_end_and_is_made_once(how: str) -> None:
    ends = asyncio.Event()

    @tool(name="spend")
    async def spend(sum: int) -> str:
        """Pays, slowly."""
        RAN.append(f"spend {sum}")
        await ends.wait()
        return f"spent {sum}"

    @tool(effect="none", name="both")
    async def both(context: ToolContext) -> str:
        """Makes two calls at once."""
        calls = [context.call("spend", {"sum": number}) for number in (1, 2)]
        if how == "gather":
            return ", ".join(each.content for each in await asyncio.gather(*calls))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in calls]
        return ", ".join(each.result().content for each in tasks)

    agent = Agent(MODEL, tools=[spend, both])
    async with scene([Turn(calls=[Call("both", {})]), DONE]) as s:
        run = await s.runtime.start(agent, "go", session="s", mode="ask")
        for number in (1, 2):
            await soon(seen(run, "tool.waiting", number))
            await until(lambda: s.runtime._worker.tail("local/s") is None)  # type: ignore[arg-type]
            await run.approve(of(ToolWaiting, await s.log())[-1].wait.token)
            await until(lambda wanted=number: len(RAN) == wanted)
            ends.set()
        await soon(run.result())
        log = await s.log()
    assert RAN == ["spend 1", "spend 2"]
    assert of(ToolFinished, log)[-1].result.content == "spent 1, spent 2"
    assert all_answered(log)


async def test_what_a_tool_left_in_the_background_ends_with_it_and_is_written_down() -> None:
    left: list[asyncio.Task[Any]] = []

    @tool(name="drip")
    async def drip() -> str:
        """Never ends."""
        RAN.append("drip")
        await asyncio.Event().wait()
        return ""

    @tool(effect="none", name="careless")
    async def careless(context: ToolContext) -> str:
        """Does not await what it called."""
        left.append(asyncio.create_task(context.call("drip")))
        await until(lambda: RAN == ["drip"])
        return "done"

    agent = Agent(MODEL, tools=[drip, careless])
    async with scene([Turn(calls=[Call("careless", {})]), DONE]) as s:
        await soon((await s.runtime.start(agent, "go", session="s")).result())
        inner, outer = of(ToolFinished, await s.log())
    assert left[0].cancelled()
    assert inner.nested is not None and inner.result.error is not None
    assert (outer.nested, outer.result.content) == (None, "done")


@pytest.mark.requirement("tools:nested-logged")
async def test_ids_that_a_model_makes_up_are_never_those_of_calls_below() -> None:
    HANGS[0] = False
    calls = [
        Call("script", {"plan": ["double"]}, id="c"),
        Call("pay", {"sum": 3}, id="c/0"),
        Call("double", {"number": 4}, id="c/0/0"),
    ]
    async with scene([Turn(calls=calls), DONE]) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        results = [message["content"] for message in asked(s.server)[-1] if message["role"] == "tool"]
    assert results == ["2", "paid 3", "8"]


@pytest.mark.requirement("tools:nested-logged")
@pytest.mark.parametrize(
    "ids", [("c", "c/0", "c/0/0"), ("c", "c/", "c//"), ("c//0", "c", "c/0"), ("/", "//", "///0"), ("a", "b", "c")]
)
async def test_no_two_calls_of_a_turn_have_one_id_however_many_slashes_a_model_puts_into_its_own(
    ids: tuple[str, ...],
) -> None:
    @tool(effect="none", name="deep")
    async def deep(context: ToolContext, levels: int, mark: str) -> str:
        """Calls itself, as deep as it is told."""
        RAN.append(mark)
        if not levels:
            return mark
        below = [(await context.call("deep", {"levels": levels - 1, "mark": f"{mark}{n}"})).content for n in (1, 2)]
        return f"{mark} {' '.join(below)}"

    calls = [Call("deep", {"levels": 2, "mark": mark}, id=each) for mark, each in zip("xyz", ids, strict=True)]
    async with scene([Turn(calls=calls), DONE]) as s:
        await soon((await s.runtime.start(Agent(MODEL, tools=[deep]), "go", session="s")).result())
        results = [message["content"] for message in asked(s.server)[-1] if message["role"] == "tool"]
        log = await s.log()
    assert results == [f"{mark} {mark}1 {mark}11 {mark}12 {mark}2 {mark}21 {mark}22" for mark in "xyz"]
    assert len({each.call_id for each in of(ToolStarted, log)}) == len(of(ToolStarted, log)) == len(RAN) == 21
    assert all_answered(log)


async def test_what_cannot_be_left_in_the_middle_cannot_ask_below() -> None:
    @tool(name="rash")
    async def rash(context: ToolContext) -> str:
        """Does something first."""
        return (await context.call("pay", {"sum": 1})).content

    agent = Agent(MODEL, tools=[pay, rash])
    async with scene([Turn(calls=[Call("rash", {})]), DONE]) as s:
        run = await s.runtime.start(agent, "go", session="s", mode="ask")
        await soon(seen(run, "tool.waiting"))
        await until(lambda: s.runtime._worker.tail("local/s") is None)  # type: ignore[arg-type]
        [waiting] = of(ToolWaiting, await s.log())
        await run.approve(waiting.wait.token)
        result = await soon(run.result())
        log = await s.log()
    assert RAN == []
    assert result.denied == 1
    assert "cannot wait" in of(ToolFinished, log)[-1].result.content


async def test_a_tool_that_calls_itself_for_ever_is_stopped() -> None:
    @tool(effect="none", name="deeper")
    async def deeper(context: ToolContext) -> str:
        """Goes deeper."""
        RAN.append("deeper")
        return (await context.call("deeper")).content

    agent = Agent(MODEL, tools=[deeper])
    async with scene([Turn(calls=[Call("deeper", {})]), DONE]) as s:
        await soon((await s.runtime.start(agent, "go", session="s")).result())
    assert 1 < len(RAN) < 20


async def test_an_abort_ends_calls_below_calls_too(tmp_path: Path) -> None:
    async with scene([planned("double", "pay"), DONE]) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(seen(run, "tool.finished", 2))
        await run.abort()
        assert (await soon(run.result())).status == "aborted"
        log: Any = await s.log()
    assert all_answered(log)


async def test_outside_a_run_a_tool_has_nothing_to_call() -> None:
    from holdfast.types import CallId, StreamId

    context = ToolContext(call_id=CallId("c"), stream=StreamId("local/s"), key="k")
    with pytest.raises(UsageError, match="only in a run"):
        await context.call("double")
