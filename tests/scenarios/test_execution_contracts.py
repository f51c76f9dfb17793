"""What comes of an agent that does not do what its contract says, where that is watched and where it ends the run."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from tests.running import MODEL, Scene, all_answered, asked, of, scene, soon, until

from holdfast import Agent, Execution, Limits, ToolContext, tool
from holdfast.engine.events import AnswerLacking, ContractViolated, RunStarted, ToolFinished
from holdfast.errors import UsageError
from holdfast.testing import Call, Turn
from holdfast.types import Event, digest_of

RAN: list[str] = []
GATES: dict[str, asyncio.Event] = {}
Policy = Literal["observe", "fail"]
BOTH = pytest.mark.parametrize("policy", ["observe", "fail"])


async def _did(name: str) -> str:
    RAN.append(name)
    if name in GATES:
        await GATES[name].wait()
    return f"{name} done"


@tool(effect="none")
async def search(query: str = "") -> str:
    """Searches."""
    if query == "wrong":
        raise ValueError("that is wrong")
    return await _did("search")


@tool(effect="none")
async def cite() -> str:
    """Cites."""
    return await _did("cite")


@tool
async def shell() -> str:
    """Runs a command."""
    return await _did("shell")


@tool(effect="none")
async def script(context: ToolContext) -> str:
    """Has another tool called."""
    return (await context.call("shell", {})).content


TOOLS = [search, cite, shell, script]


def bound(policy: Policy, **promised: Any) -> Agent[str]:
    return Agent(MODEL, tools=TOOLS, execution=Execution(on_violation=policy, **promised))


@pytest.fixture(autouse=True)
def fresh() -> None:
    RAN.clear()
    GATES.clear()


async def played(agent: Agent[Any], *script: Turn | str, limits: Limits | None = None) -> tuple[Any, list[Event], Any]:
    async with scene([*script]) as s:
        result = await soon((await s.runtime.start(agent, "go", session="s", limits=limits)).result())
        log, requests = await s.log(), asked(s.server)
    assert all_answered(log)
    return result, log, requests


def broken(log: list[Event]) -> list[tuple[str, str, bool]]:
    return [(each.kind, each.name or each.text, each.ends) for each in of(ContractViolated, log)]


SEARCH, CITE, SHELL = Call("search"), Call("cite"), Call("shell")

# ---- wrong tools --------------------------------------------------------------------------------------------


@pytest.mark.requirement("tools:contract-profile", "engine:every-call-one-result")
async def test_a_wrong_tool_ends_the_run_before_any_call_of_its_answer_is_made() -> None:
    agent = bound("fail", sequence=("search",))
    result, log, _ = await played(agent, Turn(calls=[SEARCH, SHELL, SEARCH]), "never asked")
    assert result.status == "failed"
    assert result.reason.startswith("agent_contract_violation: the model called 'shell'")
    assert RAN == []
    assert broken(log) == [("wrong_tool", "shell", True)]
    errors = {each.call_id: each.result.error for each in of(ToolFinished, log)}
    assert len(errors) == 3
    denied = [each for each in errors.values() if each and each.code == "runtime_policy_invalid"]
    assert [(each.reason, each.retryable) for each in denied] == [("agent_contract_violation", False)]


@pytest.mark.requirement("tools:contract-profile")
async def test_a_wrong_tool_that_is_only_watched_is_made_and_noted_once() -> None:
    agent = bound("observe", sequence=("search",))
    result, log, _ = await played(agent, Turn(calls=[SEARCH, SHELL]), Turn(calls=[SHELL]), "Found.")
    assert (result.status, result.output) == ("completed", "Found.")
    assert sorted(RAN) == ["search", "shell", "shell"]
    assert broken(log) == [("wrong_tool", "shell", False)] * 2


@pytest.mark.requirement("execution:own-ways-are-free")
@BOTH
async def test_what_a_call_calls_is_neither_wrong_nor_used(policy: Policy) -> None:
    agent = bound(policy, sequence=("script",), repeats="deny")
    result, log, _ = await played(agent, Turn(calls=[Call("script")]), "Done.")
    assert (result.status, RAN, broken(log)) == ("completed", ["shell"], [])


class Found(msgspec.Struct):
    """An answer."""

    text: str


@pytest.mark.requirement("execution:own-ways-are-free")
async def test_the_tool_that_takes_a_typed_answer_is_never_wrong() -> None:
    rules = Execution(sequence=("search",), markers=("42",))
    agent = Agent(MODEL, tools=TOOLS, output=Found, output_mode="tool", execution=rules)
    spec = agent.spec.execution
    assert spec is not None
    (name,) = spec.besides
    early, whole = Turn(calls=[Call(name, {"text": "41"})]), Turn(calls=[Call(name, {"text": "42"})])
    result, log, _ = await played(agent, early, Turn(calls=[SEARCH]), whole)
    assert (result.status, broken(log), len(of(AnswerLacking, log))) == ("completed", [], 1)
    assert "42" in result.output


# ---- what is missing ----------------------------------------------------------------------------------------


@pytest.mark.requirement("tools:contract-profile", "execution:lacking-is-told")
async def test_an_answer_that_lacks_something_is_told_what_and_the_run_goes_on() -> None:
    agent = bound("fail", sequence=("search", "cite"), markers=("SOURCES:",))
    calls = [Turn(calls=[SEARCH]), "It is so.", Turn(calls=[CITE]), "It is so, still.", "It is so. SOURCES: one"]
    result, log, requests = await played(agent, *calls)
    assert (result.status, result.output) == ("completed", "It is so. SOURCES: one")
    assert broken(log) == []
    assert [each.lacking for each in of(AnswerLacking, log)] == [2, 1]
    said = requests[2][-1]
    assert said["role"] == "user"
    assert "'cite'" in said["content"]
    assert "'SOURCES:'" in said["content"]
    assert "'search'" not in said["content"]


@pytest.mark.requirement("tools:contract-profile", "execution:observing-changes-nothing")
@pytest.mark.parametrize("limits", [None, Limits(steps=2)], ids=["to its answer", "to its limit"])
async def test_a_contract_that_is_only_watched_changes_nothing_but_the_log(limits: Limits | None) -> None:
    script = [
        Turn(calls=[SHELL, SEARCH]),
        Turn(text="It is so.", calls=[] if limits is None else [SHELL]),
        "never asked",
    ]
    agents = bound("observe", sequence=("search", "cite"), markers=("SOURCES:",)), Agent(MODEL, tools=TOOLS)
    (watched, log, requests), (free, other, plain) = [await played(each, *script, limits=limits) for each in agents]
    assert requests == plain, "the model read the same"
    assert (watched.status, watched.reason, watched.output) == (free.status, free.reason, free.output)
    assert (watched.steps, watched.usage, watched.cost) == (free.steps, free.usage, free.cost)
    assert ("missing_tool", "cite", False) in broken(log)
    added = Counter(each.type for each in log) - Counter(each.type for each in other)
    assert {*added} == {"contract.violated"}


@pytest.mark.requirement("tools:contract-profile", "execution:lacking-is-told")
@BOTH
async def test_a_tool_that_is_not_used_with_success_is_missing(policy: Policy) -> None:
    wrong = Turn(calls=[Call("search", {"query": "wrong"})])
    script = [wrong, "It is so.", "It is."] if policy == "fail" else [wrong, "It is so."]
    result, log, requests = await played(bound(policy, sequence=("search",)), *script)
    assert result.status == ("failed" if policy == "fail" else "completed")
    assert broken(log) == [("missing_tool", "search", policy == "fail")]
    assert len(requests) == len(script), "nothing more came of telling it once"
    if policy == "fail":
        assert result.reason == "agent_contract_violation: 'search' was not used"
    else:
        assert result.output == "It is so."


@pytest.mark.requirement("tools:contract-profile")
@BOTH
async def test_a_marker_that_the_answer_does_not_hold(policy: Policy) -> None:
    script = ["It is done.", "OK, it is done.", "OK!"] if policy == "fail" else ["OK, it is done."]
    result, log, _ = await played(bound(policy, markers=("DONE", "OK")), *script)
    assert broken(log) == [("missing_marker", "DONE", policy == "fail")]
    failed = ("failed", "agent_contract_violation: the answer does not hold 'DONE'")
    assert (result.status, result.reason) == (failed if policy == "fail" else ("completed", ""))


@pytest.mark.requirement("tools:contract-profile")
@BOTH
@pytest.mark.parametrize("last", [False, True], ids=["at once", "after a last answer"])
async def test_at_the_limit_of_steps_a_missing_tool_counts_and_a_missing_marker_is_noted(
    policy: Policy, last: bool
) -> None:
    agent = bound(policy, sequence=("search", "cite"), markers=("DONE",))
    script = [Turn(calls=[SEARCH]), Turn(calls=[SEARCH]), *(["That is all."] if last else [])]
    result, log, _ = await played(agent, *script, limits=Limits(steps=2, last_answer=last))
    assert broken(log) == [("missing_tool", "cite", policy == "fail"), ("missing_marker", "DONE", False)]
    if policy == "fail":
        assert (result.status, result.reason) == ("failed", "agent_contract_violation: 'cite' was not used")
    else:
        assert (result.status, result.reason) == ("limited", "steps")


@pytest.mark.requirement("tools:contract-profile")
async def test_a_run_that_only_lacks_a_marker_at_its_limit_is_limited_as_any() -> None:
    result, log, _ = await played(
        bound("fail", sequence=("search",), markers=("DONE",)), Turn(calls=[SEARCH]), limits=Limits(steps=1)
    )
    assert (result.status, result.reason) == ("limited", "steps")
    assert broken(log) == [("missing_marker", "DONE", False)]


# ---- repeats ------------------------------------------------------------------------------------------------


@pytest.mark.requirement("tools:contract-profile", "tools:duplicate-calls")
@BOTH
@pytest.mark.parametrize("query", ["x", "y"])
async def test_a_repeated_call_breaks_a_contract_that_denies_repeats_and_another_one_never(
    policy: Policy, query: str
) -> None:
    agent = bound(policy, sequence=("search",), repeats="deny")
    first, again = Call("search", {"query": "x"}), Call("search", {"query": query})
    result, log, _ = await played(agent, Turn(calls=[first]), Turn(calls=[again, again]), "Found.")
    repeats = {"x": 2, "y": 1}[query]
    assert len(RAN) == 3 - repeats
    fails = policy == "fail"
    assert broken(log) == [("repeated_tool", "search", fails)] * repeats
    assert result.status == ("failed" if fails else "completed")


# ---- over crashes, below other runs, in specs -----------------------------------------------------------------


@pytest.mark.requirement("execution:survives-a-kill", "tools:contract-profile")
@BOTH
async def test_a_run_that_is_killed_in_the_middle_knows_what_was_used_and_what_was_broken(
    policy: Policy, tmp_path: Path
) -> None:
    first = [] if policy == "observe" else ["No."]
    GATES["cite"] = asyncio.Event()
    agent = bound(policy, sequence=("search", "cite"), markers=("DONE",))
    script = [Turn(calls=[SEARCH]), *first, Turn(calls=[CITE]), "No!", *(["No?"] if first else [])]
    async with scene(script, url=f"sqlite:///{tmp_path}/s.db") as s:
        await s.runtime.start(agent, "go", session="s")
        await until(lambda: "cite" in RAN)
        await s.runtime.close()
        GATES.clear()
        async with s.other() as other:
            result = await soon((await other.resume("s", agent)).result())
            log = await Scene(s.server, other, s.url, s.clock).log()
    assert [each.lacking for each in of(AnswerLacking, log)] == ([2, 1] if first else [])
    assert broken(log) == [("missing_marker", "DONE", policy == "fail")]
    assert result.status == ("failed" if policy == "fail" else "completed")
    assert all_answered(log)


@pytest.mark.requirement("tools:contract-profile")
async def test_an_agent_that_another_one_starts_keeps_its_own_contract() -> None:
    child = Agent("openai/child", name="scout", tools=TOOLS, execution=Execution(sequence=("search",)))
    boss = Agent("openai/boss", tools=[child.as_tool()])
    scripts = {
        "boss": [Turn(calls=[Call("scout", {"prompt": "look"})]), "It broke."],
        "child": [Turn(calls=[SHELL]), "never asked"],
    }
    async with scene(scripts) as s:
        result = await soon((await s.runtime.start(boss, "go", session="s")).result())
        (finished,) = of(ToolFinished, await s.log()) or [None]
        told = asked(s.server)[-1][-1]["content"]
    assert (result.output, RAN) == ("It broke.", [])
    assert "agent_contract_violation" in (told if finished is None else finished.result.content)


@pytest.mark.requirement("execution:no-option-without-effect")
async def test_an_execution_that_says_nothing_leaves_spec_and_log_as_they_were() -> None:
    plain, empty = Agent(MODEL, tools=TOOLS), Agent(MODEL, tools=TOOLS, execution=Execution())
    assert plain.digest == empty.digest == digest_of(plain.encoded)
    assert b'"execution":' not in plain.encoded
    _, log, _ = await played(empty, "Hi.")
    assert of(RunStarted, log)[0].setup.execution is None
    one, other = Execution(sequence=("a", "b", "a")), Execution(sequence=("b", "a"))
    assert one == other, "a sequence is a set"
    assert msgspec.json.decode(msgspec.json.encode(one), type=Execution) == one


@pytest.mark.requirement("execution:no-option-without-effect")
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"sequence": ["sarch"]}, "'sarch', which the agent has not got: it has search"),
        ({"sequence": "search"}, r"a list of texts.*\('search',\)"),
        ({"sequence": [""]}, "has '' among its texts"),
        ({"markers": [3]}, "has 3 among its texts"),
        ({"on_violation": "observe"}, "of a contract"),
        ({"on_violation": "warn", "markers": ["x"]}, "'observe', 'fail'"),
        ({"repeats": "never"}, "'run', 'answer', 'deny'"),
        ({"stop_on_first_tool": True, "sequence": ["search", "cite"]}, "leave one of them out"),
        ({"sequence": ["search"], "besides": ["search"]}, "leave it out of one"),
        ({"besides": ["x"]}, "which the agent has not got"),
    ],
)
def test_what_an_execution_cannot_mean_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Agent(MODEL, tools=TOOLS, execution=Execution(**given))


@pytest.mark.requirement("execution:no-option-without-effect")
def test_one_tool_that_is_enough_has_no_typed_answer() -> None:
    with pytest.raises(UsageError, match="output wants data"):
        Agent(MODEL, tools=TOOLS, output=Found, execution=Execution(stop_on_first_tool=True))
