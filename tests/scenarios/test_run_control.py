"""Pausing, steering between calls, and ending a session for good: what people say to a run, and when it counts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, Scene, all_answered, asked, of, scene, seen, soon, until

from holdfast import Agent, Effect, Limits, Runtime, Wait, tool
from holdfast.engine.events import InputDropped, Paused, RunFinished, SessionEnded, ToolFinished
from holdfast.errors import SessionBusy, SessionExited, UsageError
from holdfast.testing import Call, Turn
from holdfast.testing.clock import FakeClock
from holdfast.testing.faults import Status
from holdfast.testing.scripts import ScriptRequest
from holdfast.types import Control, Event, stream_id

RAN: list[str] = []
GATES: dict[str, asyncio.Event] = {}


@tool(effect=Effect(workspace=True, outside="none"))
async def step(name: str) -> str:
    """Changes files, so that one runs after the other."""
    RAN.append(name)
    if name in GATES:
        await GATES[name].wait()
    return f"{name} done"


@tool(effect="none")
async def look(name: str) -> str:
    """Looks."""
    RAN.append(name)
    if name in GATES:
        await GATES[name].wait()
    return f"{name} seen"


@tool
async def ask(token: str) -> Wait:
    """Asks somebody."""
    return Wait(token, "question", None, "Well?")


AGENT = Agent(MODEL, tools=[step, look, ask])
THREE = Turn(calls=[Call("step", {"name": name}) for name in ("one", "two", "three")])


URLS = pytest.mark.parametrize("url", ["memory:", "sqlite"])


def store(url: str, folder: Path) -> str:
    return url if url == "memory:" else f"sqlite:///{folder}/s.db"


@pytest.fixture(autouse=True)
def fresh() -> None:
    RAN.clear()
    GATES.clear()


async def parked(s: Scene) -> None:
    await until(lambda: s.runtime._worker.tail(stream_id("local", "s")) is None, "the session is still driven")


def results(log: list[Event]) -> list[str]:
    return [each.result.content for each in of(ToolFinished, log)]


@pytest.mark.requirement("engine:steer-between-tools")
@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_steer_during_the_second_of_three_calls_skips_the_third_and_is_read_next(
    tmp_path: Path, elsewhere: bool
) -> None:
    GATES["two"] = asyncio.Event()
    async with scene([THREE, "as you say"], url=f"sqlite:///{tmp_path}/s.db") as s, s.other() as other:
        run = await s.runtime.start(AGENT, "go", session="s", workspace=tmp_path)
        await until(lambda: "two" in RAN)
        receipt = await (other.run("s", run.key) if elsewhere else run).steer("stop that")
        live = s.runtime._worker._live[stream_id("local", "s")]
        await until(lambda: live.attempt.hurried)
        GATES["two"].set()
        result = await soon(run.result())
        await soon(receipt.committed())
        log = await s.log()
    assert (RAN, result.status) == (["one", "two"], "completed")
    assert [each[:4] for each in results(log)] == ["one ", "two ", "Skip"]
    said = asked(s.server)[-1]
    assert [message["role"] for message in said[-4:]] == ["tool", "tool", "tool", "user"]
    assert said[-1]["content"] == "stop that"
    assert all_answered(log)


@pytest.mark.requirement("engine:pause-gates")
async def test_a_paused_run_lets_what_is_under_way_end_and_goes_on_when_it_is_resumed(tmp_path: Path) -> None:
    GATES["one"] = asyncio.Event()
    async with scene([THREE, "all done"], url=f"sqlite:///{tmp_path}/s.db") as s:
        run = await s.runtime.start(AGENT, "go", session="s", workspace=tmp_path)
        await until(lambda: "one" in RAN)
        await run.pause("lunch")
        live = s.runtime._worker._live[stream_id("local", "s")]
        await until(lambda: live.attempt.hurried)
        GATES["one"].set()
        await soon(seen(run, "session.paused"))
        await parked(s)
        assert RAN == ["one"]
        assert of(Paused, await s.log())[0].reason == "lunch"
        async with s.other() as other:
            await other.session("s").resume()
        result = await soon(run.result())
    assert (result.status, RAN) == ("completed", ["one", "two", "three"])


@pytest.mark.requirement("engine:pause-gates")
async def test_a_paused_session_starts_no_run_until_it_is_resumed_and_an_abort_ends_a_paused_one() -> None:
    GATES["a"] = asyncio.Event()
    async with scene(["hello", Turn(calls=[Call("look", {"name": "a"})])]) as s:
        first = await s.runtime.start(AGENT, "go", session="s")
        await soon(first.result())
        await first.pause()
        second = await s.runtime.start(AGENT, "again", session="s")
        await soon(until(lambda: len(s.server.requests) == 1))
        await parked(s)
        assert [each.type for each in await s.log()].count("run.started") == 1
        await second.resume()
        await until(lambda: RAN == ["a"])
        await second.pause()
        await second.abort("enough")
        assert (await soon(second.result())).status == "aborted"


@pytest.mark.requirement("engine:exit-is-final")
async def test_an_exit_aborts_the_open_run_drops_what_is_queued_and_nothing_more_is_taken() -> None:
    GATES["a"] = asyncio.Event()
    async with scene([Turn(calls=[Call("look", {"name": "a"})])]) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await until(lambda: RAN == ["a"])
        queued = await s.runtime.start(AGENT, "next", session="s")
        await run.exit("closing time")
        assert (await soon(run.result())).reason == "closing time"
        assert (await soon(queued.result())).status == "aborted"
        await parked(s)
        with pytest.raises(SessionExited, match="ended for good"):
            await run.steer("hello?")
        with pytest.raises(SessionExited):
            await s.runtime.start(AGENT, "hello?", session="s")
        log = await s.log()
        assert (len(of(SessionEnded, log)), len(of(InputDropped, log)), len(of(RunFinished, log))) == (1, 1, 1)
        child = await s.runtime.fork("s", name="t")  # a fork of it lives
        assert child == "t"
    assert all_answered(log)


@pytest.mark.requirement("engine:queue-modes")
@pytest.mark.parametrize(("mode", "rounds"), [("all", [["a", "b"]]), ("one", [["a"], ["b"]])])
async def test_steers_reach_the_model_all_at_once_or_one_for_each_answer(mode: str, rounds: list[list[str]]) -> None:
    GATES["x"] = asyncio.Event()
    script = [Turn(calls=[Call("look", {"name": "x"})]), "first", "second"][: 1 + len(rounds)]
    if mode == "one":
        script[1] = Turn(calls=[Call("look", {"name": "y"})])
    async with scene(script) as s:
        run = await s.runtime.start(AGENT, "go", session="s", control=Control(steers=mode))  # type: ignore[arg-type]
        await until(lambda: RAN == ["x"])
        await run.steer("a")
        await run.steer("b")
        GATES["x"].set()
        await soon(run.result())
        requests = asked(s.server)[1:]
    new = [[m["content"] for m in request if m["role"] == "user"][1:] for request in requests]
    assert [said[sum(map(len, rounds[:n])) :] for n, said in enumerate(new)] == rounds


@pytest.mark.requirement("engine:last-answer")
async def test_a_run_at_its_limit_of_steps_may_say_a_last_word_without_tools() -> None:
    again = Turn(calls=[Call("look", {"name": "a"})])
    async with scene([again, again, "I got half-way."]) as s:
        limits = Limits(steps=2, last_answer=True)
        result = await soon((await s.runtime.start(AGENT, "go", session="s", limits=limits)).result())
        log = await s.log()
        last = s.server.requests[-1]
    assert (result.status, result.reason, result.output, result.steps) == ("limited", "steps", "I got half-way.", 3)
    assert json.loads(last.body)["tool_choice"] == "none"
    assert "limit of steps" in asked(s.server)[-1][-1]["content"]
    assert all_answered(log)


# ---- pauses, wherever they come ----------------------------------------------------------------------------------

ONE = Turn(calls=[Call("look", {"name": "a"})])
STREAM = stream_id("local", "s")


@pytest.mark.requirement("engine:pause-gates")
@URLS
async def test_a_pause_during_a_model_call_lets_it_end_and_its_calls_wait_until_it_is_over(
    url: str, tmp_path: Path
) -> None:
    asking_model, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(request: ScriptRequest) -> Turn | str:
        if request.answers:
            return "done"
        asking_model.set()
        await go_on.wait()
        return ONE

    async with scene(slowly, url=store(url, tmp_path)) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(asking_model.wait())
        receipt = await run.pause()
        go_on.set()
        await soon(receipt.committed())
        await parked(s)
        assert RAN == []
        assert [event.type for event in await s.log()][-2:] == ["model.finished", "session.paused"]
        head = await s.runtime.journal.head(STREAM)
        assert head is not None
        assert (head.state, head.owner, head.wake_at) == ("waiting", None, None)
        await run.resume()
        assert (await soon(run.result())).output == "done"
    assert RAN == ["a"]


@pytest.mark.requirement("engine:pause-gates")
async def test_a_pause_while_a_failed_model_is_waited_for_keeps_it_from_being_asked_again() -> None:
    clock = FakeClock()
    async with scene([Turn("done", fault=Status(status=529, times=1))], clock=clock) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        live = s.runtime._worker._live[STREAM]
        await until(lambda: live.attempt.patient)
        await run.pause()
        await parked(s)  # at once, and not when the time has come
        await clock.advance(60)
        assert len(s.server.requests) == 1
        await run.resume()
        await until(lambda: STREAM in s.runtime._worker._live and s.runtime._worker._live[STREAM].attempt.patient)
        await clock.advance(60)
        assert (await soon(run.result())).output == "done"


@pytest.mark.requirement("engine:pause-gates")
async def test_a_steer_while_a_failed_model_is_waited_for_is_in_the_next_request() -> None:
    clock = FakeClock()
    async with scene([Turn("done", fault=Status(status=529, times=1))], clock=clock) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        live = s.runtime._worker._live[STREAM]
        await until(lambda: live.attempt.patient)
        await run.steer("in short")
        await until(lambda: not live.attempt.state.queue and len(live.attempt.state.messages) == 2)
        await clock.advance(60)
        assert (await soon(run.result())).output == "done"
        assert asked(s.server)[-1][-1]["content"] == "in short"


@pytest.mark.requirement("engine:pause-gates")
@URLS
async def test_a_second_pause_and_a_resume_of_what_is_not_paused_change_nothing(url: str, tmp_path: Path) -> None:
    GATES["a"] = asyncio.Event()
    async with scene([ONE, "done", "again"], url=store(url, tmp_path)) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await until(lambda: RAN == ["a"])
        await run.resume()
        await run.pause("once")
        await run.pause("twice")
        GATES["a"].set()
        await soon(seen(run, "session.paused", 2))
        await parked(s)
        receipt = await run.resume()
        await soon(receipt.committed())
        assert (await soon(run.result())).output == "done"
        assert (await soon((await s.runtime.start(AGENT, "more", session="s")).result())).output == "again"


@pytest.mark.requirement("engine:pause-gates")
async def test_the_end_of_a_runs_time_ends_it_while_it_is_paused_and_so_does_an_abort() -> None:
    clock = FakeClock()
    GATES["a"] = asyncio.Event()
    async with scene([ONE, ONE], clock=clock) as s:
        run = await s.runtime.start(AGENT, "go", session="s", limits=Limits(seconds=60))
        await until(lambda: RAN == ["a"])
        await run.pause()
        live = s.runtime._worker._live[STREAM]
        await until(lambda: live.attempt.hurried)
        GATES["a"].set()
        await parked(s)
        await clock.advance(61)
        result = await soon(run.result())
        assert (result.status, result.reason) == ("limited", "seconds")
        second = await s.runtime.start(AGENT, "go", session="s")  # the session is paused still
        await until(lambda: STREAM in s.runtime._worker._parked)
        receipt = await second.abort("enough")
        await soon(receipt.committed())
        assert (await soon(second.result())).reason == "enough"
        assert len(s.server.requests) == 1


@pytest.mark.requirement("engine:pause-gates")
async def test_what_was_said_in_a_pause_joins_the_run_when_it_is_over() -> None:
    asking_model, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(request: ScriptRequest) -> str:
        if not request.answers:
            asking_model.set()
            await go_on.wait()
        return f"answer {request.answers}"

    async with scene(slowly) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(asking_model.wait())
        await run.pause()
        await run.follow_up("and then?")
        go_on.set()
        await soon(seen(run, "session.paused"))
        await parked(s)
        await run.resume()
        assert (await soon(run.result())).output == "answer 1"
        assert len(of(RunFinished, await s.log())) == 1


@pytest.mark.requirement("engine:pause-gates")
@pytest.mark.parametrize("mode", ["waits", "idle"])
async def test_a_pause_outlives_its_process(mode: str, tmp_path: Path) -> None:
    async with scene([Turn(calls=[Call("ask", {"token": "t"})]), "done"], url=store("sqlite", tmp_path)) as s:
        run = None
        if mode == "waits":
            run = await s.runtime.start(AGENT, "go", session="s")
            await soon(seen(run, "tool.waiting"))
            await parked(s)
            await run.answer("t", "blue")
        await s.runtime.session("s").pause()
        await s.runtime.close()
        async with s.other() as other:
            if run is None:
                run = await other.start(AGENT, "go", session="s")
            else:
                await other.resume("s", AGENT)
            await until(lambda: other._worker.tail(STREAM) is None)
            assert len(s.server.requests) == (mode == "waits")
            await other.session("s").resume()
            if mode == "idle":
                await soon(seen(other.run("s", run.key), "tool.waiting"))
                await other.session("s").answer("t", "blue")
            assert (await soon(other.run("s", run.key).result())).output == "done"


@pytest.mark.requirement("engine:control-names-its-sender")
async def test_the_log_says_who_sent_what(tmp_path: Path) -> None:
    GATES["a"] = asyncio.Event()
    async with scene([ONE, "done"], url=store("sqlite", tmp_path)) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await until(lambda: RAN == ["a"])
        async with Runtime.open(s.url, user="anna") as anna:
            session = anna.session("s")
            receipts = [await session.steer("left"), await session.pause("lunch"), await session.resume()]
            await anna.run("s", run.key).exit("closing time")
            for receipt in receipts:
                await soon(receipt.committed())
        result = await soon(run.result())
        log = await s.log()
    assert result.reason == "closing time"
    by = {event.type: event.actor for event in log if event.actor}
    assert {by[kind] for kind in ("session.paused", "session.resumed", "session.ended")} == {"anna"}
    assert [event.actor for event in log if event.type == "input.received"] == ["user", "anna"]
    assert {receipt.key for receipt in receipts} <= {event.cause for event in log}


@pytest.mark.requirement("engine:control-never-blocks")
async def test_what_is_accepted_is_committed_only_once_somebody_drives_the_session(tmp_path: Path) -> None:
    async with scene(["first", "second"], url=store("sqlite", tmp_path)) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        receipt = await s.runtime.session("s").pause("for the night", key="night")
        assert (receipt.status, receipt.key) == ("accepted", "night")
        assert (await s.runtime.session("s").pause(key="night")).status == "duplicate"
        committed = asyncio.ensure_future(receipt.committed())
        await asyncio.sleep(0)
        assert not committed.done()
        with pytest.raises(SessionBusy):
            await s.runtime.start(AGENT, "more", session="s", if_idle=True)
        run = await s.runtime.start(AGENT, "more", session="s")
        await soon(committed)
        async with s.other() as other:  # also seen from elsewhere
            again = await other.session("s").resume()
            await soon(again.committed())
        assert (await soon(run.result())).output == "second"


# ---- how it is taken up -----------------------------------------------------------------------------------------


@pytest.mark.requirement("engine:queue-modes", "engine:follow-up-modes")
@pytest.mark.parametrize(("mode", "rounds"), [("all", 1), ("one", 2)])
async def test_follow_ups_reach_the_model_one_for_each_answer_or_all_at_once(mode: str, rounds: int) -> None:
    GATES["a"] = asyncio.Event()
    async with scene([ONE, "first", "second", "third"]) as s:
        control = Control(follow_ups=mode)  # type: ignore[arg-type]
        run = await s.runtime.start(AGENT, "go", session="s", control=control)
        await until(lambda: RAN == ["a"])
        await run.follow_up("x")
        await run.follow_up("y")
        GATES["a"].set()
        result = await soon(run.result())
        said = [m["content"] for m in asked(s.server)[-1] if m["role"] == "user"]
    assert (said, result.steps) == (["go", "x", "y"], 2 + rounds)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steers": "some"},
        {"follow_ups": ""},
        {"patience": 0},
        {"patience": float("inf")},
        {"patience": float("nan")},
        {"review": -1},
        {"review": 1001},
    ],
)
def test_a_control_that_means_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Control(**wrong)


@pytest.mark.requirement("engine:last-answer")
async def test_a_last_answer_that_wants_tools_all_the_same_gets_none_and_the_run_is_over() -> None:
    async with scene([ONE, ONE, "never"]) as s:
        run = await s.runtime.start(AGENT, "go", session="s", limits=Limits(steps=1, last_answer=True))
        result = await soon(run.result())
        log = await s.log()
    assert (result.status, result.reason, RAN) == ("limited", "steps", ["a"])
    assert all_answered(log)


@pytest.mark.requirement("engine:loops-of-several-turns")
@pytest.mark.parametrize("period", [1, 2, 3, 4])
async def test_turns_that_go_round_are_found_out_whatever_they_go_round_over(period: int) -> None:
    def round_and_round(request: ScriptRequest) -> Turn:
        return Turn(calls=[Call("look", {"name": f"n{request.answers % period}"})])

    async with scene(round_and_round) as s:
        run = await s.runtime.start(AGENT, "go", session="s", limits=Limits(identical_repeats=3))
        result = await soon(run.result())
    assert (result.status, result.reason, result.steps) == ("limited", "identical_repeats", 3 * period)


@pytest.mark.requirement("engine:loops-of-several-turns")
async def test_turns_that_only_resemble_one_another_are_no_loop() -> None:
    def onwards(request: ScriptRequest) -> Turn | str:
        number = request.answers
        return "done" if number == 12 else Turn(calls=[Call("look", {"name": f"n{number * number % 13}"})])

    async with scene(onwards) as s:
        run = await s.runtime.start(AGENT, "go", session="s", limits=Limits(identical_repeats=3))
        assert (await soon(run.result())).status == "completed"
