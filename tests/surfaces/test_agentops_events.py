"""What a run is in AgentOps' event protocol, for any way its events may come."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.agentops import check_events, check_order
from tests.running import MODEL, scene

from holdfast import Agent, Limits, tool
from holdfast.server.doors.agentops.shapes import Fep
from holdfast.server.doors.agentops.translating import Translator
from holdfast.testing import Call, Turn
from holdfast.testing.faults import Cut, Status
from holdfast.types import Delta, Event

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@tool(effect="none")
async def look(what: str) -> str:
    """Looks."""
    return f"seen: {what}"


def plain(events: Sequence[Fep]) -> list[dict[str, Any]]:
    return msgspec.json.decode(msgspec.json.encode(list(events)))


def told(items: Sequence[Event | Delta]) -> list[dict[str, Any]]:
    return plain(Translator("coder", "coder", prompt="go").feed(items, NOW))


def text_of(events: Sequence[dict[str, Any]]) -> str:
    """What a reader has that forgets a step's words when it is told to."""
    steps: list[str] = []
    for event in events:
        match event["type"]:
            case "step_start":
                steps.append("")
            case "text_delta":
                steps[-1] += event["delta"]
            case "text_reset":
                steps[-1] = ""
            case _:
                pass
    return "|".join(steps)


@pytest.mark.requirement("server:fep-order", "server:fep-fields", "server:fep-usage-and-budget")
async def test_a_run_of_two_steps_follows_the_grammar_and_its_usages_add_up() -> None:
    calls = Turn("Let me look.", calls=[Call("look", {"what": "here"}), Call("look", {"what": "there"})])
    async with scene([calls, Turn("All is well.", thinking="Hm.")]) as s:
        run = await s.runtime.start(Agent(MODEL, tools=[look]), "go", session="s")
        items = [item async for item in run.events()]
    events = told(items)
    check_events(events)
    check_order(events)
    assert events[0]["prompt"] == "go"
    assert [event["output"] for event in events if event["type"] == "tool_result"] == ["seen: here", "seen: there"]
    assert text_of(events) == "Let me look.|All is well."
    (end,) = [event for event in events if event["type"] == "agent_finish"]
    steps = [event["usage"] for event in events if event["type"] == "step_finish"]
    assert end["step_count"] == len(steps) == 2
    assert end["total_usage"] == {name: sum(each[name] for each in steps) for name in end["total_usage"]}
    logged = [item for item in items if isinstance(item, Event)]
    again = told(logged)
    check_order(again)
    assert text_of(again) == text_of(events)


@pytest.mark.requirement("server:fep-order")
async def test_a_failure_is_one_error_and_an_answer_that_breaks_off_is_not_read_twice() -> None:
    broken = Turn("one two three four", chunk=4, fault=Cut(after_events=3, times=1))
    async with scene([broken]) as s:
        run = await s.runtime.start(Agent(MODEL), "go", session="s", limits=Limits(model_retries=2))
        items = [item async for item in run.events()]
        assert (await run.result()).status == "completed"
    events = told(items)
    check_events(events)
    check_order(events)
    assert text_of(events) == "one two three four"
    assert any(event["type"] == "warnings" for event in events)
    async with scene([Turn("", fault=Status(status=401))]) as s:
        run = await s.runtime.start(Agent(MODEL), "go", session="s")
        failed = told([item async for item in run.events()])
    check_events(failed)
    check_order(failed)
    assert [event["type"] for event in failed if event["type"].startswith("agent_")] == ["agent_start", "agent_error"]


@settings(max_examples=25)
@given(data=st.data())
async def test_however_events_come_together_the_same_is_told(data: st.DataObject) -> None:
    async with scene([Turn("a b c d", calls=[Call("look", {"what": "x"})]), "done at last"]) as s:
        run = await s.runtime.start(Agent(MODEL, tools=[look]), "go", session="s")
        items = [item async for item in run.events()]
    translator, events, left = Translator("coder", "coder", prompt="go"), list[dict[str, Any]](), items
    while left:
        size = data.draw(st.integers(1, len(left)))
        events += plain(translator.feed(left[:size], NOW))
        left = left[size:]
    assert events == told(items)
    assert translator.over
