"""The end of a session: for good, once, and whatever it was doing."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from tests.running import Scene, all_answered, of, scene, soon, until
from tests.scenarios.test_run_control import AGENT, GATES, ONE, RAN, STREAM, THREE, parked, store

from holdfast.engine.events import RunFinished, RunStarted, SessionEnded
from holdfast.errors import SessionExited
from holdfast.runtime.run import Run
from holdfast.testing import Call, Turn
from holdfast.testing.scripts import ScriptRequest
from holdfast.types import Control, Mode


@pytest.fixture(autouse=True)
def fresh() -> None:
    RAN.clear()
    GATES.clear()


@pytest.mark.requirement("engine:exit-is-final")
@pytest.mark.parametrize("phase", ["idle", "thinking", "acting", "waiting", "asked", "reviewed", "paused", "queued"])
async def test_an_exit_ends_the_session_once_whatever_it_does(phase: str, tmp_path: Path) -> None:
    asking_model, go_on = asyncio.Event(), asyncio.Event()
    turns = {"acting": ONE, "paused": ONE, "waiting": Turn(calls=[Call("ask", {"token": "t"})]), "asked": THREE}

    async def model(request: ScriptRequest) -> Turn | str:
        if phase == "thinking":
            asking_model.set()
            await go_on.wait()
        return turns.get(phase, "fine")

    GATES["a"] = asyncio.Event()
    async with scene(model, url=store("sqlite", tmp_path)) as s:
        if phase == "queued":
            await s.runtime.session("s").pause()
        control = Control(review=1) if phase == "reviewed" else None
        mode: Mode = "ask" if phase == "asked" else "auto"
        run = await s.runtime.start(AGENT, "go", session="s", workspace=tmp_path, mode=mode, control=control)
        await _reached(s, run, phase, asking_model)
        await run.exit("closing time")
        if phase == "idle":
            with contextlib.suppress(SessionExited):
                assert (await soon((await s.runtime.start(AGENT, "x", session="s")).result())).status == "aborted"
        else:
            result = await soon(run.result())
            why = "the session has ended" if phase == "queued" else "closing time"
            assert (result.status, result.reason) == ("aborted", why)
        go_on.set()
        await parked(s)
        for said in (run.exit(), run.pause(), run.resume(), run.steer("x"), run.approve("t"), run.abort()):
            with pytest.raises(SessionExited):
                await said
        with pytest.raises(SessionExited):
            await s.runtime.rewind("s", to=1)
        log = await s.log()
        head = await s.runtime.journal.head(STREAM)
    assert head is not None
    assert (head.state, head.owner, len(of(SessionEnded, log))) == ("ended", None, 1)
    assert len(of(RunFinished, log)) == len(of(RunStarted, log))
    assert all_answered(log)


async def _reached(s: Scene, run: Run, phase: str, asking_model: asyncio.Event) -> None:
    """Returns when the run is where an exit is to meet it."""
    match phase:
        case "idle":
            await soon(run.result())
        case "thinking":
            await soon(asking_model.wait())
        case "acting":
            await until(lambda: RAN == ["a"])
        case "paused":
            await until(lambda: RAN == ["a"])
            await run.pause()
            live = s.runtime._worker._live[STREAM]
            await until(lambda: live.attempt.hurried)
            GATES["a"].set()
            await parked(s)
        case _:
            await until(lambda: STREAM in s.runtime._worker._parked)


@pytest.mark.requirement("engine:exit-is-final")
async def test_two_exits_at_once_and_one_that_a_rewind_meets_end_the_session_once(tmp_path: Path) -> None:
    async with scene(["fine"], url=store("sqlite", tmp_path)) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        session = s.runtime.session("s")
        await session.exit("one")
        await session.exit("two")
        with pytest.raises(SessionExited):
            await s.runtime.rewind("s", to=1)
        await s.runtime.resume("s", AGENT)
        await parked(s)
        assert [each.reason for each in of(SessionEnded, await s.log())] == ["one"]


@pytest.mark.requirement("engine:exit-is-final")
async def test_an_exit_needs_nothing_that_the_run_acts_through(tmp_path: Path) -> None:
    GATES["a"] = asyncio.Event()
    async with scene([ONE], url=store("sqlite", tmp_path)) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await until(lambda: RAN == ["a"])
        await s.runtime.close()
        async with s.other() as other:
            await other.session("s").exit("gone")
            other._bindings.bind = None  # type: ignore[method-assign]
            again = await other.resume("s")
            assert (await soon(again.result())).reason == "gone"
            s.runtime = other
            assert all_answered(await s.log())
    assert run.key == again.key
