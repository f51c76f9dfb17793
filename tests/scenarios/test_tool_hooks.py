"""Hooks around tool calls: they refuse, ask, note and add, and what is wrong with them breaks no run."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from tests.running import MODEL, of, scene, seen, soon

from holdfast import Agent, Hooks, Runtime, ToolContext, tool
from holdfast.engine.events import ToolFinished, ToolNoted, ToolStarted, ToolWaiting
from holdfast.errors import UsageError
from holdfast.testing import Call, Turn
from holdfast.tools.hooks.guardrails import AuditTools, BlockedCommands
from holdfast.tools.hooks.port import Calling, Finding, Note, Ruling, ToolHooks
from holdfast.tools.hooks.programs import ProgramAfter, ProgramBefore
from holdfast.tools.hooks.remembering import InjectMemory, InjectRule, SaveMemory, SaveRule
from holdfast.types import ToolResult

DONE: list[str] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    DONE.clear()


@tool(effect="keyed")
async def pay(to: str, amount: int = 1) -> str:
    """Pays."""
    DONE.append(to)
    return f"paid {to}"


@tool(effect="none")
async def through(context: ToolContext, to: str) -> str:
    """Pays through another tool."""
    return (await context.call("pay", {"to": to})).content


AGENT = Agent(MODEL, tools=[pay, through])
PAYS = [Turn(calls=[Call("pay", {"to": "ann"})]), Turn(text="done")]


def hooks(*before: Any, after: tuple[Any, ...] = (), seconds: float = 10.0) -> Hooks:
    return Hooks(tools=ToolHooks(before=before, after=after, seconds=seconds))


async def came_to(given: Hooks, script: list[Turn] = PAYS) -> tuple[ToolResult, list[ToolNoted]]:
    """Returns the result of the call, and what hooks noted."""
    async with scene(script, hooks=given) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        log = await s.log()
    (finished,) = [each for each in of(ToolFinished, log) if each.nested is None]
    return finished.result, list(of(ToolNoted, log))


@pytest.mark.requirement("tools:before-hook-blocks")
async def test_a_hook_before_a_call_refuses_it_with_its_reason() -> None:
    heard: list[Calling] = []

    def no(calling: Calling) -> Ruling:
        heard.append(calling)
        return Ruling(verdict="deny", reason="not on Sundays", notes=(Note("security", "security/sunday", "ann"),))

    result, notes = await came_to(hooks(no))
    assert result.content == "Denied: not on Sundays"
    assert result.error is not None
    assert (result.error.status, result.error.code) == ("denied", "permission_denied")
    assert DONE == []
    assert [(each.topic, each.text) for each in notes] == [("security/sunday", "ann")]
    assert heard[0].arguments == {"to": "ann"}
    assert (heard[0].tool, heard[0].session, heard[0].agent) == ("pay", "s", "agent")


@pytest.mark.requirement("tools:before-hook-blocks")
async def test_a_hook_after_a_call_replaces_the_result() -> None:
    async def other(calling: Calling, result: ToolResult) -> Finding:
        return Finding(result=ToolResult(f"{result.content}, and counted"))

    result, _ = await came_to(hooks(after=(other,)))
    assert result.content == "paid ann, and counted"


@pytest.mark.requirement("tools:before-hook-blocks")
async def test_a_hook_that_fails_denies_the_call_before_it_and_leaves_the_result_after_it() -> None:
    def fails(calling: Calling, result: ToolResult | None = None) -> Any:
        raise RuntimeError("out of order")

    result, notes = await came_to(hooks(fails))
    assert result.error is not None
    assert result.error.reason == "tool_hook_failed"
    assert DONE == []
    assert "out of order" in notes[0].text
    assert "out of order" not in result.content, "the model learns nothing of our programs"
    result, notes = await came_to(hooks(after=(fails,)))
    assert result.content == "paid ann"
    assert [each.topic for each in notes] == ["security/hook_failed"]


async def test_a_hook_that_takes_too_long_or_says_something_else_has_failed() -> None:
    async def slow(calling: Calling) -> None:
        await asyncio.Event().wait()

    result, _ = await came_to(hooks(slow, seconds=0.05))
    assert result.error is not None
    assert result.error.reason == "tool_hook_failed"
    result, _ = await came_to(hooks(lambda calling: "yes"))
    assert result.error is not None
    assert result.error.reason == "tool_hook_failed"
    assert DONE == []


async def test_a_hook_has_a_person_asked_even_where_nothing_is_asked_about() -> None:
    ask = hooks(lambda calling: Ruling(verdict="ask", reason="over the limit"))
    async with scene(PAYS, hooks=ask) as s:
        run = await s.runtime.start(AGENT, "go", session="s", mode="auto")
        waiting = (await soon(seen(run, ToolWaiting.type))).data
        assert isinstance(waiting, ToolWaiting)
        assert "over the limit" in waiting.wait.prompt
        assert DONE == []
        await run.approve(waiting.wait.token)
        await soon(run.result())
        assert DONE == ["ann"]


@pytest.mark.requirement("tools:before-hook-blocks")
@pytest.mark.parametrize(("to", "done"), [("bob", ["bob"]), ("eve", [])])
async def test_a_call_that_a_person_changed_is_not_asked_about_again_and_a_hook_may_still_refuse_it(
    to: str, done: list[str]
) -> None:
    def about(calling: Calling) -> Ruling:
        whom = calling.arguments["to"]
        return Ruling(verdict="deny" if whom == "eve" else "ask", reason=f"it pays {whom}")

    async with scene(PAYS, hooks=hooks(about)) as s:
        run = await s.runtime.start(AGENT, "go", session="s", mode="auto")
        waiting = (await soon(seen(run, ToolWaiting.type))).data
        assert isinstance(waiting, ToolWaiting)
        await run.approve(waiting.wait.token, arguments={"to": to})
        await soon(run.result())
        assert done == DONE
        assert len(of(ToolWaiting, await s.log())) == 1


@pytest.mark.requirement("tools:before-hook-blocks")
async def test_calls_that_a_tool_makes_pass_the_hooks_too() -> None:
    def no(calling: Calling) -> Ruling | None:
        return Ruling(verdict="deny", reason="no payments") if calling.tool == "pay" else None

    script = [Turn(calls=[Call("through", {"to": "ann"})]), Turn(text="done")]
    result, _ = await came_to(hooks(no), script)
    assert result.content == "Denied: no payments"
    assert DONE == []


async def test_a_run_that_is_stopped_while_a_hook_thinks_makes_no_call() -> None:
    asked = asyncio.Event()

    async def thinks(calling: Calling) -> None:
        asked.set()
        await asyncio.Event().wait()

    async with scene(PAYS, hooks=hooks(thinks)) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(asked.wait())
        await run.abort()
        result = await soon(run.result())
        log = await s.log()
    assert result.status == "aborted"
    assert not of(ToolStarted, log)
    (finished,) = of(ToolFinished, log)
    assert finished.result.error is not None
    assert finished.result.error.code == "canceled"


@pytest.mark.requirement("tools:hooks-block-and-audit")
async def test_what_was_audited_and_what_was_refused_is_on_record() -> None:
    _, notes = await came_to(hooks(after=(AuditTools("pay"),)))
    assert [(each.kind, each.topic) for each in notes] == [("audit", "audit/pay")]
    assert 'pay {"to":"ann"} -> ok' in notes[0].text
    _, notes = await came_to(hooks(after=(AuditTools("other"),)))
    assert notes == []


@pytest.mark.requirement("tools:hooks-block-and-audit")
async def test_a_blocked_command_is_never_run(tmp_path: Path) -> None:
    agent = Agent(MODEL, tools=["bash"])
    script = [Turn(calls=[Call("bash", {"command": "touch made; r''m -rf ."})]), Turn(text="done")]
    async with scene(script, hooks=hooks(BlockedCommands("rm -rf"))) as s:
        await soon((await s.runtime.start(agent, "go", session="s", workspace=tmp_path)).result())
        log = await s.log()
    assert of(ToolFinished, log)[0].result.content == "Denied: Blocked command pattern: rm -rf"
    assert [each.topic for each in of(ToolNoted, log)] == ["security/blocked_command"]
    assert not (tmp_path / "made").exists()


@pytest.mark.requirement("tools:hooks-memory-and-inject")
async def test_the_first_memory_rule_that_matches_saves() -> None:
    rules = (
        SaveRule(tool="pay", match_output="nothing like it"),
        SaveRule(tool="pay", match_arguments={"to": "^bob$"}),
        SaveRule(tool="pay", match_output="paid", match_arguments={"to": "an+"}, kind="payment"),
        SaveRule(tool="pay", kind="late"),
    )
    _, notes = await came_to(hooks(after=(SaveMemory(*rules),)))
    (note,) = notes
    assert (note.kind, note.scope, note.tags) == ("payment", "project", ("auto-capture", "hook", "pay"))
    assert note.text == "Auto-captured: pay paid ann\npaid ann"


@pytest.mark.requirement("tools:hooks-memory-and-inject")
async def test_what_an_inject_rule_finds_stands_before_the_model() -> None:
    asked: list[tuple[str, int]] = []

    async def recall(query: str, limit: int) -> list[str]:
        asked.append((query, limit))
        return ["ann was paid\nyesterday", "", "more", "too many"]

    async with scene(PAYS, hooks=hooks(InjectMemory(recall, InjectRule(tool="pay", query="people", limit=2)))) as s:
        await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        request = s.server.requests[-1]
    assert asked == [("people", 2)]
    shown = str(request.body)
    assert "ann was paid yesterday" in shown
    assert "too many" not in shown


CHECK = """
import json, sys
told = json.load(sys.stdin)
if told["arguments"].get("to") == "ann":
    print("ann is no customer", file=sys.stderr)
    sys.exit({code})
