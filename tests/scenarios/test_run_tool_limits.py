"""Tools that fail again and again, and models that go round: both are stopped, and work that gets on is not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.running import MODEL, Scene, all_answered, scene, soon, until

from holdfast import Agent, Limits, tool
from holdfast.testing import Call, Turn
from holdfast.testing.scripts import ScriptRequest

LOOKS: list[str] = []
GATE: list[asyncio.Event] = []


@tool(effect="none")
async def look(name: str) -> str:
    """Looks at something that stays as it is."""
    LOOKS.append(name)
    if GATE and len(LOOKS) == 3:
        await GATE[0].wait()
    return f"{name} is as it was"


@tool(effect="none")
async def poll() -> str:
    """Looks at something that changes."""
    LOOKS.append("poll")
    return f"{len(LOOKS)} percent"


@tool(effect="none")
async def fail(name: str) -> str:
    """Fails."""
    LOOKS.append(name)
    raise ValueError(name)


AGENT = Agent(MODEL, tools=[look, poll, fail])
LIMITS = Limits(identical_repeats=3, consecutive_errors=3)


@pytest.fixture(autouse=True)
def fresh() -> None:
    LOOKS.clear()
    GATE.clear()


@pytest.mark.requirement("engine:limit-consecutive-errors", "engine:limit-keeps-partial-result")
async def test_three_steps_in_a_row_of_which_every_call_failed_end_the_run_with_what_it_has() -> None:
    def model(request: ScriptRequest) -> Turn:
        number = request.answers
        return Turn(f"Try {number}.", calls=[Call("fail", {"name": f"{number}"}), Call("none", {"n": number})])

    async with scene(model) as s:
        result = await soon((await s.runtime.start(AGENT, "go", session="s", limits=LIMITS)).result())
        log = await s.log()
    assert (result.status, result.reason, result.steps, result.output) == ("limited", "consecutive_errors", 3, "Try 2.")
    assert LOOKS == ["0", "1", "2"]
    assert all_answered(log)


@pytest.mark.requirement("engine:limit-consecutive-errors")
@pytest.mark.parametrize("beside", [True, False])
async def test_one_call_that_goes_well_in_between_or_beside_begins_the_count_anew(beside: bool) -> None:
    def model(request: ScriptRequest) -> Turn | str:
        number = request.answers
        failing = Call("fail", {"name": f"{number}"})
        if beside:
            return "done" if number == 6 else Turn(calls=[failing, Call("look", {"name": f"{number}"})])
        well = Turn(calls=[Call("look", {"name": f"{number}"})])
        return "done" if number == 9 else well if number % 3 == 2 else Turn(calls=[failing])

    async with scene(model) as s:
        result = await soon((await s.runtime.start(AGENT, "go", session="s", limits=LIMITS)).result())
    assert (result.status, result.output) == ("completed", "done")


@pytest.mark.requirement("engine:limit-identical-repeats")
async def test_the_same_call_with_another_result_each_time_is_no_loop() -> None:
    def model(request: ScriptRequest) -> Turn | str:
        return "done" if request.answers == 12 else Turn(calls=[Call("poll")])

    async with scene(model) as s:
        result = await soon((await s.runtime.start(AGENT, "go", session="s", limits=LIMITS)).result())
    assert (result.status, result.steps) == ("completed", 13)


@pytest.mark.requirement("engine:loops-of-several-turns")
@pytest.mark.parametrize("changes", [False, True])
async def test_two_calls_in_turns_are_a_loop_unless_one_of_them_gets_on(changes: bool) -> None:
    def model(request: ScriptRequest) -> Turn | str:
        if request.answers == 12:
            return "done"
        other = Call("poll") if changes else Call("look", {"name": "b"})
        return Turn(calls=[Call("look", {"name": "a"}) if request.answers % 2 == 0 else other])

    async with scene(model) as s:
        result = await soon((await s.runtime.start(AGENT, "go", session="s", limits=LIMITS)).result())
    if changes:
        assert (result.status, result.steps) == ("completed", 13)
    else:
        assert (result.status, result.reason, result.steps) == ("limited", "identical_repeats", 6)


@pytest.mark.requirement("engine:loops-of-several-turns", "engine:limit-survives-resume")
async def test_a_loop_is_seen_through_over_a_crash_in_the_middle_of_it(tmp_path: Path) -> None:
    def model(request: ScriptRequest) -> Turn:
        return Turn(calls=[Call("look", {"name": "ab"[request.answers % 2]})])

    GATE.append(asyncio.Event())
    async with scene(model, url=f"sqlite:///{tmp_path}/s.db") as s:
        await s.runtime.start(AGENT, "go", session="s", limits=LIMITS)
        await until(lambda: len(LOOKS) == 3)
        await s.runtime.close()
        async with s.other() as other:
            result = await soon((await other.resume("s", AGENT)).result())
            log = await Scene(s.server, other, s.url, s.clock).log()
    assert (result.reason, result.steps) == ("identical_repeats", 6)
    assert all_answered(log)
