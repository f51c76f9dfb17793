"""A critic of runs that stand still: when it is asked, what it is told, and what comes of what it says."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, Scene, all_answered, asked, of, scene, seen, soon, until

from holdfast import Agent, Limits, Wait, tool
from holdfast.engine.events import AbortRequested, InputDropped, InputReceived, LimitsRaised, RunStarted
from holdfast.errors import UsageError
from holdfast.runtime.configuring.equipment import Equipment
from holdfast.runtime.guarding.critic import Critic, Extend, Kill, Nudge, Raise, Stalled, Verdict
from holdfast.runtime.runtime import Runtime
from holdfast.testing import Call, Turn
from holdfast.testing.clock import FakeClock
from holdfast.testing.faults import Hang
from holdfast.types import stream_id

RAN: list[str] = []
GATES: dict[str, asyncio.Event] = {}
STREAM = stream_id("local", "s")


@tool(effect="none")
async def look(name: str) -> str:
    """Looks, as long as it takes."""
    RAN.append(name)
    if name in GATES:
        await GATES[name].wait()
    return f"{name} seen"


@tool
async def ask(token: str) -> Wait:
    """Asks somebody."""
    return Wait(token, "question", None, "Well?")


AGENT = Agent(MODEL, tools=[look, ask])


def looks(*names: str) -> Turn:
    return Turn(calls=[Call("look", {"name": name}) for name in names])


class Says:
    """A critic that says one thing after another, then nothing."""

    def __init__(self, *verdicts: Verdict) -> None:
        self.verdicts = list(verdicts)
        self.told: list[Stalled] = []

    async def __call__(self, stalled: Stalled) -> Verdict:
        self.told.append(stalled)
        return self.verdicts.pop(0) if self.verdicts else None


@pytest.fixture(autouse=True)
def fresh() -> None:
    RAN.clear()
    GATES.clear()
    GATES.update({name: asyncio.Event() for name in ("a", "b")})


async def begun(name: str) -> None:
    await until(lambda: name in RAN, f"{name} never began")


@pytest.mark.requirement("engine:critic")
async def test_it_is_asked_once_in_each_standstill_and_again_when_something_has_happened_since() -> None:
    clock, critic = FakeClock(), Says()
    async with scene([looks("a"), looks("b"), "done"], clock=clock, critic=critic) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await begun("a")
        await clock.advance(89)
        assert critic.told == []
        await clock.advance(2)
        await until(lambda: len(critic.told) == 1)
        await clock.advance(1000)
        assert len(critic.told) == 1
        GATES["a"].set()
        await begun("b")
        await clock.advance(89)
        assert len(critic.told) == 1
        await clock.advance(92)
        await until(lambda: len(critic.told) == 2)
        GATES["b"].set()
        assert (await soon(run.result())).output == "done"
        await until(lambda: s.runtime._watch is not None and not s.runtime._watch._timers)
        log = await s.log()
    first, second = critic.told
    assert (first.session, first.run, first.phase, first.steps) == ("s", 2, "acting", 1)
    assert [call.replace(" ", "") for call in first.calls] == ['look{"name":"a"}']
    assert 90 <= first.idle <= first.seconds < 92
    assert [words.split()[0] for words in first.last] == ["run.started", "model.finished", "tool.started"]
    assert "look" in first.last[-1]
    assert (second.steps, second.tokens > 0, second.extensions) == (2, True, 0)
    assert all(event.actor != "critic" for event in log), "it said nothing"


@pytest.mark.requirement("engine:critic")
async def test_a_model_that_does_not_answer_is_a_standstill_and_a_person_who_does_not_is_none() -> None:
    clock, critic = FakeClock(), Says(Kill("the model is gone"))
    script = [Turn(calls=[Call("ask", {"token": "q"})]), Turn("never", fault=Hang(after_events=1))]
    async with scene(script, clock=clock, critic=critic) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(seen(run, "tool.waiting"))
        await until(lambda: s.runtime._worker.tail(STREAM) is None, "the session is still driven")
        await clock.advance(500)
        assert critic.told == []
        await run.answer("q", "yes")
        await soon(s.server.arrived(2))
        await clock.advance(91)
        result = await soon(run.result())
        log = await s.log()
    assert [(each.phase, each.calls) for each in critic.told] == [("thinking", ())]
    assert (result.status, result.reason) == ("aborted", "the model is gone")
    (aborted,) = [event for event in log if isinstance(event.data, AbortRequested)]
    assert (aborted.actor, aborted.cause.startswith("critic:")) == ("critic", True)
    assert all_answered(log)


@pytest.mark.requirement("engine:critic")
async def test_a_nudge_is_read_by_the_model_when_the_call_is_over() -> None:
    clock, critic = FakeClock(), Says(Nudge("Try something quicker."))
    async with scene([looks("a"), "I will."], clock=clock, critic=critic) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await begun("a")
        await clock.advance(91)
        live = s.runtime._worker._live[STREAM]
        await until(lambda: live.attempt.hurried)
        GATES["a"].set()
        assert (await soon(run.result())).status == "completed"
        log = await s.log()
        said = asked(s.server)[-1]
    assert said[-1] == {"role": "user", "content": "Try something quicker."}
    assert [event.actor for event in log if isinstance(event.data, InputReceived)] == ["user", "critic"]


@pytest.mark.requirement("engine:critic")
async def test_a_nudge_that_comes_too_late_for_its_run_opens_no_other() -> None:
    clock, critic = FakeClock(), Says(Nudge("Hello?"))
    async with scene([looks("a")], clock=clock, critic=critic) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await begun("a")
        await clock.advance(91)
        live = s.runtime._worker._live[STREAM]
        await until(lambda: live.attempt.hurried)
        await run.abort("enough")
        assert (await soon(run.result())).status == "aborted"
        await until(lambda: s.runtime._worker.tail(STREAM) is None, "the session is still driven")
        log = await s.log()
    assert len(of(RunStarted, log)) == 1
    assert len(of(InputDropped, log)) == 1
    assert len(s.server.requests) == 1


@pytest.mark.requirement("engine:critic")
async def test_more_time_counts_for_what_is_under_way_and_is_given_once_in_a_run() -> None:
    clock, critic = FakeClock(), Says(Extend(100), Extend(100))
    async with scene([looks("a"), looks("b"), "never"], clock=clock, critic=critic) as s:
        run = await s.runtime.start(AGENT, "go", session="s", limits=Limits(seconds=120))
        await begun("a")
        await clock.advance(115)
        await until(lambda: len(critic.told) == 1)
        await clock.advance(15)  # beyond the limit as it was
        assert not s.runtime._worker._live[STREAM].attempt.interrupted
        GATES["a"].set()
        await begun("b")
        await clock.advance(85)
        await until(lambda: len(critic.told) == 1)
        await clock.advance(10)
        result = await soon(run.result())
        log = await s.log()
    assert (result.status, result.reason) == ("limited", "seconds")
    assert [(each.seconds, each.steps) for each in of(LimitsRaised, log)] == [(100, 0)]
    finished = log[-1]
    assert 220 <= (finished.at - log[0].at) / 1e6 < 226
    assert all_answered(log)


@pytest.mark.requirement("engine:critic")
@pytest.mark.parametrize(("extensions", "ends"), [(1, 100), (2, 150), (0, 50)])
async def test_it_may_say_so_as_often_as_it_likes_and_is_granted_so_many(extensions: int, ends: float) -> None:
    clock, says = FakeClock(), Says(Extend(50), Extend(50), Extend(50), Extend(50))
    critic = Critic(says, soft=10, extensions=extensions)
    turns = [looks(str(number)) for number in range(4)]
    GATES.update({str(number): asyncio.Event() for number in range(4)})
    async with scene([*turns, looks("a")], clock=clock, critic=critic) as s:
        run = await s.runtime.start(AGENT, "go", session="s", limits=Limits(seconds=50))
        for number in range(4):
            await begun(str(number))
            await clock.advance(11)
            await until(lambda number=number: len(says.told) == number + 1)
            GATES[str(number)].set()
        await begun("a")
        await clock.advance(200)
        result = await soon(run.result())
        log = await s.log()
    assert result.reason == "seconds"
    assert ends <= (log[-1].at - log[0].at) / 1e6 < ends + 1
    assert [each.extensions for each in says.told] == [min(number, extensions) for number in range(len(says.told))]


@pytest.mark.requirement("engine:critic")
async def test_more_steps_are_steps_the_run_may_make() -> None:
    clock, critic = FakeClock(), Says(Raise(2))
    async with scene([looks("a"), looks("c"), "done"], clock=clock, critic=critic) as s:
        run = await s.runtime.start(AGENT, "go", session="s", limits=Limits(steps=1))
        await begun("a")
        await clock.advance(91)
        live = s.runtime._worker._live[STREAM]
        await until(lambda: live.attempt.pen.hinted)
        GATES["a"].set()
        result = await soon(run.result())
    assert (result.status, result.output, result.steps) == ("completed", "done", 3)


@pytest.mark.requirement("engine:critic")
async def test_what_it_said_survives_the_process_that_heard_it(tmp_path: Path) -> None:
    clock, critic = FakeClock(), Says(Extend(1000))
    async with scene([looks("a"), "never"], clock=clock, critic=critic, url=f"sqlite:///{tmp_path}/s.db") as s:
        await s.runtime.start(AGENT, "go", session="s", limits=Limits(seconds=120))
        await begun("a")
        await clock.advance(91)
        live = s.runtime._worker._live[STREAM]
        await until(lambda: bool(live.attempt._given))
        await s.runtime.close()
        async with s.other() as other:
            RAN.clear()
            again = await other.resume("s", AGENT)
            await begun("a")
            await clock.advance(900)
            assert not other._worker._live[STREAM].attempt.interrupted, "it goes on beyond its first limit"
            await clock.advance(200)
            result = await soon(again.result())
            log = await Scene(s.server, other, s.url, s.clock).log()
    assert (result.status, result.reason) == ("limited", "seconds")
    assert [(event.actor, event.data.seconds) for event in log if isinstance(event.data, LimitsRaised)] == [
        ("critic", 1000)
    ]
    assert 1120 <= (log[-1].at - log[0].at) / 1e6 < 1200
    assert all_answered(log)


@pytest.mark.requirement("engine:critic")
async def test_two_who_ask_about_one_standstill_say_it_once(tmp_path: Path) -> None:
    clock = FakeClock()
    first, second = Says(Raise(5)), Says(Raise(5))
    async with scene([looks("a"), "never"], clock=clock, critic=first) as s:
        await s.runtime.start(AGENT, "go", session="s")
        await begun("a")
        await clock.advance(91)
        live = s.runtime._worker._live[STREAM]
        await until(lambda: live.attempt.pen.hinted)
        watch = Runtime(s.runtime.journal, clock, given=Equipment(critic=second))._watch
        assert watch is not None
        await watch._ask(STREAM, live.attempt.state, live.attempt.run)
        assert len(second.told) == 1
        assert len(await s.runtime.journal.mail(STREAM, 1)) == 1


async def _raises(_: Stalled) -> Verdict:
    raise RuntimeError("no idea")


async def _hangs(_: Stalled) -> Verdict:
    await asyncio.Event().wait()
    return None


async def _stays(_: Stalled) -> Verdict:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return Kill()
    return None


async def _nonsense(_: Stalled) -> Any:
    return "kill it"


async def _no_time(_: Stalled) -> Verdict:
    return Extend(-1)


@pytest.mark.requirement("engine:critic")
@pytest.mark.parametrize("critic", [_raises, _hangs, _stays, _nonsense, _no_time])
async def test_a_critic_that_breaks_breaks_no_run_and_the_event_loop_is_told(critic: Any) -> None:
    clock = FakeClock()
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    async with scene([looks("a"), "done"], clock=clock, critic=Critic(critic, soft=5)) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await begun("a")
        await clock.advance(6)
        await clock.advance(100)
        assert s.runtime._watch is not None
        assert s.runtime._watch._thinking == {}
        GATES["a"].set()
        assert (await soon(run.result())).output == "done"
        log = await s.log()
    assert ["'s'" in each["message"] for each in told] == [True]
    assert all(event.actor != "critic" for event in log)


async def test_a_runtime_that_is_closed_while_the_critic_thinks_waits_for_nobody() -> None:
    clock, thinks = FakeClock(), asyncio.Event()

    async def slow(_: Stalled) -> Verdict:
        thinks.set()
        await asyncio.Event().wait()
        return None

    async with scene([looks("a")], clock=clock, critic=slow) as s:
        await s.runtime.start(AGENT, "go", session="s")
        await begun("a")
        await clock.advance(91)
        await soon(thinks.wait())


@pytest.mark.requirement("engine:critic")
async def test_without_a_critic_nothing_waits_by_the_clock_for_it() -> None:
    waiting: list[int] = []
    for critic in (None, Says()):
        clock = FakeClock()
        RAN.clear()
        async with scene([looks("a")], clock=clock, critic=critic) as s:
            await s.runtime.start(AGENT, "go", session="s")
            await begun("a")
            await clock.advance(1)
            waiting.append(clock.waiting)
    assert waiting == [1, 2], "the heartbeat, and with a critic one look for the session"


def test_a_verdict_or_a_critic_that_means_nothing_is_refused() -> None:
    for wrong in (lambda: Extend(0), lambda: Extend(float("nan")), lambda: Raise(0), lambda: Raise(True)):
        with pytest.raises(UsageError):
            wrong()
    for options in ({"soft": 0}, {"patience": -1}, {"extensions": -1}):
        with pytest.raises(UsageError):
            Critic(_raises, **options)  # type: ignore[arg-type]
