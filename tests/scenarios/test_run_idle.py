"""Sessions that nobody comes back to: they end for good by themselves, and never what somebody has said to them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, Scene, Wrapped, of, scene, soon, until

from holdfast import Agent, Control, Limits, tool
from holdfast.engine.events import SessionEnded
from holdfast.errors import SessionExited, UnknownSession, UsageError
from holdfast.journal.port import Letter
from holdfast.testing import Call, Turn
from holdfast.testing.clock import FakeClock
from holdfast.types import IDLE_LIMIT, StreamId, stream_id

MINUTE = Control(idle=60)


@tool
async def pay() -> str:
    """Pays."""
    return "paid"


AGENT = Agent(MODEL, tools=[pay], limits=Limits(model_retries=0))


async def state(s: Scene) -> str:
    head = await s.runtime.journal.head(stream_id("local", "s"))
    assert head is not None
    return head.state if head.owner is None else "driven"


async def swept(s: Scene) -> str:
    """Returns how the session stands after a sweep, once nobody has it any more."""
    await s.runtime.sweep()
    await until(lambda: not s.runtime._worker._live)
    return await state(s)


@pytest.mark.requirement("engine:session-interrupt-and-expiry")
@pytest.mark.parametrize("store", ["memory:", "sqlite"])
async def test_a_session_in_which_nobody_says_anything_ends_when_its_time_is_over(store: str, tmp_path: Path) -> None:
    clock = FakeClock()
    url = f"sqlite:///{tmp_path}/s.db" if store == "sqlite" else store
    async with scene(["One.", "Two."], url=url, clock=clock) as s:
        assert (await (await s.runtime.start(AGENT, "go", session="s", control=MINUTE)).result()).output == "One."
        await clock.advance(59)
        assert await swept(s) == "idle"
        run = await s.runtime.start(AGENT, "on", session="s", control=MINUTE)  # from its end on it is counted anew
        await run.result()
        await clock.advance(59)
        assert await swept(s) == "idle"
        await clock.advance(2)
        assert await swept(s) == "ended"
        (end,) = of(SessionEnded, await s.log())
        assert end.reason == "expired: nobody said anything for 60 s"
        with pytest.raises(SessionExited):
            await s.runtime.start(AGENT, "once more", session="s")
        assert await s.runtime.sweep() == 0


@pytest.mark.requirement("engine:session-interrupt-and-expiry")
async def test_another_process_ends_it_and_what_says_nothing_of_it_is_kept(tmp_path: Path) -> None:
    clock = FakeClock()
    async with scene(["One.", "Two."], url=f"sqlite:///{tmp_path}/s.db", clock=clock) as s:
        async with s.other() as gone:
            await (await gone.start(AGENT, "go", session="s", control=MINUTE)).result()
            await (await gone.start(AGENT, "go", session="kept")).result()
        await clock.advance(10_000_000)
        assert await swept(s) == "ended"
        assert [each.state for each in (await s.runtime.sessions()).sessions] == ["idle", "ended"]


@pytest.mark.requirement("engine:session-interrupt-and-expiry")
async def test_a_session_with_an_open_run_does_not_expire_however_long_somebody_thinks() -> None:
    clock = FakeClock()
    async with scene([Turn(calls=[Call("pay", {})]), "Done."], clock=clock) as s:
        run = await s.runtime.start(AGENT, "go", session="s", mode="ask", control=MINUTE)
        await until(lambda: not s.runtime._worker._live)
        await clock.advance(1_000)
        assert await swept(s) == "waiting"
        (wait,) = await s.runtime.waiting("s")
        await run.approve(wait.token)
        assert (await soon(run.result())).output == "Done."


@pytest.mark.requirement("engine:session-interrupt-and-expiry")
@pytest.mark.parametrize("steps", range(0, 24, 2))
async def test_a_prompt_that_comes_as_the_time_is_over_is_never_dropped(steps: int, tmp_path: Path) -> None:
    clock = FakeClock()
    async with scene(["One.", "Two."], url=f"sqlite:///{tmp_path}/s.db", clock=clock) as s:
        await (await s.runtime.start(AGENT, "go", session="s", control=MINUTE)).result()
        await clock.advance(61)
        sweep = asyncio.create_task(s.runtime.sweep())
        for _ in range(steps):
            await asyncio.sleep(0)
        try:
            run = await s.runtime.start(AGENT, "on", session="s")
        except SessionExited:
            answered = False
        else:
            assert (await soon(run.result())).output == "Two."
            answered = True
        await sweep
        await until(lambda: not s.runtime._worker._live)
        assert await state(s) == ("idle" if answered else "ended")


@pytest.mark.requirement("engine:session-interrupt-and-expiry")
async def test_a_branch_and_a_session_that_went_back_are_kept_until_something_is_said_in_them(tmp_path: Path) -> None:
    clock = FakeClock()
    async with scene(["One.", "Two.", "Three."], url=f"sqlite:///{tmp_path}/s.db", clock=clock) as s:
        run = await s.runtime.start(AGENT, "go", session="s", control=MINUTE)
        await run.result()
        await s.runtime.fork("s", name="fork")
        await s.runtime.rewind("s", to=1)
        await clock.advance(3600)
        assert await swept(s) == "idle"
        for name in ("s", "fork"):
            with suppress(UnknownSession):
                await s.runtime.resume(name)
            await until(lambda: not s.runtime._worker._live)
            await (await s.runtime.start(AGENT, "on", session=name, control=MINUTE)).result()
        await clock.advance(61)
        assert await swept(s) == "ended"


@pytest.mark.requirement("engine:session-interrupt-and-expiry")
async def test_what_waits_behind_a_pause_keeps_a_session(tmp_path: Path) -> None:
    clock = FakeClock()
    async with scene(["One.", "Two."], url=f"sqlite:///{tmp_path}/s.db", clock=clock) as s:
        await (await s.runtime.start(AGENT, "go", session="s", control=MINUTE)).result()
        await s.runtime.session("s").pause()
        run = await s.runtime.start(AGENT, "on", session="s")
        await until(lambda: not s.runtime._worker._live)
        await clock.advance(3600)
        assert await swept(s) == "waiting"
        await s.runtime.session("s").resume()
        assert (await soon(run.result())).output == "Two."


@pytest.mark.requirement("engine:session-interrupt-and-expiry")
async def test_a_prompt_that_is_written_behind_the_end_is_refused(tmp_path: Path) -> None:
    ending, ended = asyncio.Event(), asyncio.Event()

    class Late(Wrapped):
        async def post(self, stream: str, letter: Letter, **more: object) -> object:
            if letter.key == "late":
                ending.set()
                await ended.wait()
            return await self.inner.post(stream, letter, **more)  # type: ignore[arg-type]

    clock = FakeClock()
    async with scene(["One."], url=f"sqlite:///{tmp_path}/s.db", clock=clock, wrap=Late) as s:
        await (await s.runtime.start(AGENT, "go", session="s", control=MINUTE)).result()
        await clock.advance(61)
        late = asyncio.create_task(s.runtime.start(AGENT, "on", session="s", key="late"))
        await soon(ending.wait())
        assert await swept(s) == "ended"
        ended.set()
        with pytest.raises(SessionExited):
            await soon(late)


@pytest.mark.requirement("engine:session-interrupt-and-expiry")
async def test_a_child_is_kept_as_long_as_its_parent_may_speak_to_it(tmp_path: Path) -> None:
    clock = FakeClock()
    helper = Agent("openai/helper", name="helper")
    leader = Agent("openai/leader", tools=[helper.as_tool("help"), pay], name="leader")
    calls = [Call("help", {"prompt": "go"}), Call("pay", {})]
    scripts = {"leader": [Turn(calls=calls), "Done."], "helper": ["Helped."]}
    async with scene(scripts, url=f"sqlite:///{tmp_path}/s.db", clock=clock) as s:
        run = await s.runtime.start(leader, "go", session="s", mode="ask", control=MINUTE)
        await until(lambda: not s.runtime._worker._live)
        for wait in await s.runtime.waiting("s"):
            if wait.tool == "help":
                await run.approve(wait.token)
        await until(lambda: not s.runtime._worker._live)
        await clock.advance(3600)
        await swept(s)
        assert {each.state for each in (await s.runtime.sessions()).sessions} == {"waiting", "idle"}


@pytest.mark.requirement("engine:session-interrupt-and-expiry")
async def test_whoever_had_a_session_parked_forgets_it_when_another_ends_its_run(tmp_path: Path) -> None:
    async with scene([Turn(calls=[Call("pay", {})]), "Done."], url=f"sqlite:///{tmp_path}/s.db") as s:
        run = await s.runtime.start(AGENT, "go", session="s", mode="ask", control=MINUTE)
        await until(lambda: s.runtime.stats().parked == 1)
        rouse, held = s.runtime._worker._rouse, asyncio.Event()

        async def late(stream: StreamId) -> None:
            await held.wait()
            await rouse(stream)

        s.runtime._worker._rouse = late  # type: ignore[method-assign]
        async with s.other() as other:
            (wait,) = await other.waiting("s")
            await other.run("s", run.key).approve(wait.token)
            assert (await soon((await other.resume("s", AGENT)).result())).output == "Done."
            await until(lambda: not other._worker._live)
            held.set()
            await until(lambda: s.runtime.stats().parked == 0)


@pytest.mark.requirement("engine:session-interrupt-and-expiry")
@pytest.mark.parametrize("idle", [0, -1, float("inf"), float("nan"), IDLE_LIMIT + 1, "60", True])
def test_a_time_that_is_none_is_refused(idle: Any) -> None:
    with pytest.raises(UsageError, match="idle"):
        Control(idle=idle)


@pytest.mark.requirement("engine:session-interrupt-and-expiry")
@pytest.mark.parametrize(("name", "value"), [("patience", "60"), ("patience", True), ("review", "2"), ("review", 1.5)])
def test_a_bound_of_another_type_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=name):
        Control(**{name: value})
