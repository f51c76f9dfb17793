"""Whatever a model asks for and whatever happens meanwhile: each call has one result, and the conversation is sound."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.running import MODEL, Scene, all_answered, asked, of, paired, scene, soon, until

from holdfast import Agent, Effect, Runtime, ToolContext, Wait, tool
from holdfast.engine.events import RunFinished, RunStarted, ToolWaiting, WaitResolved
from holdfast.runtime.run import Run
from holdfast.testing import Call, Turn
from holdfast.testing.scripts import ScriptRequest
from holdfast.types import Event, stream_id

STREAM = stream_id("local", "s")


@dataclass
class Gate:
    """Where slow calls wait for the test, and what they did."""

    waiting: list[asyncio.Event] = field(default_factory=list[asyncio.Event])
    paid: list[str] = field(default_factory=list[str])

    def open(self) -> None:
        for each in self.waiting:
            each.set()
        self.waiting.clear()


GATE = [Gate()]


@tool(effect="none")
async def fine() -> str:
    """Works."""
    return "fine"


@tool(effect="none")
async def fails() -> str:
    """Fails."""
    raise ValueError("as always")


@tool(effect="none")
async def rude() -> str:
    """Ends as if it were cancelled."""
    raise asyncio.CancelledError


async def _slowly(context: ToolContext) -> str:
    go = asyncio.Event()
    GATE[0].waiting.append(go)
    try:
        await go.wait()
    finally:
        if go in GATE[0].waiting:
            GATE[0].waiting.remove(go)
    GATE[0].paid.append(context.key)
    return "slowly"


@tool(effect="none")
async def slow(context: ToolContext) -> str:
    """Takes its time."""
    return await _slowly(context)


@tool
async def pay(context: ToolContext) -> str:
    """Takes its time, and must not happen twice."""
    return await _slowly(context)


@tool(effect=Effect(workspace=True, outside="none"))
async def write(context: ToolContext) -> str:
    """Takes its time, one after another."""
    return await _slowly(context)


@tool
async def asks(context: ToolContext) -> Wait:
    """Asks somebody."""
    return Wait(context.key)


AGENT = Agent(MODEL, tools=[fine, fails, rude, slow, pay, write, asks])
NAMES = ["fine", "fails", "rude", "slow", "pay", "write", "asks", "nobody"]
CALLS = st.builds(
    Call, st.sampled_from(NAMES), st.sampled_from(["{}", "", "{", '{"x": 1}', "{},", "[]"]) | st.just("{}")
)
TURNS = st.builds(Turn, st.sampled_from(["", "Hm."]), st.lists(CALLS, min_size=1, max_size=4))
ACTS = st.sampled_from(["go", "go", "go", "abort", "steer", "follow up", "stop", "prompt"])


class Play:
    """One run of one script, to which things happen whenever it waits for somebody."""

    def __init__(self, s: Scene, acts: Sequence[str]) -> None:
        self.s, self.acts, self.runtime = s, list(acts), s.runtime
        self.prompts: list[Run] = []

    async def run(self) -> None:
        self.prompts.append(await self.runtime.start(AGENT, "go", session="s"))
        while not await self._over():
            await self._act(self.acts.pop(0) if self.acts else "go")

    async def _act(self, act: str) -> None:
        run = self.prompts[-1]
        match act:
            case "abort":
                await run.abort("enough")
            case "steer":
                await run.steer("look here")
            case "follow up":
                await run.follow_up("and then")
            case "prompt":
                self.prompts.append(await self.runtime.start(AGENT, "another", session="s"))
            case "stop":
                await self.runtime.close()  # a store in memory stays open
                self.runtime = self.s.runtime = Runtime(self.s.runtime.journal, self.s.clock)
                self.prompts = [self.runtime.run("s", each.key) for each in self.prompts]
                await self.runtime.resume("s", AGENT)
            case _:
                GATE[0].open()
                for token in await self._tokens():
                    await run.answer(token, "answered")

    async def _tokens(self) -> list[str]:
        log = await self.s.log()
        resolved = {each.token for each in of(WaitResolved, log)}
        return [each.wait.token for each in of(ToolWaiting, log) if each.wait.token not in resolved]

    async def _over(self) -> bool:
        """Lets everything go on until it is over, or waits for somebody."""
        over = False

        def quiet() -> bool:
            nonlocal over
            head = self.s.runtime.journal._streams[STREAM].head  # type: ignore[attr-defined]
            over = head.state == "idle" and head.owner is None and not head.unread
            return over or bool(GATE[0].waiting) or (head.state == "waiting" and not head.unread)

        for _ in range(30):
            await asyncio.sleep(0)
        await until(quiet, "it neither ends nor waits", 2)
        return over


def sound(log: list[Event]) -> None:
    assert [event.seq for event in log] == list(range(1, len(log) + 1))
    assert all_answered(log)
    started, ended = of(RunStarted, log), of(RunFinished, log)
    assert len(started) == len(ended)
    assert len({msgspec.json.encode(each) for each in started}) == len(started)


@pytest.mark.requirement("engine:every-call-one-result", "engine:run-finished-once", "context:request-history-pairs")
@pytest.mark.requirement("context:aborted-turn-kept")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
@given(turns=st.lists(TURNS, max_size=4), acts=st.lists(ACTS, max_size=8))
def test_each_call_has_exactly_one_result_whatever_happens(turns: list[Turn], acts: list[str]) -> None:
    def model(request: ScriptRequest) -> Turn | str:
        over = request.last_user_text == "more" or request.answers >= len(turns)
        return "done" if over else turns[request.answers]

    async def play() -> None:
        GATE[0] = Gate()
        async with scene(model) as s:
            played = Play(s, acts)
            await soon(played.run(), 4)
            for prompt in played.prompts:
                assert (await soon(prompt.result())).status in ("completed", "aborted", "limited")
            log = await s.log()
            assert (await soon((await played.runtime.start(AGENT, "more", session="s")).result())).status == "completed"
            assert all(paired(messages) for messages in asked(s.server))
            await played.runtime.close()
        sound(log)
        keys = [key for key in GATE[0].paid if _name_of(log, key) == "pay"]
        assert len(set(keys)) == len(keys), "what must not happen twice did not"

    asyncio.run(play())


def _name_of(log: list[Event], key: str) -> str:
    """Returns which tool a call's key belongs to."""
    turn, _, id = key.removeprefix("local/s/").partition("/")[2].partition("/")
    message = log[int(turn) - 1].data.message  # type: ignore[attr-defined]
    return next(call.name for call in message.calls if call.id == id)
