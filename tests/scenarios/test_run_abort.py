"""Ending a run on request, and what that leaves: an abort, a stopped process, a cancelled caller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, Scene, Wrapped, all_answered, asked, of, paired, scene, seen, soon, until

from holdfast import Agent, Effect, tool
from holdfast.engine.events import AbortRequested, ModelFailed, RunFinished, ToolFinished, ToolStarted
from holdfast.errors import UsageError
from holdfast.runtime.run import Run
from holdfast.testing import Call, Turn
from holdfast.testing.faults import Drip, Hang, Status
from holdfast.types import Event, TextDelta

BEGAN: list[str] = []
ENDED: list[str] = []
FINISHED: list[str] = []


@tool
async def linger(name: str) -> str:
    """Takes for ever."""
    BEGAN.append(name)
    try:
        await asyncio.Event().wait()
        FINISHED.append(name)
    finally:
        ENDED.append(name)
    return ""


@tool(effect=Effect(workspace=True))
async def change(name: str) -> str:
    """Changes something, for ever."""
    return await linger(name)


@tool(effect="none")
async def quick() -> str:
    """Is over at once."""
    return "quick"


@tool(effect="none")
def stubborn() -> str:
    """Runs in a thread and does not hear of anything."""
    BEGAN.append("stubborn")
    time.sleep(0.2)
    return "late"


AGENT = Agent(MODEL, tools=[linger, quick, stubborn, change])


@pytest.fixture(autouse=True)
def fresh() -> None:
    for each in (BEGAN, ENDED, FINISHED):
        each.clear()


async def canceled(s: Scene, run: Run, before: int) -> list[Event]:
    """Returns the log of a run that was just asked to end, once it did so: quickly, and without asking again."""
    result = await soon(run.result(), 1)
    assert (result.status, result.reason) == ("aborted", "enough")
    log = await s.log()
    assert len(s.server.requests) == before
    assert all_answered(log)
    assert len(of(RunFinished, log)) == 1
    return log


@pytest.mark.requirement("engine:abort-model-call")
@pytest.mark.parametrize("fault", [Hang(), Hang(after_events=2), Drip(seconds=0.5), Status(status=503, retry_after=30)])
@pytest.mark.parametrize("url", ["memory:", "sqlite"])
async def test_an_abort_during_a_model_call_ends_it_at_once_and_no_other_call_follows(
    fault: Any, url: str, tmp_path: Path
) -> None:
    async with scene([Turn("never said", fault=fault)], url=_url(url, tmp_path)) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(s.server.arrived(1))
        if isinstance(fault, Status):
            await soon(seen(run, "model.failed"))
        posted = await run.abort("enough")
        assert posted.status == "accepted"
        log = await canceled(s, run, before=1)
    codes = [failed.code for failed in of(ModelFailed, log)]
    assert codes == ["overloaded" if isinstance(fault, Status) else "interrupted"], "a wait is no call that was stopped"
    assert [event.type for event in log][-2:] == ["abort.requested", "run.finished"]


def _url(kind: str, folder: Path) -> str:
    return "memory:" if kind == "memory:" else f"sqlite:///{folder}/s.db"


async def test_half_an_answer_is_taken_back_from_readers_when_it_is_stopped() -> None:
    async with scene([Turn("never said", chunk=3, fault=Hang(after_events=3))]) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        items: list[Any] = []
        async for item in run.events():
            items.append(item)
            if isinstance(item, TextDelta):
                await run.abort("enough")
    kinds = [item.type for item in items]
    assert kinds.index("text.delta") < kinds.index("reset") < kinds.index("model.failed")


@pytest.mark.requirement("engine:abort-tool-call", "engine:every-call-one-result")
@pytest.mark.parametrize("url", ["memory:", "sqlite"])
async def test_an_abort_during_tools_ends_each_call_and_keeps_what_was_done(url: str, tmp_path: Path) -> None:
    calls = [Call("linger", {"name": "a"}), Call("quick"), Call("linger", {"name": "b"}), Call("stubborn")]
    calls += [Call("change", {"name": "c"}), Call("change", {"name": "d"})]
    async with scene([Turn("First.", calls=calls), "after"], url=_url(url, tmp_path)) as s:
        run = await s.runtime.start(AGENT, "go", session="s", workspace=tmp_path)
        await until(lambda: len(BEGAN) == 4 and sorted(BEGAN) == ["a", "b", "c", "stubborn"])
        await soon(seen(run, "tool.finished"))
        await run.abort("enough")
        log = await canceled(s, run, before=1)
        assert (sorted(ENDED), FINISHED) == (["a", "b", "c"], [])
        outcomes = {done.call_id: done.result.error.code if done.result.error else "" for done in of(ToolFinished, log)}
        assert outcomes == {f"call_0_{n}": "" if n == 1 else "canceled" for n in range(6)}
        assert len(of(ToolStarted, log)) == 5, "the last one never began"
        # the session goes on, with a conversation that any server takes
        assert (await soon((await s.runtime.start(AGENT, "more", session="s")).result())).output == "after"
        assert paired(asked(s.server)[1])


async def test_an_abort_that_comes_while_the_log_is_written_keeps_the_call_from_beginning() -> None:
    held: list[Callable[[], None]] = []

    class Held(Wrapped):
        """Keeps back the answer to the append that says that a call begins."""

        def append(self, *args: Any, **options: Any) -> Any:
            written = self.inner.append(*args, **options)
            if not any(record.type == "tool.started" for record in args[4]):
                return written
            answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            held.append(lambda: answer.set_result(written.result()))
            return answer

    async with scene([Turn(calls=[Call("linger", {"name": "a"})])], wrap=Held) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await until(lambda: bool(held))
        await run.abort("enough")
        for _ in range(5):
            await asyncio.sleep(0)
        held.pop()()
        await canceled(s, run, before=1)
        assert BEGAN == []


async def test_a_hint_that_comes_while_the_mail_is_looked_at_is_not_forgotten() -> None:
    looking, go = asyncio.Event(), asyncio.Event()

    class SlowToLook(Wrapped):
        async def mail(self, *args: Any) -> Any:
            found = await self.inner.mail(*args)
            looking.set()
            await go.wait()
            return found

    async with scene([Turn(calls=[Call("linger", {"name": "a"})]), "after"], wrap=SlowToLook) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await until(lambda: bool(BEGAN))
        await run.steer("look here")
        await soon(looking.wait())
        await run.abort("enough")
        go.set()
        assert (await soon(run.result(), 1)).status == "aborted"


@pytest.mark.requirement("engine:abort-from-another-process", "runtime:two-runtimes-one-database")
async def test_a_run_is_aborted_by_a_runtime_that_does_not_own_it(tmp_path: Path) -> None:
    async with scene([Turn(calls=[Call("linger", {"name": "a"})])], url=f"sqlite:///{tmp_path}/s.db") as s:
        run = await s.runtime.start(AGENT, "go", session="s", key="k")
        await until(lambda: bool(BEGAN))
        async with s.other() as other:
            elsewhere = other.run("s", "k")
            assert (await elsewhere.abort("enough")).status == "accepted"
            assert (await soon(elsewhere.result(), 2)).status == "aborted"
        await canceled(s, run, before=1)


@pytest.mark.requirement("engine:abort-keeps-queued-mail")
async def test_what_was_queued_before_an_abort_is_answered_next() -> None:
    async with scene([Turn(calls=[Call("linger", {"name": "a"})]), "one", "two"]) as s:
        run = await s.runtime.start(AGENT, "a", session="s")
        await until(lambda: bool(BEGAN))
        await run.steer("a steer for later")
        second = await s.runtime.start(AGENT, "b", session="s")
        await run.abort("enough")
        assert (await soon(run.result(), 1)).status == "aborted"
        assert (await soon(second.result())).output == "two"
        users = [[each["content"] for each in messages if each["role"] == "user"] for messages in asked(s.server)]
    assert users == [["a"], ["a", "a steer for later"], ["a", "a steer for later", "b"]]


async def test_aborting_a_run_that_waits_its_turn_ends_that_run_and_leaves_the_open_one_alone() -> None:
    async with scene([Turn(calls=[Call("linger", {"name": "a"})]), "third"]) as s:
        first = await s.runtime.start(AGENT, "a", session="s")
        second = await s.runtime.start(AGENT, "b", session="s")
        third = await s.runtime.start(AGENT, "c", session="s")
        await until(lambda: bool(BEGAN))
        await second.abort("not that")
        for _ in range(20):
            await asyncio.sleep(0)
        assert ENDED == []
        await first.abort("enough")
        assert [(await soon(run.result())).reason for run in (first, second)] == ["enough", "not that"]
        assert (await soon(third.result())).output == "third"
        log = await s.log()
    assert [end.status for end in of(RunFinished, log)].count("aborted") == 2


async def test_an_abort_that_comes_too_late_touches_nothing() -> None:
    async with scene(["one", Turn("two", fault=Drip(seconds=0.01))]) as s:
        first = await s.runtime.start(AGENT, "a", session="s")
        await soon(first.result())
        second = await s.runtime.start(AGENT, "b", session="s")
        await soon(s.server.arrived(2))
        await first.abort("too late")
        assert (await soon(second.result())).output == "two"
        assert (await soon(first.result())).status == "completed"
        assert len(of(AbortRequested, await s.log())) == 1


async def test_an_abort_that_was_read_together_with_its_prompt_still_holds(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"

    class Busy(Wrapped):
        """A store in which somebody else drives every session."""

        async def post(self, *args: Any, **options: Any) -> Any:
            return await self.inner.post(*args, **{**options, "lease": None})

    async with scene(["never"], url=url, wrap=Busy) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await run.abort("changed my mind")
        async with s.other() as other:
            assert (await soon((await other.resume("s")).result())).reason == "changed my mind"
        assert not s.server.requests


# ---- what is no abort ------------------------------------------------------------------------------------------


@pytest.mark.requirement("engine:stop-is-not-abort", "runtime:close-leaves-nothing")
@pytest.mark.parametrize("during", ["model", "tool"])
async def test_stopping_the_runtime_writes_nothing_terminal_and_the_run_goes_on_elsewhere(
    during: str, tmp_path: Path
) -> None:
    first = Turn("a", fault=Hang(times=1)) if during == "model" else Turn(calls=[Call("linger", {"name": "a"})])
    async with scene([first, "after"], url=f"sqlite:///{tmp_path}/s.db") as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(seen(run, "run.started" if during == "model" else "tool.started"))
        await (soon(s.server.arrived(1)) if during == "model" else until(lambda: bool(BEGAN)))
        waiting = asyncio.create_task(run.result())
        await until(lambda: len(s.runtime._worker.tail("local/s").broadcast) == 1)  # type: ignore[union-attr, arg-type]
        before = asyncio.get_running_loop().time()
        await s.runtime.close()
        assert asyncio.get_running_loop().time() - before < 1
        with pytest.raises(UsageError, match=r"was closed while .*'local/s'.*resume"):
            await soon(waiting)
        async with s.other() as other:
            log = await Scene(s.server, other, s.url, s.clock).log()
            assert not of(RunFinished, log)
            assert not of(AbortRequested, log)
            head = await other.journal.head("local/s")
            assert (head.state, head.owner) == ("running", None)
            result = await soon((await other.resume("s")).result())
            assert (result.status, result.output) == ("completed", "a" if during == "model" else "after")
            assert all_answered(await Scene(s.server, other, s.url, s.clock).log())
        assert ([] if during == "model" else ["a"]) == BEGAN, "an unsafe call is not made again by itself"


@pytest.mark.requirement("engine:caller-cancel-is-not-abort")
async def test_cancelling_whoever_waits_for_the_result_leaves_the_run_going() -> None:
    async with scene([Turn("slowly", fault=Drip(seconds=0.005))]) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        waiting = asyncio.create_task(run.result())
        await soon(s.server.arrived(1))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await soon(run.result())).output == "slowly"


async def test_whoever_waits_for_a_parked_run_hears_that_the_runtime_was_closed() -> None:
    async with scene(["never"]) as s:
        waiting = asyncio.create_task(s.runtime.run("nobody", "k").result())
        await asyncio.sleep(0)
        await s.runtime.close()
        with pytest.raises(UsageError, match="runtime was closed"):
            await soon(waiting, 2)
