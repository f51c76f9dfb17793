"""Model servers that fail, each in its own way: one documented class, one outcome, retries where they may help."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.running import MODEL, HastyClock, all_answered, of, scene, seen, soon

from holdfast import Agent, Limits, tool
from holdfast.engine.events import ModelFailed, ModelFinished, RunFinished
from holdfast.testing import Call, Turn
from holdfast.testing.clock import FakeClock
from holdfast.testing.faults import (
    Cut,
    Drip,
    Empty,
    Fault,
    GzipBomb,
    Hang,
    Malformed,
    Reset,
    Status,
    Truncated,
    Unfinished,
    WrongType,
)
from holdfast.types import TextDelta


@tool(effect="none")
async def step() -> str:
    """Takes a step."""
    return "done"


AGENT = Agent(MODEL, tools=[step])
WORDS = "The quick brown fox jumps over the lazy dog, and the dog does not mind."
OVERFLOW = "This model's maximum context length is 4096 tokens. However, your messages resulted in 5000 tokens."

FAULTS: list[tuple[Fault, str, bool]] = [
    # what goes wrong, the class, and whether trying again may help
    (Reset(), "connection", True),
    (Reset(after_events=0), "connection", True),
    (Reset(after_events=3), "connection", True),
    (Reset(after_bytes=100), "connection", True),
    (Cut(), "connection", True),
    (Cut(after_events=3), "connection", True),
    (Cut(after_bytes=100), "connection", True),
    (Hang(), "timeout", True),
    (Hang(after_events=3), "timeout", True),
    (Malformed(), "malformed", True),
    (Malformed(after_events=0), "malformed", True),
    (Truncated(), "malformed", True),
    (Unfinished(), "connection", True),
    (Empty(), "malformed", True),
    (WrongType(), "malformed", True),
    (WrongType(content_type="application/json", body='{"hello": 1}'), "malformed", True),
    (GzipBomb(), "malformed", True),
    (Status(status=429), "rate_limit", True),
    (Status(status=500), "server_error", True),
    (Status(status=502), "server_error", True),
    (Status(status=503), "overloaded", True),
    (Status(status=529), "overloaded", True),
    (Status(status=504), "timeout", True),
    (Status(status=401), "auth", False),
    (Status(status=403), "auth", False),
    (Status(status=404), "model_not_found", False),
    (Status(status=400), "invalid_request", False),
    (Status(status=400, message=OVERFLOW), "context_overflow", False),
    (Status(status=429, code="insufficient_quota"), "no_credit", False),
    (Empty(status=400), "context_overflow", False),
]


def name(value: Any) -> str:
    return str(value) if isinstance(value, str | int) else repr(value)[:50]


@pytest.mark.requirement(
    "models:error-classes-from-faults",
    "engine:model-retry-exhausted",
    "engine:model-retry-hopeless",
    "engine:single-error",
    "engine:one-task-group",
)
@pytest.mark.parametrize(("fault", "code", "again"), FAULTS, ids=name)
async def test_each_fault_is_its_class_and_each_failure_one_event(fault: Fault, code: str, again: bool) -> None:
    clock = HastyClock()
    async with scene([Turn(WORDS, fault=fault, chunk=8)], clock=clock) as s:
        s.silent_after(0.3)
        run = await s.runtime.start(AGENT, "go", session="s", limits=Limits(model_retries=1))
        result = await soon(run.result())
        log, requests = await s.log(), len(s.server.requests)
    assert result.status == "failed"
    assert result.reason.startswith(f"{code}: 'openai/scripted'")
    failed = of(ModelFailed, log)
    assert [(each.code, each.again) for each in failed] == [(code, again)] * (2 if again else 1)
    assert (requests, len(clock.slept)) == (len(failed), len(failed) - 1)
    assert len(of(RunFinished, log)) == 1
    assert not of(ModelFinished, log)


@pytest.mark.requirement("engine:model-retry", "engine:model-retry-resets-text", "journal:tail-reset")
@pytest.mark.parametrize(
    ("fault", "resets"),
    [
        (Reset(after_events=4, times=2), 2),
        (Cut(after_bytes=800, times=2), 2),
        (Malformed(after_events=4, times=2), 2),
        (Truncated(times=2), 2),
        (Unfinished(times=2), 2),
        ([Hang(after_events=3, times=1), Reset(after_events=5, times=1)], 2),
        (Status(status=500, times=2), 0),
    ],
    ids=name,
)
async def test_a_fault_that_passes_is_tried_again_and_no_reader_has_text_twice(fault: Any, resets: int) -> None:
    clock = HastyClock()
    # The delay gives what came before the answer the time to become durable, so that readers see it live.
    async with scene([Turn(WORDS, fault=fault, chunk=8, delay=0.08)], clock=clock) as s:
        s.silent_after(0.3)
        run = await s.runtime.start(AGENT, "go", session="s")
        items: list[Any] = [item async for item in run.events()]
        result = await run.result()
        log = await s.log()
    shown = ""
    for item in items:
        if isinstance(item, TextDelta):
            shown += item.text
        elif item.type == "reset":
            shown = ""
        elif item.type == "model.finished":
            assert shown == WORDS == result.output
    assert [item.type for item in items].count("reset") == resets
    assert len(of(ModelFailed, log)) == 2
    first, second = clock.slept
    assert 0.4 < first <= 0.5, "later each time"
    assert 0.9 < second <= 1


async def test_an_answer_that_drips_is_whole_in_the_end() -> None:
    fault = Drip(seconds=0.001, bytes=7)
    async with scene([Turn(WORDS, fault=fault)]) as s:
        run = await s.runtime.start(AGENT, "go")
        text = "".join([item.text async for item in run.events() if isinstance(item, TextDelta)])
        result = await soon(run.result())
    assert text == WORDS
    assert (result.status, result.output) == ("completed", WORDS)


@pytest.mark.requirement("engine:model-retry", "models:error-rate-limit")
@pytest.mark.parametrize("said", [7, 0.25, 59])
async def test_a_server_that_says_when_is_asked_again_then_and_not_before(said: float) -> None:
    clock = HastyClock()
    async with scene([Turn("hi", fault=Status(status=429, retry_after=said, times=1))], clock=clock) as s:
        result = await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        (failed,) = of(ModelFailed, await s.log())
    assert result.output == "hi"
    (slept,) = clock.slept
    assert max(said, 0.5) - 0.3 < slept <= max(said, 0.5)
    assert failed.retry_at is not None


async def test_no_request_is_made_before_the_time_the_server_named() -> None:
    clock = FakeClock()
    async with scene([Turn("hi", fault=Status(status=429, retry_after=20, times=1))], clock=clock) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(s.server.arrived(1))
        watching = asyncio.create_task(seen(run, "model.failed"))
        while not watching.done():
            await clock.advance(0.01)
        await clock.advance(19.5)
        assert len(s.server.requests) == 1
        await clock.advance(1)
        assert (await soon(run.result())).output == "hi"


@pytest.mark.requirement("engine:model-retry-wait-over-cap")
@pytest.mark.parametrize("said", [61, 86_400])
async def test_a_server_that_wants_to_be_left_alone_for_long_is_not_asked_again(said: int) -> None:
    clock = HastyClock()
    async with scene([Turn("hi", fault=Status(status=429, retry_after=said))], clock=clock) as s:
        result = await soon((await s.runtime.start(AGENT, "go")).result())
        assert len(s.server.requests) == 1
    assert (result.status, clock.slept) == ("failed", [])
    assert result.reason.startswith("rate_limit:")
    assert f"in {said} s" in result.reason


@pytest.mark.requirement("engine:model-retry-exhausted")
@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_retries_are_as_many_as_the_limit_says_and_each_step_has_its_own(retries: int) -> None:
    clock = HastyClock()
    busy = Status(status=503, times=retries) if retries else None
    script = [Turn(calls=[Call("step")], fault=busy), Turn(calls=[Call("step")], fault=busy), Turn("x", fault=Status())]
    async with scene(script, clock=clock) as s:
        run = await s.runtime.start(AGENT, "go", session="s", limits=Limits(model_retries=retries))
        result = await soon(run.result())
        log = await s.log()
    assert (result.status, result.steps) == ("failed", 2)
    assert result.reason.startswith("server_error:")
    assert len(of(ModelFailed, log)) == 3 * retries + 1
    assert all_answered(log)


@pytest.mark.requirement("engine:model-empty-answer")
@pytest.mark.parametrize(
    "empty", [Turn(""), Turn(" \n"), Turn("", thinking="Hm.")], ids=["nothing", "space", "thinking"]
)
async def test_an_answer_that_says_nothing_and_wants_nothing_is_damaged_and_asked_for_again(empty: Turn) -> None:
    asked: list[int] = []

    def model(_: Any) -> Turn:
        asked.append(1)
        return empty if len(asked) < 3 else Turn("here I am")

    async with scene(model, clock=HastyClock()) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        assert (await soon(run.result())).output == "here I am"
        assert [failed.code for failed in of(ModelFailed, await s.log())] == ["malformed"] * 2


async def test_a_server_that_is_not_there_and_one_that_comes_back() -> None:
    clock = HastyClock()
    async with scene(["hi"], clock=clock) as s:
        await s.server.stop()
        result = await soon((await s.runtime.start(AGENT, "go")).result())
        assert result.status == "failed"
        assert result.reason.startswith("unreachable:")
        assert len(clock.slept) == 2
        await s.server.start()
        assert (await soon((await s.runtime.start(AGENT, "go")).result())).output == "hi"
