"""The calls of a turn: side by side or in turn, in order, each with one result whatever the tool does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, Wrapped, all_answered, asked, of, paired, scene, seen, soon

from holdfast import Agent, Effect, Limits, ToolContext, ToolResult, tool
from holdfast.engine.events import CODEC, ModelFinished, ToolFinished, ToolStarted
from holdfast.errors import UnknownTool, UsageError
from holdfast.journal.reading import read_events
from holdfast.testing import Call, Turn
from holdfast.types import Event

READY: dict[str, asyncio.Event] = {}
DID: list[str] = []


@tool(effect="none")
async def meet(mine: str, theirs: str) -> str:
    """Says that one is there and waits until the other is."""
    READY.setdefault(mine, asyncio.Event()).set()
    await READY.setdefault(theirs, asyncio.Event()).wait()
    DID.append(mine)
    return mine


@tool(effect=Effect(workspace=True, outside="none"))
async def write_note(text: str) -> str:
    """Writes, slowly, and notes when it begins and ends."""
    DID.append(f"begin {text}")
    for _ in range(5):
        await asyncio.sleep(0)
    DID.append(f"end {text}")
    return text


@tool
async def pay(amount: int) -> str:
    """Pays, which must not happen twice."""
    DID.append(f"paid {amount}")
    return "paid"


@tool(effect="none")
async def huge(size: int) -> str:
    """Returns much."""
    return "x" * size


@tool(effect="none")
async def binary() -> bytes:
    """Returns bytes."""
    return bytes(range(256))


@tool(effect="none")
async def broken() -> str:
    """Returns text that is none."""
    return "a\ud800b"


@tool(effect="none")
async def rude() -> str:
    """Ends as if somebody had cancelled it."""
    raise asyncio.CancelledError


@tool(effect="none")
async def unreadable() -> ToolResult:
    """Returns what the log cannot hold."""
    return ToolResult("fine", metadata={"it": object()})


TOOLS = [meet, write_note, pay, huge, binary, broken, rude, unreadable]
AGENT = Agent(MODEL, tools=TOOLS)


@pytest.fixture(autouse=True)
def fresh() -> None:
    READY.clear()
    DID.clear()


def turn(*calls: tuple[str, Any]) -> Turn:
    return Turn(calls=[Call(name, arguments) for name, arguments in calls])


async def played(
    *turns: Turn | str, agent: Agent = AGENT, **options: Any
) -> tuple[list[Event], list[list[dict[str, Any]]]]:
    """Returns the log of a whole run, and the conversations the model was sent."""
    async with scene([*turns, "done"]) as s:
        result = await soon((await s.runtime.start(agent, "go", session="s", **options)).result())
        assert (result.status, result.output) == ("completed", "done"), result
        log, conversations = await s.log(), asked(s.server)
        s.server.verify()
    assert all_answered(log)
    assert all(paired(messages) for messages in conversations)
    return log, conversations


def results(conversation: list[dict[str, Any]]) -> list[str]:
    return [message["content"] for message in conversation if message["role"] == "tool"]


@pytest.mark.requirement("engine:parallel-tools-overlap", "engine:parallel-results-in-call-order")
async def test_calls_of_a_turn_overlap_and_their_results_stand_in_call_order() -> None:
    # Each waits for the one after it: one after another they would never end.
    script = turn(*(("meet", {"mine": str(n), "theirs": str(min(n + 1, 3))}) for n in range(4)))
    log, conversations = await played(script)
    assert sorted(DID) == ["0", "1", "2", "3"]
    assert results(conversations[1]) == ["0", "1", "2", "3"]
    assert len(of(ToolStarted, log)) == 4


@pytest.mark.requirement("engine:workspace-writers-in-turn")
async def test_writers_of_a_workspace_run_one_after_another_while_readers_overlap(tmp_path: Path) -> None:
    pair = [("meet", {"mine": "a", "theirs": "b"}), ("write_note", {"text": "1"})]
    pair += [("write_note", {"text": "2"}), ("meet", {"mine": "b", "theirs": "a"}), ("write_note", {"text": "3"})]
    _, conversations = await played(turn(*pair), workspace=tmp_path)
    writes = [did for did in DID if " " in did]
    assert writes == [f"{what} {n}" for n in (1, 2, 3) for what in ("begin", "end")]
    assert results(conversations[1]) == ["a", "1", "2", "b", "3"]


@pytest.mark.requirement("engine:started-in-one-batch")
async def test_the_starts_of_a_turn_are_appended_together_before_any_of_its_calls_acts() -> None:
    batches: list[list[str]] = []

    class Noting(Wrapped):
        def append(self, *args: Any, **options: Any) -> Any:
            batches.append([record.type for record in args[4]])
            return self.inner.append(*args, **options)

    async with scene([turn(*(("pay", {"amount": n}) for n in range(3))), "done"], wrap=Noting) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s")).result())
    (batch,) = [batch for batch in batches if "tool.started" in batch]
    assert batch.count("tool.started") == 3
    assert "tool.finished" not in batch


@pytest.mark.requirement("engine:append-before-unsafe-effect")
async def test_the_start_of_an_unsafe_call_is_durable_when_it_acts() -> None:
    found: list[list[str]] = []

    @tool
    async def look(context: ToolContext) -> str:
        """Looks into the log."""
        found.append([event.type async for event in read_events(s.runtime.journal, context.stream, CODEC)])
        return ""

    async with scene([turn(("look", {})), "done"]) as s:
        await soon((await s.runtime.start(Agent(MODEL, tools=[look]), "go", session="s")).result())
    assert found == [["input.received", "run.started", "model.finished", "tool.started"]]


async def test_a_reader_sees_a_call_begin_that_takes_its_time_though_nothing_had_to_be_durable() -> None:
    script = [turn(("meet", {"mine": "a", "theirs": "b"})), "done"]
    async with scene(script) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(seen(run, "tool.started"))
        READY["b"] = READY.get("b") or asyncio.Event()
        READY["b"].set()
        assert (await soon(run.result())).status == "completed"


@pytest.mark.requirement("engine:every-call-one-result", "tools:refusals-are-results", "tools:unknown-tool")
async def test_refused_calls_are_results_beside_those_that_ran_and_never_start() -> None:
    script = turn(
        ("nope", {}), ("pay", {"amount": 1}), ("pay", {"amount": "all"}), ("pay", {"sum": 2}), ("pay", {"amount": 2})
    )
    log, conversations = await played(script)
    said = results(conversations[1])
    assert "no tool 'nope'" in said[0]
    assert "binary, broken, huge" in said[0]
    assert "$.amount" in said[2]
    assert "`sum`" in said[3]
    assert (said[1], said[4]) == ("paid", "paid")
    assert [started.call_id for started in of(ToolStarted, log)] == ["call_0_1", "call_0_4"]
    codes = {done.call_id: done.result.error.code for done in of(ToolFinished, log) if done.result.error}
    assert codes == {"call_0_0": "unsupported_tool", "call_0_2": "invalid_input", "call_0_3": "invalid_input"}


@pytest.mark.requirement("tools:arguments-repaired", "tools:arguments-fed-back")
@pytest.mark.parametrize(
    ("arguments", "stop", "ran"),
    [
        ("{'amount': 5,}", None, True),
        ('```json\n{"amount": 5}\n```', None, True),
        ('{"amount": 5', None, False),
        ('{"amount": ', None, False),
        ("amount=5", None, False),
        ("{'amount': 5,}", "length", True),
        ('{"amount": 5', "length", False),
        ("", None, False),
    ],
)
async def test_damaged_arguments_run_only_when_they_can_mean_one_thing(arguments: str, stop: Any, ran: bool) -> None:
    script = Turn(calls=[Call("pay", arguments)], stop=stop)
    _, conversations = await played(script)
    assert (["paid 5"] if ran else []) == DID
    if not ran:
        assert "'pay'" in results(conversations[1])[0]
    (call,) = conversations[1][-2]["tool_calls"]
    assert call["function"]["arguments"], "the history stays one that every server takes"


@pytest.mark.requirement("tools:arguments-repaired")
@pytest.mark.parametrize(("stop", "text"), [(None, "half a file"), ("length", "")])
async def test_a_whole_string_without_its_brackets_is_half_a_file_when_the_cap_cut_it(stop: Any, text: str) -> None:
    await played(Turn(calls=[Call("write_note", '{"text": "half a file"')], stop=stop))
    assert ([f"begin {text}", f"end {text}"] if text else []) == DID


@pytest.mark.requirement("tools:output-bounded", "tools:output-binary")
async def test_output_of_every_kind_reaches_the_model_bounded_and_as_text() -> None:
    calls = [("huge", {"size": 10_000_000}), ("binary", {}), ("broken", {}), ("unreadable", {})]
    log, conversations = await played(turn(*calls))
    said = results(conversations[1])
    assert len(said[0]) < 51_000
    assert "9950001 of 10000000 characters left out" in said[0]
    assert "256 bytes" in said[1]
    assert said[2:] == ["a?b", "fine"]
    assert of(ToolFinished, log)[0].result.content == said[0]


async def test_a_tool_that_ends_as_if_it_were_cancelled_failed_and_the_run_goes_on() -> None:
    for calls in ([("rude", {})], [("rude", {}), ("pay", {"amount": 1})]):
        _, conversations = await played(turn(*calls))
        assert "CancelledError" in results(conversations[1])[0]


async def test_arguments_nested_by_the_thousand_are_fed_back() -> None:
    _, conversations = await played(turn(("pay", '{"amount":' + "[" * 50_000)))
    assert "'pay'" in results(conversations[1])[0]


@pytest.mark.requirement("models:chat-call-ids")
async def test_two_calls_that_came_under_one_id_are_two_calls() -> None:
    twice = Turn(calls=[Call("pay", {"amount": 1}, id="same"), Call("pay", {"amount": 2}, id="same")])
    log, conversations = await played(twice, Turn(calls=[Call("pay", {"amount": 3}, id="same")]))
    assert DID == ["paid 1", "paid 2", "paid 3"]
    ids = [call.id for answer in of(ModelFinished, log) for call in answer.message.calls]
    assert len(set(ids)) == 3
    assert all(paired(messages) for messages in conversations)


@pytest.mark.requirement("tools:one-declaration-per-name", "tools:opt-in-by-name")
async def test_an_agent_has_the_tools_it_named_each_once() -> None:
    with pytest.raises(UsageError, match="two tools are called 'pay'"):
        Agent(MODEL, tools=[pay, pay])
    with pytest.raises(UnknownTool, match=r"'telepathy'.*bash"):
        Agent(MODEL, tools=["telepathy"])
    async with scene(["a", "b"]) as s:
        await soon((await s.runtime.start(Agent(MODEL), "go")).result())
        assert "tools" not in s.server.requests[0].json()  # type: ignore[operator]
        await soon((await s.runtime.start(Agent(MODEL, tools=["read", pay]), "go")).result())
        offered: Any = s.server.requests[1].json()
        assert [each["function"]["name"] for each in offered["tools"]] == ["read", "pay"]


@pytest.mark.requirement("runtime:workspace-chosen")
async def test_file_tools_work_in_the_folder_the_run_was_started_with_and_nowhere_else(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    calls = [("write", {"path": "a.txt", "content": "mine"}), ("write", {"path": "../out/a.txt", "content": "theirs"})]
    _, conversations = await played(turn(*calls), agent=Agent(MODEL, tools=["write"]), workspace=inside)
    assert (inside / "a.txt").read_text() == "mine"
    assert not list(outside.iterdir())
    assert "../out/a.txt" in results(conversations[1])[1]
    _, conversations = await played(turn(calls[0]), agent=Agent(MODEL, tools=["write"]), limits=Limits())
    assert "workspace" in results(conversations[1])[0]
