"""A child that has an answer for a parent whose inbox is full: it waits longer each time, and loses nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.running import Scene, Wrapped, asked, scene, soon, until

from holdfast import Agent, Runtime, tool
from holdfast.flow.ids import new_key
from holdfast.journal.port import INBOX_LIMIT, URGENT_LIMIT, Journal, Letter, Posted
from holdfast.runtime.run import Run
from holdfast.testing import Call, Turn
from holdfast.testing.clock import FakeClock
from holdfast.types import StreamId, stream_id

GATES: list[asyncio.Event] = []
"""Set when the parent's tool has begun, when it may end, and when the child may."""
PARENT = stream_id("local", "s")


@tool(effect="none", name="wait")
async def wait() -> str:
    """Waits until it may go on."""
    GATES[0].set()
    await GATES[1].wait()
    return "over"


HELPER = Agent("openai/helper", name="helper")
LEADER = Agent("openai/leader", tools=[HELPER.as_tool("help"), wait])


async def fill(journal: Journal, stream: StreamId, most: int) -> None:
    """Leaves no room in an inbox that holds so many letters."""
    for _ in range(most):
        letter = Letter(key=new_key(), kind="abort", body=b'{"run":"another"}', actor="somebody", urgent=True)
        head = await journal.head(stream)
        assert head is not None
        if head.inbox_seq - head.inbox_taken < most:
            await journal.post(stream, letter)


class Counting(Wrapped):
    """Counts how often somebody tries to tell a parent what its child came to, and how often there was no room."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.tries: list[str] = []
        self.crowded = False
        """Whether the parent's inbox is filled up again whenever its child has something to tell it."""

    async def post(self, stream: StreamId, letter: Letter, **given: Any) -> Posted:
        if self.crowded and letter.key.startswith("told:"):
            await fill(self.inner, stream, INBOX_LIMIT)
        posted = await self.inner.post(stream, letter, **given)
        if letter.key.startswith("told:"):
            self.tries.append(posted.status)
        if self.crowded and letter.key.startswith("abort:"):
            self.crowded = posted.status == "full"
        return posted


async def helped(_: object) -> Turn:
    await GATES[2].wait()
    return Turn(text="helped")


SCRIPT: dict[str, Any] = {"leader": [Turn(calls=[Call("help", {"prompt": "go"}), Call("wait")]), "done"]}
SCRIPT["helper"] = helped


async def refused(s: Scene, journal: Counting) -> Run:
    """Starts a parent that reads nothing, and returns once its child was told that there is no room."""
    GATES[:] = [asyncio.Event() for _ in range(3)]
    run = await s.runtime.start(LEADER, "go", session="s")
    await soon(GATES[0].wait())
    await fill(journal.inner, PARENT, INBOX_LIMIT)
    GATES[2].set()
    await until(lambda: journal.tries == ["full"])
    return run


@pytest.mark.requirement("engine:full-inbox-retries-grow")
async def test_a_child_whose_parent_has_no_room_tries_ever_more_rarely_and_is_heard_when_there_is() -> None:
    clock, journals = FakeClock(), list[Counting]()

    def wrapped(inner: Any) -> Counting:
        journals.append(Counting(inner))
        return journals[0]

    async with scene(SCRIPT, clock=clock, wrap=wrapped) as s:
        run = await refused(s, journals[0])
        await clock.advance(600)
        assert 10 < len(journals[0].tries) < 20
        assert set(journals[0].tries) == {"full"}
        GATES[1].set()
        await until(lambda: clock.waiting > 0)
        ended = asyncio.create_task(run.result())
        await clock.advance(61)
        result = await soon(ended)
        assert result.status == "completed"
        assert [each["content"] for each in asked(s.server)[-1] if each["role"] == "tool"] == ["helped", "over"]
        assert journals[0].tries.count("accepted") == 1


@pytest.mark.requirement("engine:full-inbox-retries-grow")
async def test_a_child_that_was_stopped_while_its_parent_had_no_room_tells_it_when_somebody_goes_on(
    tmp_path: Path,
) -> None:
    clock, journals = FakeClock(), list[Counting]()

    def wrapped(inner: Any) -> Counting:
        journals.append(Counting(inner))
        return journals[0]

    async with scene(SCRIPT, url=f"sqlite:///{tmp_path}/s.db", clock=clock, wrap=wrapped) as s:
        run = await refused(s, journals[0])
        await clock.advance(100)
        await s.runtime.close()
        GATES[1].set()
        async with Runtime.open(s.url, clock=clock, sandbox="none") as other:
            await other.resume("s", LEADER)
            ended = asyncio.create_task(other.run("s", run.key).result())

            async def go_by() -> None:
                while not ended.done():  # whoever tries again may only then begin to wait
                    await clock.advance(61)

            await soon(go_by(), 20)
            assert ended.result().status == "completed"
        assert [each["content"] for each in asked(s.server)[-1] if each["role"] == "tool"] == ["helped", "over"]
        assert set(journals[0].tries) == {"full"}


@pytest.mark.requirement("engine:full-inboxes-let-go")
async def test_a_parent_and_a_child_that_have_no_room_for_each_other_both_come_to_an_end() -> None:
    clock, journals = FakeClock(), list[Counting]()

    def wrapped(inner: Any) -> Counting:
        journals.append(Counting(inner))
        return journals[0]

    async with scene(SCRIPT, clock=clock, wrap=wrapped) as s:
        run = await refused(s, journals[0])
        state = s.runtime._worker.state(PARENT)
        assert state is not None
        (journal,), (child,) = journals, state.awaited
        await fill(journal.inner, stream_id("local", child), INBOX_LIMIT + URGENT_LIMIT)
        journal.crowded = True
        await run.abort()
        ended = asyncio.create_task(run.result())
        await clock.advance(200)
        assert (await soon(ended)).status == "aborted"
        assert not journal.crowded
