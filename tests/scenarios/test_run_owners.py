"""One owner at a time: leases, fences, and runs side by side on one database."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest
from tests.running import MODEL, Scene, Wrapped, all_answered, of, scene, soon, until

from holdfast import Agent, Limits, ToolContext, tool
from holdfast.engine.events import RunFinished, ToolFinished
from holdfast.flow.ids import is_alive, new_session, worker_name
from holdfast.journal.port import Letter
from holdfast.testing import Call, Turn
from holdfast.testing.clock import FakeClock
from holdfast.testing.faults import Hang
from holdfast.testing.scripts import ScriptRequest
from holdfast.types import TextDelta, stream_id

STREAM = stream_id("local", "s")
RAN: list[str] = []
GO: list[asyncio.Event] = []


@tool
async def pay(context: ToolContext) -> str:
    """Pays, which must not happen twice."""
    RAN.append(context.key)
    await GO[0].wait()
    return "paid"


@tool(effect="none")
async def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


AGENT = Agent(MODEL, tools=[pay, add])
LEADER = Agent("openai/leader", tools=[Agent("openai/helper", name="helper").as_tool("help")], name="leader")


@pytest.fixture(autouse=True)
def fresh() -> None:
    RAN.clear()
    GO[:] = [asyncio.Event()]


async def suspended(s: Scene, clock: FakeClock) -> None:
    """Lets the time of every lease pass without a sign of life from the first runtime, as if it had been stopped."""
    assert s.runtime._worker._heartbeat.task is not None
    s.runtime._worker._heartbeat.task.cancel()
    await clock.advance(31)


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/s.db"


@pytest.mark.requirement("engine:fenced-mid-tool", "engine:fenced-touches-nothing")
async def test_an_owner_that_lost_its_lease_in_a_tool_leaves_no_event_and_asks_no_model(tmp_path: Path) -> None:
    def model(request: ScriptRequest) -> Turn | str:
        if not request.answers:
            return Turn(calls=[Call("add", {"a": 1, "b": 2}), Call("pay")])
        return f"answer after: {request.last_result}"

    clock = FakeClock()
    async with scene(model, url=url(tmp_path), clock=clock) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        waiting = asyncio.create_task(run.result())
        await until(lambda: bool(RAN))
        await suspended(s, clock)
        async with s.other() as heir:
            result = await soon((await heir.resume("s")).result())
            log = await Scene(s.server, heir, s.url, s.clock).log()
            GO[0].set()
            assert (await soon(waiting)) == result, "whoever waits for it elsewhere gets what came of it"
            await until(lambda: not s.runtime._worker._live)
            assert await Scene(s.server, heir, s.url, s.clock).log() == log
    assert "Outcome unknown" in result.output
    assert len(s.server.requests) == 2
    assert len(RAN) == 1
    assert [event.epoch for event in log] == sorted(event.epoch for event in log)
    assert {event.epoch for event in log} == {1, 2}
    assert len(of(RunFinished, log)) == 1
    assert all_answered(log)


@pytest.mark.requirement("engine:fenced-touches-nothing")
async def test_an_owner_that_lost_its_lease_while_the_model_thought_runs_none_of_its_calls(tmp_path: Path) -> None:
    async def model(request: ScriptRequest) -> Turn | str:
        if len(asked) == 0:
            asked.append(1)
            await GO[0].wait()
            return Turn(calls=[Call("pay")])
        return "somebody else's answer"

    asked: list[int] = []
    clock = FakeClock()
    async with scene(model, url=url(tmp_path), clock=clock) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await until(lambda: bool(asked))
        await suspended(s, clock)
        async with s.other() as heir:
            assert (await soon((await heir.resume("s")).result())).output == "somebody else's answer"
            GO[0].set()
            await until(lambda: not s.runtime._worker._live)
            log = await Scene(s.server, heir, s.url, s.clock).log()
        assert (await soon(run.result())).output == "somebody else's answer"
    assert RAN == []
    assert not of(ToolFinished, log)


@pytest.mark.requirement("engine:crash-partial-message-reset", "journal:tail-reset")
async def test_half_an_answer_of_an_owner_that_lost_its_lease_is_taken_back_before_the_next_ones(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    cut = Turn("Half of it, and no more.", chunk=4, delay=0.05, fault=Hang(after_events=4, times=1))
    async with scene([cut], url=url(tmp_path), clock=clock) as s:
        run = await s.runtime.start(AGENT, "go", session="s", limits=Limits(seconds=3600))
        shown: list[str] = []
        text = ""

        async def read() -> None:
            nonlocal text
            async for item in run.events():
                shown.append(item.type)
                text = text + item.text if isinstance(item, TextDelta) else text
                text = "" if item.type in ("reset", "model.finished") else text
                assert cut.text.startswith(text), "nothing is shown twice"

        reading = asyncio.create_task(read())
        while "text.delta" not in shown:
            await clock.advance(0.02)
        await suspended(s, clock)
        async with s.other() as heir:
            assert (await soon((await heir.resume("s")).result())).output == cut.text
            await clock.advance(3600)  # the old owner wakes up
            await soon(reading)
    assert shown.index("text.delta") < shown.index("reset") < shown.index("model.finished")


async def test_a_lease_is_kept_alive_as_long_as_the_run_goes_on(tmp_path: Path) -> None:
    clock = FakeClock()
    async with scene([Turn("never", fault=Hang())], url=url(tmp_path), clock=clock) as s:
        await s.runtime.start(AGENT, "go", session="s")
        await soon(s.server.arrived(1))
        await clock.advance(0.05)
        for _ in range(6):
            await until(lambda: clock.waiting > 0, "the heart beats again")
            head = await s.runtime.journal.head(STREAM)
            assert head is not None
            before = head.lease_until
            await clock.advance(10.001)
            while head.lease_until == before:
                head = await s.runtime.journal.head(STREAM)
                assert head is not None
            assert head.lease_until > clock.now()
        assert await s.runtime.journal.due() == []


@pytest.mark.requirement("runtime:two-runtimes-one-database")
async def test_two_runtimes_follow_and_steer_each_others_runs_and_own_none_twice(tmp_path: Path) -> None:
    def model(request: ScriptRequest) -> Turn | str:
        return Turn(calls=[Call("pay")]) if not request.answers else f"answer to {request.last_user_text}"

    async with scene(model, url=url(tmp_path)) as s, s.other() as other:
        mine = await s.runtime.start(AGENT, "go", session="a")
        theirs = await other.start(AGENT, "go", session="b")
        await until(lambda: len(RAN) == 2)
        await other.run("a", mine.key).steer("from there")
        await s.runtime.run("b", theirs.key).steer("from here")
        queued = await other.start(AGENT, "next", session="a")
        for runtime, session in ((s.runtime, "a"), (other, "b")):
            head = await runtime.journal.head(stream_id("local", session))
            assert head is not None
            assert head.epoch == 1
        lives = [*s.runtime._worker._live.values(), *other._worker._live.values()]
        await until(lambda: all(live.attempt.pen.has_mail for live in lives), "each heard of its mail")
        GO[0].set()
        assert (await soon(other.run("a", mine.key).result())).output == "answer to from there"
        assert (await soon(s.runtime.run("b", theirs.key).result())).output == "answer to from here"
        assert (await soon(queued.result())).output == "answer to next"
    assert len(RAN) == 2


@pytest.mark.requirement("engine:children-survive")
@pytest.mark.parametrize("answered", [False, True])
async def test_a_child_that_was_being_started_when_its_runtime_closed_waits_for_no_lease(
    tmp_path: Path, answered: bool
) -> None:
    posted, closing = asyncio.Event(), asyncio.Event()

    class Slow(Wrapped):
        async def post(self, stream: str, letter: Letter, **more: object) -> object:
            answer = await self.inner.post(stream, letter, **more)  # type: ignore[arg-type]
            if letter.key.startswith("start:") and not closing.is_set():
                posted.set()
                await closing.wait()
                if not answered:
                    await asyncio.Event().wait()
            return answer

    scripts = {"leader": [Turn(calls=[Call("help", {"prompt": "go"})]), "At last."], "helper": ["Thought."]}
    async with scene(scripts, url=f"sqlite:///{tmp_path}/s.db", wrap=Slow) as s:
        await s.runtime.start(LEADER, "go", session="s")
        await posted.wait()
        worker = s.runtime._worker
        outgoings_close = s.runtime._outgoings.close

        async def close() -> None:  # the worker has closed by now, and what starts children has not
            assert worker.closed
            closing.set()
            for _ in range(100):
                await asyncio.sleep(0)
            await outgoings_close()

        s.runtime._outgoings.close = close  # type: ignore[method-assign]
        await s.runtime.close()
        async with s.other() as later:
            run = await soon(later.resume("s", LEADER))
            assert (await soon(run.result())).output == "At last."


@pytest.mark.requirement("engine:children-survive")
@pytest.mark.parametrize("turns", [0, 1, 2, 3, 4, 6, 10, 20])
async def test_a_prompt_that_was_on_its_way_when_its_runtime_closed_waits_for_no_lease(
    turns: int, tmp_path: Path
) -> None:
    async with scene(["One.", "Two."], url=f"sqlite:///{tmp_path}/s.db") as s:
        await (await s.runtime.start(AGENT, "go", session="s")).result()
        starting = asyncio.create_task(s.runtime.start(AGENT, "on", session="s", key="k"))
        for _ in range(turns):
            await asyncio.sleep(0)
        await s.runtime.close()
        await asyncio.wait([starting])
        async with s.other() as later:
            run = await soon(later.resume("s", AGENT))
            result = await soon(run.result())
            if not starting.cancelled() and starting.exception() is None:
                assert (run.key, result.output) == ("k", "Two.")


@pytest.mark.requirement("engine:children-survive")
async def test_a_start_that_is_cancelled_as_its_runtime_closes_leaves_no_lease(tmp_path: Path) -> None:
    posted = asyncio.Event()

    class Slow(Wrapped):
        async def post(self, stream: str, letter: Letter, **more: object) -> object:
            answer = await self.inner.post(stream, letter, **more)  # type: ignore[arg-type]
            if not posted.is_set():
                posted.set()
                await asyncio.Event().wait()
            return answer

    async with scene(["One."], url=f"sqlite:///{tmp_path}/s.db", wrap=Slow) as s:
        starting = asyncio.create_task(s.runtime.start(AGENT, "go", session="s"))
        await posted.wait()
        starting.cancel()
        await asyncio.create_task(s.runtime.close())
        async with s.other() as later:
            run = await soon(later.resume("s", AGENT))
            assert (await soon(run.result())).output == "One."


@pytest.mark.requirement("flow:worker-name-tells-the-dead")
def test_a_workers_name_is_its_own_and_says_whether_its_process_is_alive() -> None:
    mine, other = worker_name(), worker_name()
    assert mine != other
    assert is_alive(mine)
    host, boot, pid, start = mine.rsplit(":", 3)
    assert not is_alive(f"{host}:{boot}:{pid}:1{start}"), "the pid belongs to somebody else by now"
    assert not is_alive(f"{host}:0000:{pid}:{start}"), "the machine was started again"
    assert not is_alive(f"{host}:{boot}:{2**22 + 1}:{start}")
    assert is_alive(f"elsewhere:{boot}:1:1"), "of another machine nobody knows"
    assert is_alive("who knows")


MANY_IDS = """
import os
from holdfast.flow.ids import new_batch, new_key, new_session
made = [make() for _ in range(500) for make in (new_batch, new_key, new_session)]
if os.fork() == 0:
    made = []
