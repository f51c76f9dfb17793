"""Sessions that nobody comes back to: they end for good by themselves, and never what somebody has said to them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.running import MODEL, Scene, of, scene, soon, until

from holdfast import Agent, Control, Limits, tool
from holdfast.engine.events import SessionEnded
from holdfast.errors import SessionExited, UsageError
from holdfast.testing import Call, Turn
from holdfast.testing.clock import FakeClock
from holdfast.types import IDLE_LIMIT, stream_id

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
async def test_a_prompt_that_comes_as_the_time_is_over_is_answered_or_refused_and_never_dropped(
    steps: int, tmp_path: Path
) -> None:
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
@pytest.mark.parametrize("idle", [0, -1, float("inf"), float("nan"), IDLE_LIMIT + 1])
def test_a_time_that_is_none_is_refused(idle: float) -> None:
    with pytest.raises(UsageError, match="idle"):
        Control(idle=idle)