print(json.dumps({answer}))
"""


def program(tmp_path: Path, code: int, answer: object) -> list[str]:
    path = tmp_path / "check.py"
    path.write_text(CHECK.replace("{code}", str(code)).replace("{answer}", repr(answer)))
    return [sys.executable, str(path)]


@pytest.mark.requirement("tools:before-hook-blocks")
async def test_a_program_denies_by_its_exit_code(tmp_path: Path) -> None:
    result, notes = await came_to(hooks(ProgramBefore(program(tmp_path, 2, {}))))
    assert result.content == "Denied: ann is no customer"
    assert notes[0].topic == "security/hook_denied"
    result, _ = await came_to(hooks(ProgramBefore(program(tmp_path, 1, {}))))
    assert result.error is not None
    assert result.error.reason == "tool_hook_failed"
    assert DONE == []


async def test_a_program_says_more_as_json(tmp_path: Path) -> None:
    script = [Turn(calls=[Call("pay", {"to": "bob"})]), Turn(text="done")]
    said = {"context": ["bob is new"], "notes": [{"kind": "audit", "topic": "audit/x"}]}
    result, notes = await came_to(hooks(ProgramBefore(program(tmp_path, 0, said))), script)
    assert result.content == "bob is new\n\npaid bob"
    assert [each.topic for each in notes] == ["audit/x"]
    replaced = {"result": {"content": "something else"}}
    result, _ = await came_to(hooks(after=(ProgramAfter(program(tmp_path, 0, replaced)),)), script)
    assert result.content == "something else"


@pytest.mark.parametrize(
    "source",
    [
        "print('no json')",
        "print('[1, 2')",
        'print(\'{"verdict": "maybe"}\')',
        "import sys; sys.stdout.write('x' * 10_000_000)",
        "import sys; sys.stderr.write('x' * 10_000_000)",
        "import os; os.write(1, bytes(range(256)))",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "import time; time.sleep(600)",
        "import os, time; os.fork() or time.sleep(600)",
        "import sys; sys.exit(7)",
    ],
)
async def test_whatever_a_program_does_the_call_is_denied_and_the_run_ends(source: str) -> None:
    result, _ = await came_to(hooks(ProgramBefore([sys.executable, "-c", source]), seconds=1.0))
    assert result.error is not None
    assert result.error.reason == "tool_hook_failed"
    assert DONE == []
    result, _ = await came_to(hooks(after=(ProgramAfter([sys.executable, "-c", source]),), seconds=1.0))
    assert result.content == "paid ann", "what was done is done"


@pytest.mark.parametrize(
    ("argv", "name", "told"),
    [
        (["/usr/bin/python3.11", "-u", "/a/check.py", "--strict"], "check.py", "check.py --strict"),
        (["python3", "-m", "pkg.check"], "pkg.check", "pkg.check"),
        (["env", "KEY=hush", "python3", "check.py"], "check.py", "check.py"),
        (["sh", "-c", "cat; exit 2"], "sh", "sh -c cat; exit 2"),
        (["./guard", "--level", "3"], "guard", "guard --level 3"),
        (["guard", "--token=abcdef"], "guard", "guard --token=[REDACTED]"),
        (["python3"], "python3", "python3"),
        (["bash", "-x"], "bash", "bash -x"),
    ],
)
def test_a_program_is_called_what_tells_it_apart(argv: list[str], name: str, told: str) -> None:
    hook = ProgramBefore(argv)
    assert (hook.__name__, hook.told) == (name, told)


@pytest.mark.parametrize(
    ("end", "said"), [("sys.exit(1)", "it ended with 1"), ("os.kill(os.getpid(), 9)", "signal 9 ended it")]
)
async def test_a_program_that_fails_without_a_word_is_told_so_to_the_operator_alone(end: str, said: str) -> None:
    code = f"import os, sys; {end}"
    result, notes = await came_to(hooks(ProgramBefore([sys.executable, "-c", code])))
    name = Path(sys.executable).name
    text = f"{name} -c {code} failed: ValueError: {said}: it said nothing on standard error"
    assert [each.text for each in notes] == [text]
    assert f"({name})" in result.content
    assert code not in result.content


async def test_a_program_that_is_not_there_denies() -> None:
    result, _ = await came_to(hooks(ProgramBefore(["/no/such/program"])))
    assert result.error is not None
    assert result.error.reason == "tool_hook_failed"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"hooks": ToolHooks()}, r"hooks=Hooks\(tools=ToolHooks"),
        ({"hooks": Hooks(tools=cast("Any", [print]))}, r"Hooks\(tools=ToolHooks"),
        ({"policy": "policy.yaml"}, "load_policy"),
        ({"policy": ["policy.yaml"]}, "load_policy"),
    ],
)
def test_what_is_no_hook_and_no_policy_is_told_what_to_write(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Runtime.open("memory:", **given)


@pytest.mark.parametrize("wrong", [print, ["print"], "print"])
def test_hooks_are_a_list_of_functions(wrong: Any) -> None:
    with pytest.raises(UsageError, match=r"before=\[check\]"):
        ToolHooks(before=wrong)
