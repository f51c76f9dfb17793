"""Fork and rewind: going on from any earlier point, beside the original or in its place."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, Scene, all_answered, asked, of, paired, scene, seen, soon, until

from holdfast import Agent, Wait, tool
from holdfast.engine.events import Forked, InputReceived, ModelFinished, RunFinished, ToolFinished
from holdfast.engine.folding import replay
from holdfast.errors import LeaseHeld, UsageError
from holdfast.journal.port import Letter
from holdfast.testing import Call, Turn
from holdfast.testing.scripts import ScriptRequest
from holdfast.types import stream_id

RAN: list[str] = []


@tool
async def pay(amount: int) -> str:
    """Pays."""
    RAN.append(f"paid {amount}")
    return f"paid {amount}"


@tool
async def ask() -> Wait:
    """Asks somebody."""
    return Wait("t")


AGENT = Agent(MODEL, tools=[pay, ask])


@pytest.fixture(autouse=True)
def fresh() -> None:
    RAN.clear()


def model(request: ScriptRequest) -> Turn | str:
    """Pays twice, then answers; answers every other prompt at once."""
    if request.last_user_text != "go":
        return f"answer to {request.last_user_text}"
    done = request.tool_results
    return Turn(calls=[Call("pay", {"amount": done + n}) for n in (1, 2)]) if done < 4 else "paid all"


def asking(request: ScriptRequest) -> Turn | str:
    """Asks somebody when it is told to go, and answers every other prompt at once."""
    if request.last_user_text == "go" and not request.tool_results:
        return Turn(calls=[Call("ask")])
    return f"answer to {request.last_user_text}"


def store(kind: str, folder: Path) -> str:
    return "memory:" if kind == "memory" else f"sqlite:///{folder}/s.db"


def said(s: Scene) -> list[Any]:
    return [message["content"] for message in asked(s.server)[-1] if message["role"] == "user"]


@pytest.mark.requirement("runtime:fork-call", "engine:fork-voids-open-calls", "context:request-history-pairs")
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_branch_from_every_event_goes_on_and_leaves_the_original_as_it_was(kind: str, tmp_path: Path) -> None:
    async with scene(model, url=store(kind, tmp_path), seconds=30) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        assert (await soon(run.result())).output == "paid all"
        log = await s.log()
        head = await s.runtime.journal.head(stream_id("local", "s"))
        paid = list(RAN)
        for at in range(1, len(log) + 1):
            child = await s.runtime.fork("s", at=at, name=f"child-{at}")
            result = await soon((await s.runtime.start(AGENT, "and now?", session=child)).result())
            assert (result.status, result.output) == ("completed", "answer to and now?")
            assert paired(asked(s.server)[-1])
            branch = await s.log(child)
            assert branch[:at] == log[:at]
            assert isinstance(branch[at].data, Forked)
            assert of(RunFinished, branch[at:])[-1].status == "completed"
            left = str(replay(branch[: at + 1]).messages).count("Not in this branch")
            wanted = sum(len(each.message.calls) for each in of(ModelFinished, log[:at]))
            assert left == wanted - len(of(ToolFinished, log[:at]))
        assert await s.log() == log
        assert await s.runtime.journal.head(stream_id("local", "s")) == head
        assert paid == RAN, "nothing was paid again"


async def test_a_branch_of_a_running_session_goes_on_beside_it() -> None:
    async with scene(asking) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(seen(run, "tool.waiting"))
        await run.follow_up("for the original only")
        await soon(seen(run, "input.received", 2))
        child = await s.runtime.fork("s")
        second = await s.runtime.start(AGENT, "and now?", session=child)
        assert (await soon(second.result())).output == "answer to and now?"
        assert said(s) == ["go", "and now?"], "the queue stayed with the original"
        result = [each["content"] for each in asked(s.server)[-1] if each["role"] == "tool"]
        assert result == ["Not in this branch: the call was open when this branch was made."]
        left = await soon(s.runtime.run(child, run.key).result())
        assert (left.status, left.reason, left.steps) == ("aborted", "left for another branch", 1)
        await s.runtime.run(child, "x").answer("t", "to the child")
        await run.answer("t", "blue")
        assert (await soon(run.result())).output == "answer to for the original only"
        assert all_answered(await s.log())


async def test_a_resumed_branch_of_an_open_run_has_nothing_to_go_on_with() -> None:
    async with scene(asking) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(seen(run, "tool.waiting"))
        child = await s.runtime.fork("s")
        result = await soon((await s.runtime.resume(child)).result())
        assert (result.status, result.reason) == ("aborted", "left for another branch")
        assert len(s.server.requests) == 1


@pytest.mark.requirement("journal:fork-beyond-the-end")
async def test_a_branch_from_nowhere_or_onto_another_session_is_refused() -> None:
    async with scene(model) as s:
        await soon((await s.runtime.start(AGENT, "hello", session="s")).result())
        for at in (0, 5, 99, -1):
            with pytest.raises(UsageError, match=f"no event {at}"):
                await s.runtime.fork("s", at=at)
        with pytest.raises(UsageError, match="exists already"):
            await s.runtime.fork("s", name="s")
        deep = "s"
        for _ in range(20):
            deep = await s.runtime.fork(deep)
        assert (await soon((await s.runtime.start(AGENT, "deep", session=deep)).result())).output == "answer to deep"
        assert said(s) == ["hello", "deep"]


@pytest.mark.requirement("journal:rewind-event")
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_rewind_to_every_event_goes_on_from_there_and_keeps_the_log(kind: str, tmp_path: Path) -> None:
    async with scene(model, url=store(kind, tmp_path), seconds=30) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        length = len(await s.log())
        paid = list(RAN)
        for to in range(length, -1, -1):
            before = await s.log()
            await s.runtime.rewind("s", to=to)
            run = await s.runtime.start(AGENT, f"from {to}", session="s")
            result = await soon(run.result())
            assert (result.status, result.output) == ("completed", f"answer to from {to}")
            assert paired(asked(s.server)[-1])
            assert said(s) == (["go", f"from {to}"] if to >= 2 else [f"from {to}"])
            log = await s.log()
            assert log[: len(before)] == before
            assert log[len(before)].type == "session.rewound"
        assert paid == RAN


async def test_rewinding_a_run_that_waits_ends_it_and_what_was_said_to_it_goes_with_it() -> None:
    async with scene(asking) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(seen(run, "tool.waiting"))
        await until(lambda: not s.runtime._worker._live)
        waiting = asyncio.create_task(run.result())
        await s.runtime.rewind("s", to=0)
        result = await soon(waiting)
        assert (result.status, result.reason) == ("aborted", "left for another branch")
        await run.answer("t", "blue")
        second = await s.runtime.start(AGENT, "anew", session="s")
        assert (await soon(second.result())).output == "answer to anew"
        assert said(s) == ["anew"]


async def test_a_prompt_nobody_had_read_goes_with_the_part_that_is_rewound_and_its_sender_hears_of_it() -> None:
    async with scene(model) as s:
        await soon((await s.runtime.start(AGENT, "hello", session="s")).result())
        # it reached the store, and nobody took it up
        body = b'{"message":{"type":"user","parts":[{"type":"text","text":"lost"}]}}'
        await s.runtime.journal.post(stream_id("local", "s"), Letter(key="k", kind="prompt", body=body))
        await s.runtime.rewind("s", to=4)
        assert (await soon(s.runtime.run("s", "k").result())).status == "aborted"
        assert [each.message.text for each in of(InputReceived, await s.log())] == ["hello", "lost"]
        assert (await soon((await s.runtime.start(AGENT, "on", session="s")).result())).output == "answer to on"
        assert said(s) == ["hello", "on"]


async def test_a_session_in_which_a_run_goes_on_is_not_rewound() -> None:
    async with scene([Turn(calls=[Call("pay", {"amount": 1})], delay=0.05), "done"]) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        with pytest.raises(LeaseHeld):
            await s.runtime.rewind("s", to=1)
        assert (await soon(run.result())).output == "done"
        with pytest.raises(UsageError, match=r"no event 99: name one from 0 to 7"):
            await s.runtime.rewind("s", to=99)
        assert (await soon((await s.runtime.resume("s")).result())).output == "done", "the lease was given back"


@pytest.mark.requirement("runtime:rewind-taken-back")
async def test_a_rewind_is_taken_back_by_one_to_an_event_that_it_left(tmp_path: Path) -> None:
    async with scene(lambda request: f"answer {request.answers}", url=f"sqlite:///{tmp_path}/s.db") as s:
        for number in range(3):
            await soon((await s.runtime.start(AGENT, f"prompt {number}", session="s")).result())
        log = await s.log()
        ends = [event.seq for event in log if event.type == "run.finished"]
        await s.runtime.rewind("s", to=ends[0])
        await soon((await s.runtime.start(AGENT, "another way", session="s")).result())
        await s.runtime.rewind("s", to=ends[1])
        await soon((await s.runtime.start(AGENT, "and on", session="s")).result())
        said = [message["content"] for message in asked(s.server)[-1] if message["role"] == "user"]
    assert said == ["prompt 0", "prompt 1", "and on"]
