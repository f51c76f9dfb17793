"""What is said to a pipeline whose phase has no room for it, or is over: it is heard, and it stops nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.running import Scene, Wrapped, asked, of, scene, soon, until

from holdfast import Agent, Limits, tool
from holdfast.engine.events import InputApplied, InputDropped, PhaseStarted
from holdfast.engine.letters import Prompt
from holdfast.journal.port import INBOX_LIMIT, Letter, Posted
from holdfast.runtime.pipelines import Phase, Pipeline
from holdfast.runtime.run import Run
from holdfast.testing import Call, Turn
from holdfast.testing.clock import FakeClock
from holdfast.types import Payload, StreamId, Text, UserMessage, stream_id

GATES: list[asyncio.Event] = []
"""When the calls of this test may end, in their order."""
BEGUN: list[int] = []
MANY = INBOX_LIMIT + 6


@tool(effect="none")
async def think() -> str:
    """Takes its time."""
    BEGUN.append(1)
    await GATES[len(BEGUN) - 1].wait()
    return "thought"


@pytest.fixture(autouse=True)
def fresh() -> None:
    GATES[:] = [asyncio.Event(), asyncio.Event()]
    BEGUN.clear()


SCOUT = Agent("openai/scout", name="scout", tools=[think], limits=Limits(model_retries=0))
WRITER = Agent("openai/writer", name="writer", limits=Limits(model_retries=0))
FACTS = Phase("facts", SCOUT, "Find: {query}")
ONE = Pipeline([FACTS], limits=Limits(seconds=100))
TEXT = Phase("text", WRITER, "Write on {facts}")
THINKS = Turn(calls=[Call("think")])


async def writes(_: object) -> Turn:
    await GATES[0].wait()
    return Turn(text="Text.")


def words(s: Scene) -> list[str]:
    """Returns what people said in the last request."""
    return [each["content"] for each in asked(s.server)[-1] if each["role"] == "user"]


async def written(s: Scene, kind: type[Payload], times: int = 1, session: str = "s") -> None:
    """Returns when the log of a session holds so many events of a kind."""
    while True:
        if len(of(kind, await s.log(session))) >= times:
            return
        await asyncio.sleep(0)


async def full(s: Scene, stream: StreamId) -> None:
    """Returns when a session has no room for more."""
    while True:
        head = await s.runtime.journal.head(stream)
        if head is not None and head.inbox_seq - head.inbox_taken == INBOX_LIMIT:
            return
        await asyncio.sleep(0)


async def overheard(s: Scene) -> Run:
    """Returns a run whose phase makes a call and has no more room for what is said."""
    run = await s.runtime.start(ONE, "the sky", session="s")
    await until(lambda: bool(BEGUN))
    for number in range(MANY):
        await soon((await run.steer(f"w{number}")).committed())
    child = stream_id("local", of(PhaseStarted, await s.log())[0].wait.subject)
    await soon(full(s, child))
    return run


@pytest.mark.requirement("engine:full-inboxes-let-go")
@pytest.mark.parametrize("how", ["abort", "exit", "seconds"])
async def test_a_pipeline_whose_phase_has_no_room_is_stopped_all_the_same(how: str) -> None:
    clock = FakeClock()
    async with scene({"scout": [THINKS, *["over"] * 9]}, clock=clock) as s:
        run = await overheard(s)
        if how == "seconds":
            await clock.advance(101)
        else:
            await (run.abort("enough") if how == "abort" else run.exit("enough"))
        result = await soon(run.result())
    assert (result.status, result.reason) == (("limited", "seconds") if how == "seconds" else ("aborted", "enough"))


@pytest.mark.requirement("engine:pipeline-heard")
async def test_what_a_phase_had_no_room_for_it_hears_when_it_has_read_the_rest() -> None:
    clock = FakeClock()
    async with scene({"scout": [THINKS, THINKS, "over"]}, clock=clock) as s:
        run = await overheard(s)
        GATES[0].set()
        await until(lambda: len(BEGUN) == 2)
        assert 1 < len(words(s)) < 1 + MANY
        await clock.advance(6)
        await soon(written(s, InputApplied, MANY))
        GATES[1].set()
        assert (await soon(run.result())).status == "completed"
        assert words(s) == ["Find: the sky", *[f"w{number}" for number in range(MANY)]]


class Late(Wrapped):
    """Holds back the first word of a child that its run is over."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.over, self.go = asyncio.Event(), asyncio.Event()

    async def post(self, stream: StreamId, letter: Letter, **given: Any) -> Posted:
        if letter.key.startswith("told:") and not self.over.is_set():
            self.over.set()
            await self.go.wait()
        return await self.inner.post(stream, letter, **given)


