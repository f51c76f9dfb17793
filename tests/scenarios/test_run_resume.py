"""Going on with what a stop left open: in another runtime, another process, with or without the functions."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, Scene, all_answered, asked, of, paired, scene, seen, soon, until

from holdfast import Agent, Effect, Limits, ToolContext, ToolResult, tool
from holdfast.engine.events import CallReopened, InputReceived, ModelFinished, RunFinished, ToolFinished, ToolStarted
from holdfast.errors import LeaseHeld, UnknownTool
from holdfast.journal.port import Letter, Record
from holdfast.runtime.runtime import Runtime
from holdfast.testing import Call, Turn
from holdfast.testing.faults import Hang
from holdfast.types import BatchId, Thinking, WorkerId, stream_id

STREAM = stream_id("local", "s")
HANGS = [True]
KEYS: list[str] = []


async def _maybe_for_ever() -> None:
    if HANGS[0]:
        await asyncio.Event().wait()


@tool(effect="none")
async def look(context: ToolContext) -> str:
    """Looks, which changes nothing."""
    KEYS.append(context.key)
    await _maybe_for_ever()
    return "seen"


@tool(effect="keyed")
async def order(context: ToolContext) -> str:
    """Orders, once for each key."""
    KEYS.append(context.key)
    await _maybe_for_ever()
    return "ordered"


@tool
async def pay(context: ToolContext) -> str:
    """Pays, whatever happened before."""
    KEYS.append(context.key)
    await _maybe_for_ever()
    return "paid"


@tool(effect=Effect(workspace=True, outside="none"), touches=lambda arguments: (arguments.path,))
async def scribble(path: str, context: ToolContext) -> str:
    """Writes half of something, and the other half later."""
    assert context.workspace is not None
    file = context.workspace.root / path
    KEYS.append(file.read_text() if file.exists() else "nothing")
    file.write_text("half")
    await _maybe_for_ever()
    file.write_text("whole")
    return "written"


@tool(effect="none")
async def card() -> ToolResult:
    """Returns something for a screen."""
    return ToolResult("fine", metadata={"ui": "card", "rows": [1, None]})


AGENT = Agent(MODEL, instructions="As recorded.", tools=[look, order, pay, scribble])


@pytest.fixture(autouse=True)
def fresh() -> None:
    HANGS[0] = True
    KEYS.clear()


def url(folder: Path) -> str:
    return f"sqlite:///{folder}/s.db"


async def stopped(s: Scene, kind: str = "tool.started", agent: Agent = AGENT, **options: Any) -> None:
    """Starts a run and stops its process in the middle of it."""
    run = await s.runtime.start(agent, "go", session="s", **options)
    await soon(seen(run, kind))
    if kind == "tool.started":
        await until(lambda: bool(KEYS))
    await s.runtime.close()
    HANGS[0] = False


def results(s: Scene) -> list[str]:
    return [message["content"] for message in asked(s.server)[-1] if message["role"] == "tool"]


@pytest.mark.requirement("engine:resume-continues", "engine:crash-effectless-runs-again", "runtime:resume-by-session")
@pytest.mark.parametrize("name", ["look", "order"])
async def test_a_call_that_may_be_made_twice_is_made_again_under_the_same_key(name: str, tmp_path: Path) -> None:
    async with scene([Turn(calls=[Call(name)]), "done"], url=url(tmp_path)) as s:
        await stopped(s)
        async with s.other() as other:
            assert (await soon((await other.resume("s")).result())).output == "done"
            log = await Scene(s.server, other, s.url, s.clock).log()
        assert len(s.server.requests) == 2
    assert [f"local/s/{log[1].id}/3/call_0_0"] * 2 == KEYS
    assert len(of(CallReopened, log)) == 1
    assert [event.epoch for event in log] == sorted(event.epoch for event in log)
    assert all_answered(log)


@pytest.mark.requirement("engine:resume-keeps-metadata")
async def test_a_stop_costs_no_more_than_the_step_in_progress_and_what_was_there_stays_whole(tmp_path: Path) -> None:
    step = Turn("On.", thinking="Hm, what next?", calls=[Call("card")])
    async with scene([step, step, Turn("done", fault=Hang(times=1))], url=url(tmp_path)) as s:
        agent = Agent(MODEL, tools=[card])
        run = await s.runtime.start(agent, "go", session="s")
        await soon(seen(run, "tool.finished", 2))
        await soon(s.server.arrived(3))
        log = await s.log()
        await s.runtime.close()
        async with s.other() as other:
            assert (await soon((await other.resume("s")).result())).output == "done"
            whole = await Scene(s.server, other, s.url, s.clock).log()
        assert len(s.server.requests) == 4, "only the answer that was cut off was asked for again"
    assert whole[: len(log)] == log
    assert [done.result.metadata for done in of(ToolFinished, whole)] == [{"ui": "card", "rows": [1, None]}] * 2
    assert [Thinking("Hm, what next?") in done.message.parts for done in of(ModelFinished, whole)] == [
        True,
        True,
        False,
    ]


@pytest.mark.requirement("engine:crash-unsafe-never-again", "tools:idempotency-key-handed-over")
async def test_a_call_that_must_not_be_made_twice_is_not_made_again_and_the_model_is_told(tmp_path: Path) -> None:
    async with scene([Turn(calls=[Call("pay")]), "I look it up."], url=url(tmp_path)) as s:
        await stopped(s)
        async with s.other() as other:
            assert (await soon((await other.resume("s")).result())).output == "I look it up."
            log = await Scene(s.server, other, s.url, s.clock).log()
        assert [f"local/s/{log[1].id}/3/call_0_0"] == KEYS
        (told,) = results(s)
        assert "Outcome unknown" in told
        assert "'pay'" in told
        assert paired(asked(s.server)[-1])


@pytest.mark.requirement("engine:crash-workspace-rolled-back")
@pytest.mark.parametrize("before", [None, "before"])
async def test_files_are_put_back_before_a_call_that_changed_them_is_made_again(
    before: str | None, tmp_path: Path
) -> None:
    if before is not None:
        (tmp_path / "note").write_text(before)
    turn = Turn(calls=[Call("scribble", {"path": "note"})])
    async with scene([turn, "done"], url=url(tmp_path)) as s:
        await stopped(s, workspace=tmp_path)
        assert (tmp_path / "note").read_text() == "half"
        async with s.other() as other:
            assert (await soon((await other.resume("s")).result())).output == "done"
    assert [before or "nothing"] * 2 == KEYS, "the second call saw what the first one saw"
    assert (tmp_path / "note").read_text() == "whole"


@pytest.mark.requirement("engine:resume-recorded-spec")
async def test_a_resumed_run_is_the_agent_that_was_recorded_whatever_the_code_says_now(tmp_path: Path) -> None:
    recorded = Agent(MODEL, instructions="As recorded.", tools=[look], limits=Limits(steps=7))
    async with scene([Turn(calls=[Call("look")]), "done"], url=url(tmp_path)) as s:
        await stopped(s, agent=recorded)
        changed = Agent(MODEL, instructions="As it is now.", tools=[look, pay], limits=Limits(steps=1))
        async with s.other() as other:
            assert (await soon((await other.resume("s", changed)).result())).output == "done"
        assert asked(s.server)[-1][0]["content"] == "As recorded."
        assert s.server.requests[0].json()["tools"] == s.server.requests[1].json()["tools"]  # type: ignore[index]


@pytest.mark.requirement("engine:resume-missing-tool")
async def test_a_function_that_cannot_be_found_again_is_named_and_the_run_stays_resumable(tmp_path: Path) -> None:
    @tool(effect="none")
    async def local() -> str:
        """Lives in a function."""
        return "found"

    mine = Agent(MODEL, tools=[local])
    async with scene([Turn("", fault=Hang(times=1), calls=[Call("local")]), "done"], url=url(tmp_path)) as s:
        await stopped(s, "run.started", mine)
        async with s.other() as other:
            for _ in range(2):
                with pytest.raises(UnknownTool, match=r"local' was defined inside a function.*resume in the program"):
                    await other.resume("s")
            head = await other.journal.head(STREAM)
            assert (head.state, head.owner) == ("running", None)
            assert await other.sweep() == 0, "it is left to somebody who has the function"
            assert (await soon((await other.resume("s", mine)).result())).output == "done"
        assert results(s) == ["found"]


@pytest.mark.requirement("engine:resume-finished-run")
async def test_resuming_a_run_that_is_over_changes_nothing_and_says_how_it_ended(tmp_path: Path) -> None:
    async with scene(["one"], url=url(tmp_path)) as s:
        first = await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        log = await s.log()
        for _ in range(3):
            assert await soon((await s.runtime.resume("s")).result()) == first
        async with s.other() as other:
            assert await soon((await other.resume("s")).result()) == first
            assert await other.sweep() == 0
        assert await s.log() == log
        assert len(s.server.requests) == 1


@pytest.mark.requirement("engine:mail-applied-exactly-once")
async def test_a_prompt_and_what_was_said_after_it_are_applied_once_though_nobody_had_read_them(tmp_path: Path) -> None:
    async with scene(["one", "two"], url=url(tmp_path)) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(run.result())
        (letter,) = [mail for mail in await s.runtime.journal.mail(STREAM, 0) if mail.kind == "prompt"]
        steer = b'{"message":{"type":"user","parts":[{"type":"text","text":"left"}]}}'
        # as a process leaves them that dies between accepting and reading
        lonely = stream_id("local", "lonely")
        for key, kind, body in (("p", "prompt", letter.body), ("s", "steer", steer), ("p", "prompt", letter.body)):
            await s.runtime.journal.post(lonely, Letter(key=key, kind=kind, body=body))
        async with s.other() as other:
            result = await soon((await other.resume("lonely")).result())
            assert (result.output, result.status) == ("one", "completed")
        assert [each.message.text for each in of(InputReceived, await s.log("lonely"))] == ["go", "left"]
        assert [each["content"] for each in asked(s.server)[-1][1:]] == ["go", "left"]


async def test_a_run_that_was_queued_when_its_process_stopped_is_the_one_that_is_resumed(tmp_path: Path) -> None:
    async with scene([Turn(calls=[Call("pay")]), "a", "b"], url=url(tmp_path)) as s:
        first = await s.runtime.start(AGENT, "a", session="s")
        await soon(seen(first, "tool.started"))
        second = await s.runtime.start(AGENT, "b", session="s")
        await s.runtime.close()
        async with s.other() as other:
            resumed = await other.resume("s")
            assert resumed.key == first.key
            assert (await soon(resumed.result())).output == "a"
            assert (await soon(other.run("s", second.key).result())).output == "b"


@pytest.mark.requirement("engine:fenced-touches-nothing")
async def test_of_two_runtimes_that_resume_one_run_one_does_and_the_other_is_told(tmp_path: Path) -> None:
    slowly = Turn("done", chunk=1, delay=0.2)  # so that the run is not over before both have tried
    async with scene([Turn(calls=[Call("look")]), slowly], url=url(tmp_path)) as s:
        await stopped(s)
        async with s.other() as one, s.other() as other:
            both: list[Runtime] = [one, other]
            tries = await asyncio.gather(*(each.resume("s") for each in both), return_exceptions=True)
            (lost,) = [each for each in tries if isinstance(each, LeaseHeld)]
            (won,) = [each for each in tries if not isinstance(each, BaseException)]
            assert "local/s" in str(lost)
            assert (await soon(won.result())).output == "done"
        assert len(KEYS) == 2
        assert len(s.server.requests) == 2


@pytest.mark.requirement("runtime:close-leaves-nothing", "engine:one-task-group", "runtime:open-sqlite")
async def test_a_closed_runtime_leaves_no_thread_no_task_and_no_lease(tmp_path: Path) -> None:
    threads = set(threading.enumerate())
    async with scene([Turn("never", fault=Hang())], url=url(tmp_path)) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(seen(run, "run.started"))
        await s.runtime.close()
        await s.runtime.close()
        left = [thread for thread in set(threading.enumerate()) - threads if "holdfast" in thread.name]
        await until(lambda: not any(thread.is_alive() for thread in left))
        async with s.other() as other:
            head = await other.journal.head(STREAM)
            assert (head.owner, head.lease_until, head.state) == (None, 0, "running")


async def test_a_sweep_takes_up_everything_that_is_due_past_what_it_cannot_take(tmp_path: Path) -> None:
    async with scene(["one"], url=url(tmp_path), seconds=30) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(run.result())
        (letter, *_) = await s.runtime.journal.mail(STREAM, 0)
        alien = Record(
            1,
            "law.changed",
            b'{"seq":1,"id":"x","type":"law.changed","at":5,"epoch":1,"must_understand":true,"data":{}}',
        )
        names = [f"s{number:03}" for number in range(250)]
        for name in names:
            stream = stream_id("local", name)
            if name < "s120":
                claim = await s.runtime.journal.claim(stream, WorkerId("another version"), 1_000_000)
                await s.runtime.journal.append(stream, claim.head.epoch, 0, BatchId("x"), [alien])
                await s.runtime.journal.release(stream, claim.head.epoch)
            await s.runtime.journal.post(stream, Letter(key="p", kind="prompt", body=letter.body))
        async with s.other() as other:
            assert await other.sweep() == 130
            for name in names[120:]:
                assert (await soon(other.run(name, "p").result(), 10)).output == "one"


CHILD = """
import asyncio, sys
from holdfast import Runtime

