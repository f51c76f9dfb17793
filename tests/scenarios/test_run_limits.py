"""Limits through whole runs: each stops by its name, keeps what there is, and holds over a crash."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.running import MODEL, HastyClock, Scene, all_answered, of, scene, seen, soon, until

from holdfast import Agent, Limits, Price, tool
from holdfast.engine.events import ModelFailed, ModelFinished, ModelStarted, RunFinished
from holdfast.errors import UnknownPrice
from holdfast.testing import Call, Tokens, Turn
from holdfast.testing.clock import FakeClock
from holdfast.testing.faults import Hang, Status
from holdfast.testing.scripts import ScriptRequest
from holdfast.types import stream_id

PRICE = {MODEL: Price.per_million(1, 10)}
RAN: list[str] = []
BEGAN = asyncio.Event()


@tool(effect="none")
async def step(n: int = 0) -> str:
    """Takes a step."""
    RAN.append(str(n))
    return f"step {n}"


@tool(effect="none")
async def fail(n: int = 0) -> str:
    """Fails."""
    raise ValueError(str(n))


@tool(effect="none")
async def linger() -> str:
    """Takes for ever."""
    BEGAN.set()
    await asyncio.Event().wait()
    return ""


AGENT = Agent(MODEL, instructions="Go on.", tools=[step, fail, linger])


@pytest.fixture(autouse=True)
def fresh() -> None:
    RAN.clear()
    BEGAN.clear()


def stepping(request: ScriptRequest) -> Turn:
    """A model that never comes to an end."""
    return Turn(f"On to {request.answers}.", calls=[Call("step", {"n": request.answers})])


def failing(request: ScriptRequest) -> Turn:
    return Turn(calls=[Call("fail", {"n": request.answers})])


def repeating(request: ScriptRequest) -> Turn:
    return Turn("Again.", calls=[Call("step", {"n": 1})])


def twice(request: ScriptRequest) -> Turn:
    return Turn("Two.", calls=[Call("step", {"n": 2 * request.answers + each}) for each in range(2)])


CASES: list[tuple[str, Limits, Any, int, int]] = [
    # the limit's name, how it is set, the model, model calls and tool calls that run (0 where it depends on sizes)
    ("steps", Limits(steps=3), stepping, 3, 3),
    ("tool_calls", Limits(tool_calls=3), twice, 2, 2),
    ("tool_calls", Limits(tool_calls=4), twice, 3, 4),
    ("tool_calls", Limits(tool_calls=0), stepping, 1, 0),
    ("consecutive_errors", Limits(consecutive_errors=2), failing, 2, 0),
    ("identical_repeats", Limits(identical_repeats=3), repeating, 3, 3),
    ("tokens", Limits(tokens=10_000), stepping, 0, 0),
    ("dollars", Limits(dollars=0.02), stepping, 0, 0),
]


@pytest.mark.requirement(
    "engine:limit-steps",
    "engine:limit-tool-calls",
    "engine:limit-tokens",
    "engine:limit-dollars",
    "engine:limit-consecutive-errors",
    "engine:limit-identical-repeats",
    "engine:limit-keeps-partial-result",
)
@pytest.mark.parametrize(("name", "limits", "script", "asked", "ran"), CASES)
async def test_a_run_ends_at_its_limit_by_name_and_keeps_what_it_has(
    name: str, limits: Limits, script: Any, asked: int, ran: int
) -> None:
    def model(request: ScriptRequest) -> Turn:
        return msgspec.structs.replace(script(request), usage=Tokens(input_tokens=300, output_tokens=10))

    async with scene(model, prices=PRICE) as s:
        result = await soon((await s.runtime.start(AGENT, "go", session="s", limits=limits)).result())
        log, requests = await s.log(), len(s.server.requests)
    assert (result.status, result.reason) == ("limited", name)
    assert (requests, len(RAN)) == (asked, ran) if asked else requests > 3
    said = [answer.message.text for answer in of(ModelFinished, log) if answer.message.text]
    assert result.output == (said[-1] if said else "")
    assert result.usage.input_tokens == 300 * requests
    assert result.usage.total_tokens <= (limits.tokens or 10**9)
    assert (result.cost or 0) <= (limits.dollars or 10**9)
    assert all_answered(log)
    assert len(of(RunFinished, log)) == 1


async def test_a_limit_of_the_agent_holds_where_the_run_does_not_say() -> None:
    agent = Agent(MODEL, tools=[step], limits=Limits(steps=1))
    async with scene(stepping) as s:
        assert (await soon((await s.runtime.start(agent, "go")).result())).steps == 1
        assert (await soon((await s.runtime.start(agent, "go", limits=Limits(steps=2))).result())).steps == 2


@pytest.mark.requirement("engine:limit-dollars-price-unknown")
async def test_a_dollar_cap_on_a_model_without_a_price_is_refused_before_anything_is_written() -> None:
    async with scene(stepping) as s:
        with pytest.raises(UnknownPrice, match=r"'openai/scripted'.*Runtime\.open\(prices"):
            await s.runtime.start(AGENT, "go", session="s", limits=Limits(dollars=1))
        assert await s.runtime.journal.head("local/s") is None  # type: ignore[arg-type]
        assert not s.server.requests


async def test_near_the_cap_the_answer_is_asked_for_shorter_and_the_cap_is_never_passed() -> None:
    # The answer is dear and the question costs next to nothing.
    def model(request: ScriptRequest) -> Turn:
        return msgspec.structs.replace(stepping(request), usage=Tokens(output_tokens=10))

    async with scene(model, prices={MODEL: Price.per_million(0.001, 10)}) as s:
        limits = Limits(dollars=0.005, steps=None)
        result = await soon((await s.runtime.start(AGENT, "go", session="s", limits=limits)).result())
        bodies: list[Any] = [request.json() for request in s.server.requests]
        log = await s.log()
    caps = [body["max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"] for body in bodies]
    assert (result.status, result.reason) == ("limited", "dollars")
    assert caps == sorted(caps, reverse=True)
    assert caps[0] < 500
    assert caps[-1] < 40
    assert result.cost is not None
    assert result.cost <= 0.005
    held = of(ModelStarted, log)
    assert len(held) == len(bodies), "each call is in the log before it is made"
    assert all((start.cost or 0) <= 5_000_000 for start in held)


async def test_a_provider_that_reports_more_than_it_could_have_used_is_charged_in_full_and_the_run_stops() -> None:
    script = [Turn("Much.", calls=[Call("step")], usage=Tokens(input_tokens=10**6, output_tokens=10**6)), "never"]
    async with scene(script, prices=PRICE) as s:
        limits = Limits(dollars=5)
        result = await soon((await s.runtime.start(AGENT, "go", session="s", limits=limits)).result())
        log = await s.log()
    assert (result.status, result.reason) == ("limited", "reservation_exceeded")
    assert result.cost == 11
    assert [answer.exceeded for answer in of(ModelFinished, log)] == [True]
    assert RAN == []
    assert all_answered(log)


async def test_a_call_that_was_stopped_stays_charged_at_what_was_reserved_for_it() -> None:
    async with scene([Turn("never", fault=Hang())], prices=PRICE) as s:
        run = await s.runtime.start(AGENT, "go", session="s", limits=Limits(tokens=50_000))
        await soon(s.server.arrived(1))
        await run.abort()
        result = await soon(run.result())
        log = await s.log()
    (held,) = of(ModelStarted, log)
    (failed,) = of(ModelFailed, log)
    assert (result.status, failed.code) == ("aborted", "interrupted")
    assert result.cost == (held.cost or 0) / 1e9 > 0


def failures(s: Scene) -> int:
    """Returns how often the model failed in a row, in the run that is open."""
    live = s.runtime._worker._live.get(stream_id("local", "s"))
    return live.attempt.run.failures if live and live.attempt.state.run else 0


@pytest.mark.requirement("engine:model-retry-wait-is-free")
@pytest.mark.parametrize("end", ["abort", "seconds"])
async def test_a_run_that_ends_while_it_waits_to_ask_again_pays_nothing_for_the_call_it_did_not_make(end: str) -> None:
    clock = FakeClock()
    busy = Turn("never", fault=Status(status=503, retry_after=50))
    async with scene([busy], prices=PRICE, clock=clock) as s:
        limits = Limits(tokens=50_000, seconds=40)
        run = await s.runtime.start(AGENT, "go", session="s", limits=limits)
        await until(lambda: failures(s) == 1)
        if end == "abort":
            await run.abort()
        await clock.advance(1 if end == "abort" else 41)
        result = await soon(run.result())
        log = await s.log()
    assert result.status == ("aborted" if end == "abort" else "limited")
    assert (result.cost, result.usage.total_tokens) == (0, 0)
    assert [failed.code for failed in of(ModelFailed, log)] == ["overloaded"], "no call was made, so none failed"
    assert len(of(ModelStarted, log)) == len(s.server.requests) == 1


async def test_a_call_is_reserved_when_its_moment_has_come() -> None:
    clock = FakeClock()
    async with scene([Turn("here", fault=Status(status=503, retry_after=50, times=1))], clock=clock) as s:
        run = await s.runtime.start(AGENT, "go", session="s", limits=Limits(tokens=50_000))
        await until(lambda: failures(s) == 1)
        await clock.advance(49)
        assert (await s.kinds())[-1] == "model.failed"
        await clock.advance(2)
        await until(lambda: len(s.server.requests) == 2)
        assert (await soon(run.result())).output == "here"
        started = [event.at for event in await s.log() if event.type == "model.started"]
    assert started[1] - started[0] >= 50_000_000


@pytest.mark.requirement("engine:model-empty-answer-charged")
@pytest.mark.parametrize("limits", [Limits(), Limits(tokens=50_000), Limits(dollars=1)])
async def test_an_empty_answer_costs_what_the_provider_reports_limit_or_none(limits: Limits) -> None:
    asked: list[int] = []

    def model(_: Any) -> Turn:
        asked.append(1)
        if len(asked) < 3:
            return Turn("", usage=Tokens(input_tokens=300, output_tokens=10))
        return Turn("here", usage=Tokens(input_tokens=400, output_tokens=20))

    async with scene(model, prices=PRICE, clock=HastyClock()) as s:
        run = await s.runtime.start(AGENT, "go", session="s", limits=limits)
        result = await soon(run.result())
        log = await s.log()
        after = [event.seq for event in log if event.type == "model.failed"][-1]
        child = s.runtime.run(await s.runtime.fork("s", at=after), run.key)
        left = await soon(child.result())
    assert (result.output, result.steps) == ("here", 1)
    assert (result.usage.input_tokens, result.usage.output_tokens) == (1000, 40)
    assert result.cost == pytest.approx(0.0014)
    assert (left.status, left.usage.input_tokens, left.usage.output_tokens) == ("aborted", 600, 20)
    assert left.cost == pytest.approx(0.0008), "a branch counts as the run does"
    assert [failed.usage is not None for failed in of(ModelFailed, log)] == [True, True]


@pytest.mark.requirement("engine:model-empty-answer-charged")
async def test_an_empty_answer_stays_charged_at_its_reservation_when_nothing_was_reported() -> None:
    asked: list[int] = []

    def model(_: Any) -> Turn:
        asked.append(1)
        return Turn("" if len(asked) < 2 else "here", usage=Tokens(input_tokens=0, output_tokens=0))

    async with scene(model, prices=PRICE, clock=HastyClock()) as s:
        limits = Limits(tokens=50_000)
        result = await soon((await s.runtime.start(AGENT, "go", session="s", limits=limits)).result())
        log = await s.log()
    assert result.output == "here"
    assert result.cost == (of(ModelStarted, log)[0].cost or 0) / 1e9 > 0


async def test_an_empty_answer_that_used_more_than_it_could_have_stops_the_run() -> None:
    much = Turn("", usage=Tokens(input_tokens=10**6, output_tokens=10**6))
    async with scene([much], prices=PRICE) as s:
        result = await soon((await s.runtime.start(AGENT, "go", limits=Limits(dollars=50))).result())
        assert len(s.server.requests) == 1
    assert (result.status, result.reason, result.cost) == ("limited", "reservation_exceeded", 11)


@pytest.mark.requirement("engine:limit-survives-resume")
async def test_what_was_spent_before_a_crash_counts_after_it_lost_calls_at_their_reservation(tmp_path: Path) -> None:
    stuck = asyncio.Event()

    async def model(request: ScriptRequest) -> Turn:
        if request.answers == 2 and not stuck.is_set():
            stuck.set()
            await asyncio.Event().wait()
        return msgspec.structs.replace(stepping(request), usage=Tokens(input_tokens=2000, output_tokens=100))

    limits = Limits(steps=4, tokens=100_000)
    async with scene(model, url=f"sqlite:///{tmp_path}/s.db", prices=PRICE) as s:
        await s.runtime.start(AGENT, "go", session="s", limits=limits)
        await soon(stuck.wait())
        await s.runtime.close()
        async with s.other() as later:
            result = await soon((await later.resume("s")).result())
            other = Scene(s.server, later, s.url, s.clock)
            log = await other.log()
    assert (result.status, result.reason, result.steps) == ("limited", "steps", 4)
    assert [failed.code for failed in of(ModelFailed, log)] == ["lost"]
    lost = of(ModelStarted, log)[2]
    after = of(ModelStarted, log)[3]
    assert lost.tokens + after.tokens + 2 * 2100 <= 100_000, "the reservation of the lost call is gone for good"
    assert after.tokens < 100_000 - 2 * 2100 - lost.tokens + 1


@pytest.mark.requirement("engine:limit-wall-time")
@pytest.mark.parametrize("slow", ["model", "tool", "retry"])
async def test_time_ends_a_run_in_the_middle_of_whatever_is_under_way(slow: str) -> None:
    clock = FakeClock()
    turns = {
        "model": Turn("never", fault=Hang(after_events=1)),
        "tool": Turn("First.", calls=[Call("linger")]),
        "retry": Turn("never", fault=Status(status=503, retry_after=50)),
    }
    async with scene([turns[slow], "never"], clock=clock) as s:
        run = await s.runtime.start(AGENT, "go", session="s", limits=Limits(seconds=40))
        await soon(BEGAN.wait() if slow == "tool" else s.server.arrived(1))
        await until(lambda: clock.waiting >= 2, "the run waits by the clock")
        await clock.advance(39)
        assert not any(event.type == "run.finished" for event in await s.log())
        await clock.advance(2)
        result = await soon(run.result())
        log = await s.log()
    assert (result.status, result.reason) == ("limited", "seconds")
    assert result.output == ("First." if slow == "tool" else "")
    assert all_answered(log)
    assert len(s.server.requests) == 1


@pytest.mark.requirement("engine:model-answer-cut-off")
async def test_an_answer_that_ran_into_its_cap_is_told_from_a_whole_one() -> None:
    async with scene([Turn("Once upon a ti", stop="length")]) as s:
        result = await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        (answered,) = of(ModelFinished, await s.log())
    assert (result.status, result.reason, result.output) == ("limited", "max_output_tokens", "Once upon a ti")
    assert answered.message.stop == "length"


async def test_a_run_that_met_its_limit_leaves_the_session_fit_for_the_next_one() -> None:
    async with scene(stepping) as s:
        first = await s.runtime.start(AGENT, "a", session="s", limits=Limits(steps=2))
        assert (await soon(first.result())).reason == "steps"
        second = await s.runtime.start(AGENT, "b", session="s", limits=Limits(steps=2))
        await soon(seen(second, "tool.finished", 1))
        result = await soon(second.result())
        assert (result.reason, result.steps, result.usage.input_tokens) == ("steps", 2, 200)
        await until(lambda: len(s.server.requests) == 4)


@pytest.mark.requirement("engine:nothing-sent-nothing-spent")
async def test_a_provider_that_cannot_be_reached_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(["never asked"], prices=PRICE, clock=HastyClock()) as s:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{nobody.getsockname()[1]}/v1")
            run = await s.runtime.start(AGENT, "go", session="s", limits=Limits(dollars=0.05))
            result = await soon(run.result())
        failed = of(ModelFailed, await s.log())
    assert (result.status, result.cost) == ("failed", 0)
    assert {each.code for each in failed} == {"unreachable"}
    assert len(failed) == 3
