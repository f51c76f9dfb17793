"""A session goes on with another model, and with what that model can read of it."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from rich.console import Console
from tests.archives import exported
from tests.running import HastyClock, asked, of, scene, soon

from holdfast import Agent, Document, Image
from holdfast.cli.rendering.answer import Answer
from holdfast.cli.rendering.happenings import onward
from holdfast.cli.screen import Screen
from holdfast.cli.watch.answer import Transcript
from holdfast.cli.watch.rows import Row
from holdfast.engine.events import CODEC, ModelFailed, ModelFinished
from holdfast.engine.folding import replay
from holdfast.flow.clock import SystemClock
from holdfast.journal.reading import read_events
from holdfast.models.port import ModelRequest
from holdfast.models.routing.chain import Failover
from holdfast.models.routing.routes import Routes
from holdfast.testing.faults import Reset
from holdfast.testing.scripts import Call, Turn
from holdfast.tools.declaring import tool
from holdfast.types import AssistantMessage, Event, EventId, Text, TextDelta, stream_id


@tool(effect="none")
def look() -> str:
    """Looks."""
    return "seen"


def event(payload: Any, seq: int = 1) -> Event:
    return Event(seq=seq, id=EventId(str(seq)), type=payload.type, at=1, epoch=1, cause="", data=payload)


@pytest.mark.requirement("routing:handoff-in-a-session")
async def test_a_prompt_with_another_model_goes_on_with_the_conversation_as_that_one_can_read_it() -> None:
    script: Any = {
        "one": [Turn("I look.", thinking="Where?", signature="c2ln", calls=[Call("look")]), "There it is."],
        "two": [Turn("n"), Turn("n"), Turn("I see it too.")],
    }
    async with scene(script) as s:
        first, second = (Agent(name, tools=[look]) for name in ("anthropic/one", "openai/two"))
        await soon((await s.runtime.start(first, "go", session="s")).result())
        result = await soon((await s.runtime.start(second, "and you?", session="s")).result())
        sent = asked(s.server)[-1]
    assert result.output == "I see it too."
    assert [each["role"] for each in sent] == ["user", "assistant", "tool", "assistant", "user"]
    assert sent[1]["content"] == "Where?I look."  # what it thought, as words
    assert "c2ln" not in json.dumps(sent)
    assert sent[2]["tool_call_id"] == sent[1]["tool_calls"][0]["id"]


@pytest.mark.requirement("models:handoff-orphan-calls")
async def test_a_conversation_whose_call_lost_its_result_is_completed_on_the_way_to_the_model() -> None:
    async with scene([Turn("", calls=[Call("look")]), "done", "again"]) as s:
        run = await s.runtime.start(Agent("openai/one", tools=[look]), "go", session="s")
        await soon(run.result())
        state = replay(await s.log())
        messages = [each for each in state.messages if each.__class__.__name__ != "ToolMessage"]
        target = s.runtime._bindings.chain("openai/one").first
        request = target.request(ModelRequest(instructions="", messages=messages))
    assert [type(each).__name__ for each in request.messages] == [
        "UserMessage", "AssistantMessage", "ToolMessage", "AssistantMessage"
    ]  # fmt: skip


@pytest.mark.requirement("routing:handoff-in-a-session")
async def test_a_picture_reaches_a_model_that_reads_none_as_a_line_that_names_it() -> None:
    prompt = [
        "What is this?",
        Image("image/png", b"\x89PNG1234", "plot.png"),
        Document("text/plain", b"words", "a.txt"),
    ]
    async with scene(["A picture, I am told."]) as s:
        await soon((await s.runtime.start(Agent("openai/o3-mini"), prompt, session="s")).result())
        sent = json.dumps(asked(s.server)[0])
    assert "[image left out, as this model reads none: 'plot.png', image/png, 8 bytes]" in sent
    assert "image_url" not in sent
    assert "words" in sent


async def failed_over(session: str, s: Any) -> None:
    await soon(
        (await s.runtime.start(Agent("openai/first,anthropic/claude-haiku-4-5"), "go", session=session)).result()
    )


@pytest.mark.requirement("routing:told")
async def test_a_session_with_a_seam_comes_back_from_a_file_as_it_was() -> None:
    clock = HastyClock()
    script: Any = {
        "first": [Turn("The beginning ", fault=Reset(after_events=3), chunk=7)],
        "claude-haiku-4-5": lambda asked: Turn("and the rest."),
    }
    async with scene(script, clock=clock, routes=Routes(clock, failover=Failover(tries=1))) as s:
        await failed_over("s", s)
        before = await s.log()
        await s.runtime.load(io.BytesIO(await exported(s.runtime)), name="t")
        log = [each async for each in read_events(s.runtime.journal, stream_id("local", "t"), CODEC)]
    assert of(ModelFailed, log) == of(ModelFailed, before)
    assert of(ModelFailed, log)[0].mode == "continue"
    assert replay(log).messages == replay(before).messages
    assert of(ModelFinished, log)[0].message.text == "The beginning and the rest."


_FAILED = ModelFailed(
    "overloaded", "'openai/gpt-5' is full", True, model="openai/gpt-5", next="anthropic/claude", mode="continue",
    partial=AssistantMessage((Text("The beginning "),), "openai/gpt-5"),
)  # fmt: skip


@pytest.mark.requirement("routing:told")
def test_people_are_told_who_failed_and_who_goes_on() -> None:
    assert onward(_FAILED) == "anthropic/claude goes on where it ended"
    assert (
        onward(ModelFailed("x", "y", True, model="a/b", next="c/d", mode="reset")) == "c/d goes on from the beginning"
    )
    assert onward(ModelFailed("x", "y", True, model="a/b", next="c/d")) == "c/d goes on"
    assert onward(ModelFailed("x", "y", True, model="a/b", next="a/b")) == "tries again"
    assert onward(ModelFailed("x", "y", True)) == "tries again"
    assert onward(ModelFailed("x", "y")) == ""


@pytest.mark.requirement("routing:told")
@pytest.mark.parametrize("late", [False, True])
def test_whoever_watches_sees_the_words_once_and_what_comes_behind_them(late: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    answer = Answer(console)
    if not late:
        answer.feed("The beginning ")
    answer.restart()
    answer.feed("The beginning ")
    answer.feed("and the rest.")
    answer.finish("The beginning and the rest.")
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert shown.count("The beginning and the rest.") == 1
    assert "starts again" not in shown


@pytest.mark.requirement("routing:told")
@pytest.mark.parametrize("late", [False, True])
def test_a_screen_shows_who_goes_on_and_the_words_go_on(late: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    screen = Screen(console)
    if not late:
        screen.see(TextDelta("The beginning "))
    screen.see(event(_FAILED, 1))
    screen.see(TextDelta("and the rest."))
    done = AssistantMessage((Text("The beginning and the rest."),), "anthropic/claude")
    screen.see(event(ModelFinished(done), 2))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert shown.count("The beginning and the rest.") == 1
    assert "is full · anthropic/claude goes on where it ended" in re.sub(r"\x1b\[\d+m", "", shown)


async def test_clocks_of_chains_are_the_runtimes() -> None:
    clock = SystemClock()
    async with scene(["one"], clock=clock) as s:
        assert s.runtime.health is s.runtime._bindings.routes.health
        assert s.runtime.health._clock is clock


@pytest.mark.requirement("routing:told")
def test_the_timeline_of_a_watched_run_keeps_the_words_that_are_gone_on_with() -> None:
    transcript = Transcript()
    transcript.hear(TextDelta("The beginning "))
    transcript.see(Row(event(_FAILED, 1)))
    transcript.hear(TextDelta("and the rest."))
    console = Console(file=io.StringIO(), width=100)
    for block in transcript.blocks():
        console.print(*block._parts)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert shown.count("The beginning and the rest.") == 1
    assert "anthropic/claude goes on where it ended" in shown
