"""What comes of a call that is made again, and of an agent that one tool is enough for."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Literal

import pytest
from tests.running import MODEL, Scene, all_answered, asked, of, scene, seen, soon, until

from holdfast import Agent, Execution, ToolContext, Wait, tool
from holdfast.engine.events import RunFinished, ToolFinished
from holdfast.testing import Call, Turn
from holdfast.types import Event

RAN: list[str] = []
GATES: dict[str, asyncio.Event] = {}
FILES = {"a": 1}


@tool(effect="none")
async def look(name: str, times: int = 1) -> str:
    """Reads a file."""
    RAN.append(f"look {name} {times}")
    if name in GATES:
        await GATES[name].wait()
    if name == "gone":
        raise ValueError("there is no such file")
    return f"{name} is {FILES.get(name, 0)}"


@tool(effect="keyed")
async def edit(name: str) -> str:
    """Changes a file."""
    RAN.append(f"edit {name}")
    FILES[name] = FILES.get(name, 0) + 1
    return f"{name} changed"


@tool(effect="none")
async def ask(token: str) -> Wait:
    """Asks somebody."""
    return Wait(token, "question", None, "Well?")


@tool(effect="none")
async def both(context: ToolContext) -> str:
    """Changes a file by another tool."""
    return (await context.call("edit", {"name": "a"})).content


def agent(repeats: Literal["run", "answer", "deny"], **more: Any) -> Agent[str]:
    return Agent(MODEL, tools=[look, edit, ask, both], execution=Execution(repeats=repeats, **more))


@pytest.fixture(autouse=True)
def fresh() -> None:
    RAN.clear()
    GATES.clear()
    FILES.clear()
    FILES["a"] = 1


def results(log: list[Event]) -> list[str]:
    return [each.result.content for each in of(ToolFinished, log) if each.nested is None]


def looks(**arguments: object) -> Turn:
    return Turn(calls=[Call("look", arguments)])


A = looks(name="a")
EDIT = Turn(calls=[Call("edit", {"name": "a"})])


async def ran(agent_: Agent[str], *script: Turn | str) -> tuple[list[str], list[Event]]:
    async with scene([*script, "Well."]) as s:
        result = await soon((await s.runtime.start(agent_, "go", session="s")).result())
        log = await s.log()
    assert (result.status, result.output) == ("completed", "Well.")
    assert all_answered(log)
    return results(log), log


# ---- again --------------------------------------------------------------------------------------------------


@pytest.mark.requirement("tools:duplicate-calls")
async def test_the_same_call_again_is_answered_from_memory_and_says_so() -> None:
    told, log = await ran(agent("answer"), A, looks(times=2, name="a"), looks(name="a", times=2), A)
    assert RAN == ["look a 1", "look a 2"], "in whatever order the arguments are; others run"
    assert told[:2] == ["a is 1", "a is 1"]
    assert told[2].startswith("[This is the result of the same call from before")
    assert told[2].endswith("\na is 1")
    assert [each.result.metadata.get("repeated", False) for each in of(ToolFinished, log)] == [False, False, True, True]
    assert not any(each.result.error for each in of(ToolFinished, log)), "asking twice is never forbidden"


@pytest.mark.requirement("tools:duplicate-calls")
async def test_repeats_run_where_nothing_is_said() -> None:
    told, _ = await ran(Agent(MODEL, tools=[look]), A, A)
    assert (RAN, told) == (["look a 1"] * 2, ["a is 1"] * 2)


@pytest.mark.requirement("tools:duplicate-calls", "execution:never-stale")
@pytest.mark.parametrize("change", [EDIT, Turn(calls=[Call("both")])], ids=["itself", "by a call of a call"])
async def test_a_file_is_read_again_after_it_was_edited(change: Turn) -> None:
    told, _ = await ran(agent("answer"), A, A, change, A, A)
    assert [each for each in RAN if each == "look a 1"] == ["look a 1"] * 2
    assert told[3] == "a is 2"
    assert told[4].endswith("\na is 2")


@pytest.mark.requirement("execution:never-stale")
async def test_a_read_behind_an_edit_of_the_same_answer_is_made() -> None:
    turn = Turn(calls=[Call("look", {"name": "b"}), Call("edit", {"name": "a"}), Call("look", {"name": "a"})])
    told, _ = await ran(agent("answer"), A, turn, A)
    assert RAN.count("look a 1") == 3, "and one that overlapped with an edit is not remembered"
    assert told[-1] == "a is 2"


@pytest.mark.requirement("tools:duplicate-calls")
async def test_a_call_that_changes_something_is_not_made_twice_in_a_row() -> None:
    told, _ = await ran(agent("answer"), EDIT, EDIT)
    assert RAN == ["edit a"]
    assert told[1].endswith("\na changed")


@pytest.mark.requirement("tools:duplicate-calls")
@pytest.mark.parametrize(("repeats", "second"), [("answer", "a is 1"), ("deny", "Denied: this very call was made")])
async def test_arguments_that_the_tool_reads_the_same_are_the_same(repeats: Any, second: str) -> None:
    told, _ = await ran(agent(repeats), looks(name="a", times=1), looks(name="a", times="1"))
    assert RAN == ["look a 1"]
    assert second in told[1]


@pytest.mark.requirement("tools:duplicate-calls")
@pytest.mark.parametrize("repeats", ["answer", "deny"])
async def test_of_the_same_calls_in_one_answer_only_the_first_is_made(repeats: Any) -> None:
    mine, same = Call("look", {"name": "a", "times": 1}), Call("look", {"times": "1", "name": "a"})
    calls = [mine, same, Call("look", {"name": "b"})]
    told, _ = await ran(agent(repeats), Turn(calls=[*calls, calls[0]]))
    assert sorted(RAN) == ["look a 1", "look b 1"]
    assert len(told) == 4


@pytest.mark.requirement("tools:duplicate-calls")
async def test_where_repeats_are_denied_a_call_that_failed_may_be_made_again_and_a_used_tool_called_otherwise() -> None:
    gone = looks(name="gone")
    told, log = await ran(agent("deny"), gone, gone, A, EDIT, A, looks(name="b"))
    assert RAN == ["look gone 1", "look gone 1", "look a 1", "edit a", "look b 1"]
    denied = [each.result.error for each in of(ToolFinished, log)][4]
    assert denied is not None
    assert (denied.code, denied.reason, denied.status, denied.retryable) == (
        ("runtime_policy_invalid", "duplicate_tool_call", "denied", False)
    )
    assert told[4].startswith("Denied: ")


@pytest.mark.requirement("tools:duplicate-calls")
@pytest.mark.parametrize("repeats", ["answer", "deny"])
async def test_the_same_call_waits_for_one_that_waits(repeats: Any) -> None:
    turn = Turn(calls=[Call("ask", {"token": "t"}), Call("ask", {"token": "t"})])
    async with scene([turn, "Well."]) as s:
        run = await s.runtime.start(agent(repeats), "go", session="s")
        await soon(seen(run, "tool.waiting"))
        await run.answer("t", "so it is")
        result = await soon(run.result())
        log = await s.log()
    assert (result.output, all_answered(log)) == ("Well.", True)
    assert len([each for each in log if each.type == "tool.waiting"]) == 1
    assert len([each for each in log if each.type == "wait.resolved"]) == 1


@pytest.mark.requirement("tools:duplicate-calls")
async def test_a_model_that_goes_round_on_answers_from_memory_is_stopped_like_any_other() -> None:
    async with scene([A] * 20) as s:
        result = await soon((await s.runtime.start(agent("answer"), "go", session="s")).result())
    assert (result.status, result.reason) == ("limited", "identical_repeats")
    assert RAN == ["look a 1"]


@pytest.mark.requirement("execution:survives-a-kill", "tools:duplicate-calls")
async def test_what_was_answered_once_is_remembered_by_the_next_owner(tmp_path: Path) -> None:
    GATES["b"] = asyncio.Event()
    async with scene([A, looks(name="b"), A, "Well."], url=f"sqlite:///{tmp_path}/s.db") as s:
        await s.runtime.start(agent("answer"), "go", session="s")
        await until(lambda: "look b 1" in RAN)
        await s.runtime.close()
        GATES.clear()
        async with s.other() as other:
            result = await soon((await other.resume("s", agent("answer"))).result())
            log = await Scene(s.server, other, s.url, s.clock).log()
    assert result.output == "Well."
    assert RAN == ["look a 1", "look b 1", "look b 1"]
    assert results(log)[-1].startswith("[This is the result of the same call")
    assert all_answered(log)


# ---- one tool is enough -------------------------------------------------------------------------------------

FIRST = Agent(MODEL, tools=[look, edit, ask], execution=Execution(stop_on_first_tool=True))


@pytest.mark.requirement("tools:stop-on-first-tool")
async def test_the_first_call_that_goes_well_ends_the_run_with_what_it_came_to() -> None:
    turn = Turn("Let me see.", calls=[Call("look", {"name": "gone"}), Call("look", {"name": "a"}), Call("edit", {})])
    async with scene([turn, "never asked"]) as s:
        result = await soon((await s.runtime.start(FIRST, "go", session="s")).result())
        log = await s.log()
    assert (result.status, result.output, result.steps) == ("completed", "a is 1", 1)
    assert RAN == ["look gone 1", "look a 1"], "one after another, and nothing after it"
    assert of(RunFinished, log)[0].output == "a is 1"
    assert results(log)[2].startswith("Skipped")
    assert all_answered(log)
    assert len(s.server.requests) == 1


@pytest.mark.requirement("tools:stop-on-first-tool")
async def test_calls_that_fail_end_nothing_and_an_answer_without_calls_is_one() -> None:
    async with scene([looks(name="gone"), "There is nothing."]) as s:
        result = await soon((await s.runtime.start(FIRST, "go", session="s")).result())
        assert asked(s.server)[-1][-1]["role"] == "tool"
    assert (result.status, result.output) == ("completed", "There is nothing.")


@pytest.mark.requirement("tools:stop-on-first-tool", "execution:survives-a-kill")
async def test_a_run_that_was_killed_in_its_first_tool_ends_with_it_elsewhere(tmp_path: Path) -> None:
    GATES["a"] = asyncio.Event()
    async with scene([Turn(calls=[Call("look", {"name": "a"}), EDIT.calls[0]])], url=f"sqlite:///{tmp_path}/s") as s:
        await s.runtime.start(FIRST, "go", session="s")
        await until(lambda: bool(RAN))
        await s.runtime.close()
        GATES.clear()
        async with s.other() as other:
            result = await soon((await other.resume("s", FIRST)).result())
            log = await Scene(s.server, other, s.url, s.clock).log()
    assert (result.status, result.output) == ("completed", "a is 1")
    assert "edit a" not in RAN
    assert all_answered(log)


@pytest.mark.requirement("tools:stop-on-first-tool")
async def test_while_the_first_call_waits_for_somebody_no_other_begins() -> None:
    async with scene([Turn(calls=[Call("ask", {"token": "t"}), EDIT.calls[0]])]) as s:
        run = await s.runtime.start(FIRST, "go", session="s")
        await soon(seen(run, "tool.waiting"))
        await run.answer("t", "so it is")
        result = await soon(run.result())
    assert (result.output, RAN) == ("so it is", [])