@pytest.mark.requirement("engine:pipeline-heard")
@pytest.mark.parametrize("store", ["memory:", "sqlite"])
async def test_a_follow_up_that_comes_when_the_last_phase_is_over_opens_the_next_run(
    store: str, tmp_path: Path
) -> None:
    journals = list[Late]()

    def wrapped(inner: Any) -> Late:
        journals.append(Late(inner))
        return journals[-1]

    url = store if store == "memory:" else f"sqlite:///{tmp_path}/s.db"
    async with scene({"scout": ["It is grey.", "Grey."]}, url=url, wrap=wrapped) as s:
        run = await s.runtime.start(ONE, "the sky", session="s")
        await soon(journals[0].over.wait())
        await soon((await run.follow_up("Now shorter.")).committed())
        await soon(written(s, InputApplied))
        journals[0].go.set()
        assert (await soon(run.result())).output == "It is grey."
        await until(lambda: len(asked(s.server)) == 2)
        assert words(s) == ["Find: Now shorter."]


@pytest.mark.requirement("engine:pipeline-heard")
async def test_words_for_one_run_of_a_pipeline_only_do_not_come_back_from_its_phase() -> None:
    journals = list[Late]()

    def wrapped(inner: Any) -> Late:
        journals.append(Late(inner))
        return journals[-1]

    async with scene({"scout": ["It is grey.", "Grey."]}, wrap=wrapped) as s:
        run = await s.runtime.start(ONE, "the sky", session="s")
        await soon(journals[0].over.wait())
        body = msgspec.json.encode(Prompt(UserMessage((Text("Hurry."),)), run=run.key))
        await s.runtime.journal.post(stream_id("local", "s"), Letter(key="k", kind="steer", body=body, actor="a guard"))
        await s.runtime.sweep()
        await soon(written(s, InputApplied))
        child = of(PhaseStarted, await s.log())[0].wait.subject
        journals[0].go.set()
        assert (await soon(run.result())).output == "It is grey."
        await soon(written(s, InputDropped, session=child))
        head = await s.runtime.journal.head(stream_id("local", "s"))
        assert head is not None
        assert head.inbox_seq == 3, "the prompt, what was said, and what the phase came to"


@pytest.mark.requirement("engine:pipeline-heard")
@pytest.mark.parametrize("nested", [False, True])
async def test_a_steer_that_comes_when_its_phase_is_over_the_next_one_hears(nested: bool) -> None:
    journals = list[Late]()

    def wrapped(inner: Any) -> Late:
        journals.append(Late(inner))
        return journals[-1]

    first = Phase("facts", Pipeline([FACTS], name="inner")) if nested else FACTS
    async with scene({"scout": ["It is grey."], "writer": writes}, wrap=wrapped) as s:
        run = await s.runtime.start(Pipeline([first, TEXT]), "the sky", session="s")
        await soon(journals[0].over.wait())
        await soon((await run.steer("It is raining.")).committed())
        await soon(written(s, InputApplied))
        journals[0].go.set()
        await soon(written(s, InputApplied, 2))
        GATES[0].set()
        assert (await soon(run.result())).output == "Text."
        assert words(s) == ["Write on It is grey.", "It is raining."]
        assert (await s.kinds()).count("run.finished") == 1
