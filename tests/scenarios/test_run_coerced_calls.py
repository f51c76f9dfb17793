"""Calls with strings where the schema wants something else: the tool, the log and people see one and the same value."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.running import MODEL, asked, of, scene, seen, soon, until

from holdfast import Agent, Effect, ToolContext, tool
from holdfast.cli.asking.card import approval_card
from holdfast.engine.events import ModelFinished, RunFinished, ToolFinished, ToolStarted, ToolWaiting
from holdfast.sandbox.port import Posture
from holdfast.testing import Call, Turn
from holdfast.types import Event, stream_id

pytestmark = pytest.mark.requirement("tools:arguments-coerced")

RAN: list[Any] = []
JUDGED: list[Any] = []
HANGS = [False]
DONE = Turn(text="done")


@pytest.fixture(autouse=True)
def fresh() -> None:
    RAN.clear()
    JUDGED.clear()
    HANGS[0] = False


@dataclass
class Line:
    item: str
    count: int


def _effect_of(arguments: Any, posture: Posture) -> Effect:
    JUDGED.append(arguments.sum)
    return Effect(outside="none" if arguments.sum < 10 else "unsafe")


@tool(effect=_effect_of)
async def pay(sum: int, note: str = "", lines: list[Line] | None = None, express: bool | None = None) -> str:
    """Pays."""
    RAN.append((sum, note, lines, express))
    return "paid"


@tool(effect="keyed")
async def send(count: int, context: ToolContext) -> str:
    """Sends."""
    RAN.append((context.key, count))
    if HANGS[0]:
        await asyncio.Event().wait()
    return "sent"


@tool(effect="none")
async def outer(context: ToolContext) -> str:
    """Calls another."""
    return (await context.call("send", {"count": "2"})).content


AGENT = Agent(MODEL, tools=[pay, send, outer])


def pays(**arguments: Any) -> Turn:
    return Turn(calls=[Call("pay", arguments)])


def started(log: list[Event]) -> list[str]:
    return [each.arguments for each in of(ToolStarted, log)]


WRITTEN: Mapping[str, Any] = {
    "sum": "3",
    "note": "7",
    "lines": [{"item": "1", "count": "2"}, {"item": "nut", "count": 3}],
    "express": "null",
}
MADE: Mapping[str, Any] = {
    "sum": 3,
    "note": "7",
    "lines": [{"item": "1", "count": 2}, {"item": "nut", "count": 3}],
    "express": None,
}


async def test_the_tool_what_judges_the_call_and_the_log_have_one_value_and_the_model_keeps_its_words() -> None:
    async with scene([pays(**WRITTEN), DONE]) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        assert (await soon(run.result())).status == "completed"
        log, sent = await s.log(), asked(s.server)[1]
    assert [(3, "7", [Line("1", 2), Line("nut", 3)], None)] == RAN
    assert JUDGED == [3]
    [made] = started(log)
    assert json.loads(made) == MADE
    [call] = of(ModelFinished, log)[0].message.calls
    assert json.loads(call.arguments) == WRITTEN
    assert json.loads(sent[-2]["tool_calls"][0]["function"]["arguments"]) == WRITTEN, "as it was written"
    assert of(ToolFinished, log)[0].result.content == "paid"


async def test_what_means_nothing_is_refused_with_the_error_it_always_had() -> None:
    async with scene([pays(sum="abc", note="x"), pays(sum="1", lines=[{"item": "a", "count": "many"}]), DONE]) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        assert (await soon(run.result())).status == "completed"
        log = await s.log()
    first, second = [each.result for each in of(ToolFinished, log)]
    assert first.error is not None
    assert (first.error.code, first.error.reason) == ("invalid_input", "tool_invalid_input")
    assert "Expected `int`, got `str` - at `$.sum`" in first.content
    assert "at `$.lines[0].count`" in second.content, "of two wrong ones only that is told which means nothing"
    assert RAN == [] == started(log)


async def test_arguments_that_fit_are_looked_at_once_and_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*given: Any, **named: Any) -> Any:
        raise AssertionError("the call fits")

    for name in ("coerced", "repair_json"):
        monkeypatch.setattr(f"holdfast.tools.authored.{name}", never)
    async with scene([pays(sum=3, note="3"), DONE]) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        log = await s.log()
    assert RAN == [(3, "3", None, None)]
    assert started(log) == [""]


async def test_a_damaged_call_is_mended_and_read_and_the_log_says_what_was_made_of_it() -> None:
    damaged = Turn(calls=[Call("pay", "{'sum': '3', 'express': 'True',}")])
    mended = Turn(calls=[Call("pay", "{'sum': 4}")])
    async with scene([damaged, mended, DONE]) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        log = await s.log()
    assert [each[0] for each in RAN] == [3, 4]
    assert [json.loads(each) for each in started(log)] == [{"sum": 3, "express": True}, {"sum": 4}]


async def test_a_person_is_asked_about_the_call_as_it_would_be_made_and_their_yes_holds(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    async with scene([pays(sum="30", note="30"), DONE], url=url) as s:
        run = await s.runtime.start(AGENT, "go", session="s", mode="ask")
        await soon(seen(run, "tool.waiting"))
        await until(lambda: s.runtime._worker.tail(stream_id("local", "s")) is None)
        [waiting] = of(ToolWaiting, await s.log())
        assert json.loads(waiting.wait.arguments) == {"sum": 30, "note": "30"}
        [open_] = await s.runtime.waiting("s")
        assert open_.call is not None
        assert json.loads(open_.call.arguments) == {"sum": 30, "note": "30"}
        [call] = of(ModelFinished, await s.log())[0].message.calls
        console = Console(width=80)
        with console.capture() as shown:
            console.print(approval_card(call, waiting.wait))
        assert '"sum": 30' in shown.get()
        assert RAN == []
        await run.answer(waiting.wait.token, "once")
        assert (await soon(run.result())).status == "completed"
        log = await s.log()
    assert RAN == [(30, "30", None, None)]
    assert [json.loads(each) for each in started(log)] == [{"sum": 30, "note": "30"}]
    assert len(of(ToolWaiting, log)) == 1
    assert of(RunFinished, log)[0].denied == 0


async def test_a_gate_that_looks_at_the_number_is_not_passed_by_writing_it_as_a_string() -> None:
    async with scene([pays(sum="5"), pays(sum="50"), DONE]) as s:
        run = await s.runtime.start(AGENT, "go", session="s", mode="ask", unattended=True)
        result = await soon(run.result())
    assert [each[0] for each in RAN] == [5]
    assert result.denied == 1
    assert JUDGED == [5, 50]


async def test_a_call_that_runs_again_after_a_crash_is_the_same_call(tmp_path: Path) -> None:
    HANGS[0] = True
    async with scene([Turn(calls=[Call("send", {"count": "9"})]), DONE], url=f"sqlite:///{tmp_path}/s.db") as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(seen(run, "tool.started"))
        await until(lambda: len(RAN) == 1)
        await s.runtime.close()
        HANGS[0] = False
        async with s.other() as other:
            await soon((await other.resume("s", AGENT)).result())
            s.runtime = other
            log = await s.log()
    assert RAN[0] == RAN[1]
    assert RAN[0][1] == 9
    assert [json.loads(each) for each in started(log)] == [{"count": 9}] * 2


async def test_what_one_tool_gives_another_is_read_the_same_way() -> None:
    async with scene([Turn(calls=[Call("outer", {})]), DONE]) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        log = await s.log()
    assert [each[1] for each in RAN] == [2]
    inner = of(ToolStarted, log)[1]
    assert inner.nested is not None
    assert inner.nested.arguments == '{"count":"2"}'
    assert inner.arguments == '{"count":2}'


async def test_an_answer_that_a_tool_takes_is_read_the_same_way() -> None:
    agent = Agent(MODEL, output=Line, output_mode="tool")
    written = Turn(calls=[Call("final_answer", {"item": "3", "count": "3"})])
    async with scene([written]) as s:
        result = await soon((await s.runtime.start(agent, "go", session="s")).result())
        log = await s.log()
    assert result.value == Line("3", 3)
    assert json.loads(of(ToolFinished, log)[0].result.content) == {"item": "3", "count": 3}