async def main():
    async with Runtime.open(sys.argv[1], sandbox="none") as runtime:
        result = await (await runtime.resume("s")).result()
        print(result.status, result.output)

asyncio.run(main())
"""
MODULE = '''
from holdfast import tool

@tool(effect="none")
async def price(item: str) -> str:
    """Looks a price up."""
    return f"{item} costs 3"
'''


@pytest.mark.requirement("runtime:resume-by-session", "engine:resume-continues")
async def test_another_process_goes_on_with_nothing_but_the_import_path_of_the_tools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop_of_this_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    shop: Any = __import__("shop_of_this_test")
    first = Turn("", fault=Hang(times=1), calls=[Call("price", {"item": "bolt"})])
    async with scene([first, "It costs 3."], url=url(tmp_path)) as s:
        await stopped(s, "run.started", Agent(MODEL, tools=[shop.price]))
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            CHILD,
            url(tmp_path),
            env={**os.environ, "OPENAI_BASE_URL": s.server.base_url, "PYTHONPATH": str(tmp_path)},
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await soon(child.communicate(), 10)
        assert out.decode().split("\n")[0] == "completed It costs 3."
        assert child.returncode == 0
        assert results(s) == ["bolt costs 3"]
        async with s.other() as other:
            log = await Scene(s.server, other, s.url, s.clock).log()
    assert len(of(RunFinished, log)) == len(of(ToolFinished, log)) == len(of(ToolStarted, log)) == 1
    assert all_answered(log)
