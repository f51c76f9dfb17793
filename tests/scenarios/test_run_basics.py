"""A run from prompt to answer: what is in its log, what the model was asked, what came out."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from tests.pictures import raw
from tests.running import MODEL, all_answered, asked, of, paired, scene, seen, soon, text_of

from holdfast import Agent, Image, Limits, Price, tool
from holdfast.engine.events import ModelFinished, RunFinished, ToolFinished
from holdfast.testing import Call, Tokens, Turn
from holdfast.testing.scripts import ScriptRequest
from holdfast.types import Event


@tool(effect="none")
async def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@tool(effect="none")
async def fail() -> str:
    """Fails."""
    raise ValueError("bad day")


AGENT = Agent(MODEL, instructions="You add.", tools=[add, fail])
SUMS = [
    Turn("First.", calls=[Call("add", {"a": 1, "b": 2})]),
    Turn(calls=[Call("add", {"a": 3, "b": 4})]),
    Turn(calls=[Call("add", {"a": 7, "b": 8})]),
    Turn("It is 15.", chunk=3),
]

GOLDEN = {
    "no tool": (["Hello."], "input.received run.started model.finished run.finished"),
    "one tool": (
        [SUMS[0], "3"],
        "input.received run.started model.finished tool.started tool.finished model.finished run.finished",
    ),
    "an unknown tool": (
        [Turn(calls=[Call("sub")]), "So be it."],
        "input.received run.started model.finished tool.finished model.finished run.finished",
    ),
    "a failing tool": (
        [Turn(calls=[Call("fail")]), "So be it."],
        "input.received run.started model.finished tool.started tool.finished model.finished run.finished",
    ),
}


@pytest.mark.requirement("engine:event-order", "engine:run-finished-once", "engine:tool-error-fed-back")
@pytest.mark.parametrize(("script", "kinds"), GOLDEN.values(), ids=GOLDEN)
async def test_a_run_leaves_the_written_list_of_events(script: list[Turn | str], kinds: str) -> None:
    async with scene(script) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        result = await soon(run.result())
        log = await s.log()
        s.server.verify()
    assert [event.type for event in log] == kinds.split()
    assert [event.seq for event in log] == list(range(1, len(log) + 1))
    assert all_answered(log)
    (end,) = of(RunFinished, log)
    assert (end.status, end.usage, end.steps) == (result.status, result.usage, result.steps)
    assert (result.status, result.seq, result.session) == ("completed", 2, "s")


@pytest.mark.requirement("engine:streaming-is-the-same-run", "models:stream-final-equals-deltas")
async def test_a_run_that_is_followed_and_one_that_is_awaited_leave_the_same_log() -> None:
    async with scene(SUMS) as s:
        followed = await s.runtime.start(AGENT, "go", session="followed")
        text, result = await soon(text_of(followed))
        awaited = await s.runtime.start(AGENT, "go", session="awaited")
        assert (await soon(awaited.result())).output == result.output == "It is 15."
        assert text == "", "an answer that became durable is no longer a partial one"
        logs = [[(event.seq, event.type) for event in await s.log(name)] for name in ("followed", "awaited")]
    assert logs[0] == logs[1]


@pytest.mark.requirement("engine:run-with-tools-completes", "runtime:start-and-result", "context:request-history-pairs")
async def test_three_tools_one_after_another_end_with_the_answer() -> None:
    async with scene(SUMS) as s:
        result = await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        log = await s.log()
        conversations = asked(s.server)
        s.server.verify()
    assert (result.output, result.status, result.steps) == ("It is 15.", "completed", 4)
    assert [done.result.content for done in of(ToolFinished, log)] == ["3", "7", "15"]
    assert all(paired(messages) for messages in conversations)
    assert [message["role"] for message in conversations[1]] == ["system", "user", "assistant", "tool"]
    assert conversations[1][3]["content"] == "3"


@pytest.mark.requirement("context:request-stable-prefix")
async def test_each_request_begins_with_the_bytes_of_the_one_before_and_names_the_same_tools() -> None:
    async with scene(SUMS) as s:
        await soon((await s.runtime.start(AGENT, "go")).result())
        bodies = [request.body for request in s.server.requests]
    prefix, _, _ = bodies[0].partition(b'],"tools"')
    tools = bodies[0][bodies[0].index(b'"tools"') :]
    for body in bodies:
        assert body.startswith(prefix)
        assert body.endswith(tools)
    names = Counter(each["function"]["name"] for each in s.server.requests[0].json()["tools"])  # type: ignore[index]
    assert names == {"add": 1, "fail": 1}


@pytest.mark.requirement("context:request-pure-function")
async def test_a_resumed_run_asks_the_very_bytes_an_uninterrupted_one_would(tmp_path: Path) -> None:
    async with scene(SUMS) as s:
        await soon((await s.runtime.start(AGENT, "go")).result())
        whole = [request.body for request in s.server.requests]
    stop = asyncio.Event()

    async def pausing(request: ScriptRequest) -> Turn | str:
        if request.answers == 2 and not stop.is_set():
            stop.set()
            await asyncio.Event().wait()
        return SUMS[request.answers]

    async with scene(pausing, url=f"sqlite:///{tmp_path}/s.db") as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(stop.wait())
        await soon(seen(run, "tool.finished", 2))
        await s.runtime.close()
        async with s.other() as later:
            assert (await soon((await later.resume("s")).result())).status == "completed"
        pieces = [request.body for request in s.server.requests]
    assert [*pieces[:2], *pieces[3:]] == whole
    assert pieces[2] == whole[2]


@pytest.mark.requirement("engine:prompt-after-finish")
async def test_a_session_takes_another_prompt_as_another_run_with_the_history_so_far() -> None:
    async with scene(["one", "two"]) as s:
        first = await s.runtime.start(AGENT, "a", session="s")
        assert (await soon(first.result())).output == "one"
        second = await s.runtime.start(AGENT, "b", session="s")
        result = await soon(second.result())
        assert (result.output, result.seq, result.usage.input_tokens) == ("two", 6, 100)
        assert (await soon(first.result())).output == "one"
        said = [[message["content"] for message in messages] for messages in asked(s.server)]
    assert said == [["You add.", "a"], ["You add.", "a", "one", "b"]]


@pytest.mark.requirement("engine:usage-settled-per-run", "engine:tool-hooks-with-durations")
async def test_usage_and_cost_are_the_sums_over_the_calls_and_calls_have_durations() -> None:
    used = Tokens(input_tokens=1000, output_tokens=10, cache_read_tokens=500)
    script = [Turn(turn.text, calls=turn.calls, usage=used) for turn in SUMS]
    price = Price.per_million(2, 8, cache_read=0.5)
    async with scene(script, prices={MODEL: price}) as s:
        result = await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        log = await s.log()
    assert result.usage.input_tokens == 4000
    assert result.usage.total_tokens == 4040
    assert result.cost == pytest.approx(4 * (500 * 2 + 500 * 0.5 + 10 * 8) / 1e6)  # pyright: ignore[reportUnknownMemberType]
    assert all(done.duration > 0 for done in of(ModelFinished, log))
    assert all(done.duration >= 0 for done in of(ToolFinished, log))


async def test_the_cost_of_a_model_without_a_price_is_unknown_and_not_nothing() -> None:
    async with scene(["hi"]) as s:
        assert (await soon((await s.runtime.start(AGENT, "go")).result())).cost is None


@pytest.mark.requirement("runtime:agent-run-sync", "runtime:public-names")
async def test_an_agent_runs_without_a_runtime_and_without_an_event_loop() -> None:
    async with scene(SUMS):
        assert (await soon(AGENT.run("go", limits=Limits(steps=9)))).output == "It is 15."
        result = await soon(asyncio.to_thread(AGENT.run_sync, "go"))
        assert (result.output, result.status, result.usage.total_tokens) == ("It is 15.", "completed", 480)
    async with scene(["A dot."] * 2) as s:
        parts = ["what is it?", Image("image/png", raw("image/png", 2, 2))]
        assert (await soon(AGENT.run(parts))).output == "A dot."
        assert (await soon(asyncio.to_thread(AGENT.run_sync, parts))).output == "A dot."
        assert all(request.body.count(b"image/png") == 1 for request in s.server.requests)


@pytest.mark.requirement("engine:many-runs-at-once")
async def test_a_thousand_runs_at_once_do_not_disturb_one_another() -> None:
    def script(request: ScriptRequest) -> Turn:
        number = int(request.first_user_text)
        if request.answers < number % 3:
            return Turn(calls=[Call("add", {"a": number, "b": request.answers})])
        return Turn(f"answer {number} after {request.last_result}", chunk=8)

    async def one(number: int) -> str:
        run = await s.runtime.start(AGENT, str(number), session=f"s{number}", limits=Limits(steps=2 + number % 2))
        result = await run.result()
        return f"{result.status} {result.reason}: {result.output}"

    async with scene(script, seconds=50) as s:
        results = await soon(asyncio.gather(*(one(number) for number in range(1000))), 45)
        sample = [await s.log(f"s{number}") for number in range(0, 1000, 97)]
    for number, result in enumerate(results):
        calls = number % 3
        if calls + 1 > 2 + number % 2:
            assert result == "limited steps: "
        else:
            last = number + calls - 1 if calls else None
            assert result == f"completed : answer {number} after {last}"
    for log in sample:
        assert [event.seq for event in log] == list(range(1, len(log) + 1))
        assert all_answered(log)


@pytest.mark.requirement("engine:last-event-is-last")
async def test_nothing_comes_after_a_runs_last_event_for_any_reader() -> None:
    async with scene(SUMS) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        live = [item async for item in run.events()]
        replayed = [item async for item in run.events()]
    for items in (live, replayed):
        assert isinstance(items[-1], Event)
        assert items[-1].type == "run.finished"
    assert [item for item in live if isinstance(item, Event)] == replayed
