"""An answer dies in its middle, and another model goes on with it, or begins again: nothing twice, nothing torn."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from tests.running import HastyClock, all_answered, of, scene, seen, soon, until

from holdfast import Agent
from holdfast.engine.events import ModelFailed, ModelFinished
from holdfast.engine.folding import replay
from holdfast.models.routing.chain import Failover
from holdfast.models.routing.routes import Routes
from holdfast.models.wire.messages.serving import render_stream
from holdfast.runtime.run import Run, RunResult
from holdfast.runtime.runtime import Runtime
from holdfast.testing.faults import Reset, Status
from holdfast.testing.scripts import Call, ScriptRequest, Tokens, Turn
from holdfast.tools.declaring import tool
from holdfast.types import (
    AssistantMessage,
    CallDelta,
    Delta,
    Event,
    Limits,
    Price,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    Usage,
)

SCRIPT = "claude-haiku-4-5"
SECOND = "anthropic/claude-haiku-4-5"
"""The catalogue says that it takes an answer that has begun."""
CHAIN = f"anthropic/first,{SECOND}"
THOUGHT = "First I look at both places, then I say what is there. "
WORDS = "I look at the two places now, one after the other, and tell you what I find there.  "
CALLS = [Call("look", {"at": "the north door"}), Call("look", {"at": "the south door"})]
END = "Both are open."
USED = Tokens(input_tokens=300, output_tokens=90)
PRICES = {"anthropic/first": Price.per_million(1, 2)}
RAN: list[str] = []


@tool(effect="none")
def look(at: str) -> str:
    """Looks at something."""
    RAN.append(at)
    return f"saw {at}"


def routes(clock: HastyClock) -> Routes:
    return Routes(clock, failover=Failover(bench_after=1_000_000))


def whole(**options: Any) -> Turn:
    return Turn(WORDS, thinking=THOUGHT, calls=CALLS, usage=USED, chunk=7, **options)


def first(asked: ScriptRequest) -> Turn:
    """Says the whole answer, and dies after as many bytes as the prompt says."""
    return Turn(END) if asked.tool_results else whole(fault=Reset(after_bytes=int(asked.last_user_text)))


def second(asked: ScriptRequest) -> Turn:
    """Goes on with an answer that has begun, as a model does that takes one."""
    if asked.tool_results:
        return Turn(END)
    last = asked.messages[-1]
    if isinstance(last, AssistantMessage):
        assert WORDS.startswith(last.text)
        return Turn(WORDS[len(last.text) :], calls=CALLS, usage=USED, chunk=5)
    return whole()


class Reader:
    """Puts together what is said, by the rules."""

    def __init__(self, *, late: bool = False) -> None:
        self.late = late
        self.text = self.thought = ""
        self.torn = False
        self.answers: list[tuple[str, str]] = []
        self.broken: list[tuple[str, str, bool]] = []
        self.resets = 0

    def take(self, item: Event | Delta) -> None:
        match item:
            case TextDelta():
                self.text += item.text
            case ThinkingDelta():
                self.thought += item.text
            case CallDelta():
                self.torn = True
            case Event(data=ModelFailed() as data):
                if data.mode == "continue":
                    words = cast("AssistantMessage", data.partial).text
                    assert self.late or self.text == words  # as they have seen it
                    self.text = words
                else:
                    assert not self.text  # it was taken back before
            case Event(data=ModelFinished()):
                self.answers.append((self.text, self.thought))
                self.text, self.thought, self.torn = "", "", False
            case _ if item.type == "reset":
                self.broken.append((self.text, self.thought, self.torn))
                self.text, self.thought, self.torn, self.resets = "", "", False, self.resets + 1
            case _:
                pass


async def read(run: Run[Any], *, late: bool = False) -> tuple[Reader, RunResult[Any]]:
    reader = Reader(late=late)
    async for item in run.events():
        reader.take(item)
    return reader, await run.result()


def thinking(message: AssistantMessage) -> str:
    return "".join([part.text for part in message.parts if isinstance(part, Thinking)])


def places(length: int) -> Iterator[int]:
    return iter(range(0, length + 1, 1 if os.environ.get("HOLDFAST_CAMPAIGN") else 19))


class Marks:
    """Where in the bytes of the answer things have come."""

    def __init__(self) -> None:
        body = b"".join(render_stream(whole().message("first/first", 0), chunk=7, id="msg-first-0"))
        self.thinking, self.words, self.call, self.whole = (
            body.index(b"\n\n", body.index(sign)) + 2
            for sign in (b'"thinking_delta"', b'"text_delta"', b'"tool_use"', b"event: message_delta")
        )

    def mode(self, k: int) -> str:
        """Returns how the seam has to be when the answer dies after so many bytes; `whole` when there is none."""
        marks = ((self.whole, "whole"), (self.call, "reset"), (self.words, "continue"), (self.thinking, "reset"))
        return next((mode for mark, mode in marks if k >= mark), "")


@pytest.mark.requirement("routing:death-at-every-byte")
async def test_an_answer_may_die_at_any_byte_and_nothing_is_doubled_torn_lost_or_free_of_charge() -> None:
    clock, marks = HastyClock(), Marks()
    agent, modes = Agent(CHAIN, tools=[look]), set[str]()
    async with scene({"first": first, SCRIPT: second}, clock=clock, routes=routes(clock), prices=PRICES,
                     seconds=900) as s:  # fmt: skip
        assert marks.whole > 3_000
        for k in places(marks.whole):
            RAN.clear()
            session = f"at-{k}"
            run = await s.runtime.start(agent, str(k), session=session)
            reader, result = await soon(read(run), 20)
            log = await s.log(session)
            check(k, marks.mode(k), reader, result, log)
            modes.add(marks.mode(k))
    assert modes >= {"", "continue", "reset"}


def check(k: int, mode: str, reader: Reader, result: RunResult[Any], log: list[Event]) -> None:
    failures, finished = of(ModelFailed, log), of(ModelFinished, log)
    assert (result.status, result.output) == ("completed", END), k
    assert sorted(RAN) == ["the north door", "the south door"], k  # each once
    assert [(each.message.text, thinking(each.message)) for each in finished] == reader.answers, k
    assert finished[0].message.text == WORDS, k
    assert all_answered(log), k
    state = replay(log)
    assert state.run is None, k
    tries = {"whole": 0, "continue": 1}.get(mode, 2)  # who can be gone on for is not asked again
    assert [(each.model, each.mode) for each in failures] == [("anthropic/first", mode)] * tries, k
    for failed in failures:
        parts = failed.partial.parts if failed.partial else ()
        assert all(isinstance(each, Text | Thinking) for each in parts), k
        assert (failed.usage is not None and failed.estimated and (failed.cost or 0) > 0) == bool(mode), k
    if mode == "continue":
        assert (failures[0].next, reader.resets) == (SECOND, 0), k
    spent = sum(each.cost or 0 for each in (*failures, *finished))
    assert result.cost == pytest.approx(spent / 1e9), k
    tokens = sum(each.usage.total_tokens for each in failures if each.usage)
    assert result.usage.total_tokens == tokens + sum(each.message.usage.total_tokens for each in finished), k


@pytest.mark.requirement("routing:continue")
async def test_the_next_model_is_sent_the_words_and_its_own_are_put_behind_them() -> None:
    said = "The answer is   forty-two, as everybody knows."
    sent: list[AssistantMessage] = []

    def goes_on(asked: ScriptRequest) -> Turn:
        last = asked.messages[-1]
        assert isinstance(last, AssistantMessage)
        sent.append(last)
        return Turn(said[len(last.text) :], usage=USED)

    dying = Turn("The answer is   ", fault=Reset(after_events=5), chunk=8)
    clock = HastyClock()
    async with scene({"first": [dying], SCRIPT: goes_on}, clock=clock, routes=routes(clock)) as s:
        run = await s.runtime.start(Agent(CHAIN), "go", session="s")
        reader, result = await soon(read(run))
        failed, answer = of(ModelFailed, await s.log())[0], of(ModelFinished, await s.log())[0]
    assert (result.output, reader.answers, reader.resets) == (said, [(said, "")], 0)
    assert sent[0].text == "The answer is"  # a server refuses an end that is blank
    assert (failed.mode, failed.next) == ("continue", SECOND)
    assert failed.partial == AssistantMessage((Text("The answer is   "),), "anthropic/first")
    assert answer.message.usage == Usage(300, 90)  # what the first one used stands with its own failure
    assert not clock.slept


@pytest.mark.requirement("routing:continue")
@pytest.mark.parametrize("options", [{"thinking": "high"}])
async def test_where_the_request_has_no_room_for_an_answer_that_has_begun_it_begins_again(options: Any) -> None:
    dying = Turn("The answer", fault=Reset(after_events=5), chunk=5)
    clock = HastyClock()
    async with scene({"first": [dying], SCRIPT: ["Mine."]}, clock=clock, routes=routes(clock)) as s:
        run = await s.runtime.start(Agent(CHAIN, **options), "go", session="s")
        reader, result = await soon(read(run))
        failures = of(ModelFailed, await s.log())
    assert (result.output, [each.mode for each in failures]) == ("Mine.", ["reset", "reset"])
    assert reader.answers == [("Mine.", "")]


@pytest.mark.requirement("routing:continue")
async def test_an_answer_that_is_whole_where_it_broke_off_needs_no_more_words() -> None:
    dying = Turn("All is said.", fault=Reset(after_events=5), chunk=50)
    clock = HastyClock()
    script: Any = {"first": [dying], SCRIPT: lambda asked: Turn("", usage=USED)}
    async with scene(script, clock=clock, routes=routes(clock)) as s:
        reader, result = await soon(read(await s.runtime.start(Agent(CHAIN), "go", session="s")))
    assert (result.status, result.output, reader.answers) == ("completed", "All is said.", [("All is said.", "")])


@pytest.mark.requirement("routing:continue")
async def test_who_goes_on_may_fail_too_and_what_was_said_is_gone_on_with_or_taken_back() -> None:
    dying = Turn("One two ", fault=Reset(after_events=5), chunk=4)
    clock = HastyClock()

    def third(asked: ScriptRequest) -> Turn:
        last = asked.messages[-1]
        return Turn("done") if isinstance(last, AssistantMessage) else Turn("from the beginning")

    script: Any = {"first": [dying], SCRIPT: [Turn("x", fault=Status(status=503))] * 2, "third": third}
    async with scene(script, clock=clock, routes=routes(clock)) as s:
        run = await s.runtime.start(Agent(f"{CHAIN},openai/third"), "go", session="s")
        reader, result = await soon(read(run))
        failures = of(ModelFailed, await s.log())
    assert [(each.model, each.mode) for each in failures] == [
        ("anthropic/first", "continue"), (SECOND, "continue"), (SECOND, "reset")
    ]  # fmt: skip
    assert {cast("AssistantMessage", each.partial).model for each in failures} == {"anthropic/first"}
    assert (result.output, reader.answers, reader.resets) == ("from the beginning", [("from the beginning", "")], 1)


@pytest.mark.requirement("routing:continue")
async def test_who_joins_late_reads_the_words_in_the_log_and_what_comes_after_them_live() -> None:
    gate = asyncio.Event()

    async def slow(asked: ScriptRequest) -> Turn:
        await gate.wait()
        return Turn("and the rest.")

    dying = Turn("The beginning ", fault=Reset(after_events=5), chunk=7)
    clock = HastyClock()
    script: Any = {"first": [dying], SCRIPT: slow}
    async with scene(script, clock=clock, routes=routes(clock)) as s:
        run = await s.runtime.start(Agent(CHAIN), "go", session="s")
        await s.server.arrived(1)
        await soon(seen(run, "model.failed"))
        late = await s.runtime.resume("s")
        text = ""
        async with contextlib.aclosing(cast("AsyncGenerator[Any, None]", late.events())) as events:
            async for item in events:
                match item:
                    case Event(data=ModelFailed(mode="continue", partial=AssistantMessage() as partial)):
                        text = partial.text
                        gate.set()
                    case TextDelta():
                        text += item.text
                    case Event(data=ModelFinished() as data):
                        assert text == data.message.text == "The beginning and the rest."
                    case _:
                        pass
        await soon(run.result())


@pytest.mark.requirement("routing:seam-survives")
async def test_a_process_that_dies_at_the_seam_loses_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    dying = Turn("The beginning ", fault=Reset(after_events=5), chunk=7, usage=USED)
    asked: list[ScriptRequest] = []
    gate = asyncio.Event()

    async def second(request: ScriptRequest) -> Turn:
        asked.append(request)
        if len(asked) == 1:
            await gate.wait()  # the first process never hears of it
        return Turn("and the rest.", usage=USED)

    clock = HastyClock()
    script: Any = {"first": [dying], SCRIPT: second}
    async with scene(script, clock=clock, routes=routes(clock), url=url) as s:
        run = await s.runtime.start(Agent(CHAIN), "go", session="s", limits=Limits(tokens=100_000))
        await until(lambda: bool(asked))
        before = await s.log()
        await s.runtime._worker.close()  # no farewell: as if it had been killed, but for the connection
        with contextlib.suppress(Exception):
            await soon(run.result(), 1)
        gate.set()
        async with s.other() as other:
            again = await other.resume("s")
            result = await soon(again.result())
        log = await s.log()
    assert log[: len(before)] == before
    failures, answer = of(ModelFailed, log), of(ModelFinished, log)[0]
    assert (result.output, answer.message.text) == ("The beginning and the rest.",) * 2
    assert failures[0].mode == "continue"
    assert [len(each.messages) for each in asked] == [2, 2]
    assert isinstance(asked[1].messages[-1], AssistantMessage)


@pytest.mark.requirement("routing:seam-survives")
async def test_who_goes_on_after_a_crash_with_other_models_begins_the_answer_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    dying = Turn("The beginning ", fault=Reset(after_events=5), chunk=7)
    begun, gate, clock = asyncio.Event(), asyncio.Event(), HastyClock()

    async def never(asked: ScriptRequest) -> Turn:
        begun.set()
        await gate.wait()
        return Turn("nobody hears this")

    script: Any = {"first": [dying], SCRIPT: never, "other": ["All of it."]}
    mine = Routes(clock, aliases={"smart": CHAIN}, failover=Failover(bench_after=1_000_000))
    async with scene(script, clock=clock, routes=mine, url=url) as s:
        run = await s.runtime.start(Agent("smart"), "go", session="s", limits=Limits(tokens=100_000))
        await soon(begun.wait())
        await s.runtime._worker.close()
        with contextlib.suppress(Exception):
            await soon(run.result(), 1)
        gate.set()
        async with Runtime.open(url, clock=clock, aliases={"smart": "openai/other"}) as other:
            reader, result = await soon(read(await other.resume("s"), late=True))
    assert (result.output, reader.answers[-1][0]) == ("All of it.", "All of it.")
    assert list(result.models) == ["anthropic/first", SECOND, "openai/other"]