made += [make() for _ in range(500) for make in (new_batch, new_key, new_session)]
os.write(1, "".join(f"{each} " for each in made).encode())
"""


@pytest.mark.requirement("flow:ids-unique")
async def test_ids_of_many_processes_and_their_forks_do_not_collide() -> None:
    async def ids() -> list[str]:
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", MANY_IDS, stdout=asyncio.subprocess.PIPE)
        return (await child.communicate())[0].decode().split()

    made = [each for some in await soon(asyncio.gather(ids(), ids(), ids()), 10) for each in some]
    assert len(set(made)) == len(made) == 3 * 3 * 1500


@pytest.mark.requirement("flow:session-names-together")
def test_sessions_named_in_a_row_lie_close_together_and_have_names_of_their_own() -> None:
    names = [new_session() for _ in range(2000)]
    assert len(set(names)) == 2000
    assert all(re.fullmatch("s-[0-9a-f]{10}", name) for name in names)
    assert len({name[:5] for name in names}) <= 9, "256 in a row begin alike"
    assert len({name[-5:] for name in names}) > 1900


@pytest.mark.parametrize("store", ["memory:", "sqlite"])
async def test_eight_runs_of_ten_steps_at_once_come_to_their_end(store: str, tmp_path: Path) -> None:
    def model(request: ScriptRequest) -> Turn | str:
        n = request.answers
        return Turn(f"Step {n}.", calls=[Call("add", {"a": n, "b": n})]) if n < 10 else "done"

    async with scene(model, url=store if store == "memory:" else url(tmp_path), seconds=40) as s:

        async def one(worker: int) -> None:
            for number in range(5):
                run = await s.runtime.start(AGENT, "go", session=f"s{worker}-{number}")
                async for _ in run.events():
                    pass
                assert (await run.result()).steps == 11

        await soon(asyncio.gather(*(one(worker) for worker in range(8))), 30)
        for worker in range(8):
            log = await s.log(f"s{worker}-4")
            assert [event.seq for event in log] == list(range(1, len(log) + 1))
            assert all_answered(log)
