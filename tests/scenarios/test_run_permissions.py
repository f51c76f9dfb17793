"""What an agent may do without a person's word, and what becomes of what it may not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, Scene, all_answered, asked, of, scene, seen, soon, until

from holdfast import Agent, Effect, ToolContext, Wait, tool
from holdfast.engine.events import RunFinished, ToolFinished, ToolStarted, ToolWaiting
from holdfast.errors import UsageError
from holdfast.runtime.run import Run
from holdfast.testing import Call, Turn
from holdfast.types import Event, Mode, stream_id

RAN: list[str] = []


@tool(effect="none")
async def look() -> str:
    """Looks."""
    RAN.append("look")
    return "seen"


@tool(effect=Effect(workspace=True, outside="none"), touches=lambda arguments: ("note",))
async def note(text: str, context: ToolContext) -> str:
    """Writes a note."""
    assert context.workspace is not None
    (context.workspace.root / "note").write_text(text)
    RAN.append("note")
    return "noted"


@tool(effect=Effect(outside="none", sends=True))
async def ask_the_world(address: str) -> str:
    """Looks something up elsewhere."""
    RAN.append("ask_the_world")
    return "an answer"


@tool
async def pay(sum: int) -> str:
    """Pays."""
    RAN.append(f"pay {sum}")
    return "paid"


AGENT = Agent(MODEL, tools=[look, note, ask_the_world, pay])
ALL = Turn(calls=[Call("look", {}), Call("note", {"text": "x"}), Call("pay", {"sum": 1})])
DONE = Turn(text="done")


@pytest.fixture(autouse=True)
def fresh() -> None:
    RAN.clear()


async def parked(s: Scene, run: Run, times: int = 1) -> list[ToolWaiting]:
    """Returns what the run waits for, once it is parked."""
    await soon(seen(run, "tool.waiting", times))
    await until(lambda: s.runtime._worker.tail(stream_id("local", "s")) is None)
    return of(ToolWaiting, await s.log())


def results(log: list[Event]) -> list[tuple[str, str]]:
    """Returns the code and status of each result, in the log's order."""
    return [
        (each.result.error.code, each.result.error.status) if each.result.error else ("ok", "ok")
        for each in of(ToolFinished, log)
    ]


@pytest.mark.requirement("tools:mode-table", "runtime:unattended-denies")
@pytest.mark.parametrize(
    ("mode", "runs", "denied"),
    [
        ("auto", ["look", "note", "pay 1"], 0),
        ("accept-edits", ["look", "note"], 1),
        ("ask", ["look"], 2),
        ("read-only", ["look"], 2),
    ],
)
async def test_with_nobody_to_ask_what_a_mode_does_not_allow_is_denied_and_the_result_says_so(
    mode: Mode, runs: list[str], denied: int, tmp_path: Path
) -> None:
    async with scene([ALL, DONE]) as s:
        run = await s.runtime.start(AGENT, "go", session="s", workspace=tmp_path, mode=mode, unattended=True)
        result = await soon(run.result())
        log = await s.log()
    assert sorted(RAN) == sorted(runs)
    assert (result.status, result.denied) == ("completed", denied)
    assert of(RunFinished, log)[0].denied == denied
    assert results(log).count(("permission_denied", "denied")) == denied
    assert all_answered(log)


@pytest.mark.requirement("tools:approval-once", "tools:permission-gate")
async def test_a_call_that_needs_a_word_parks_the_run_and_runs_once_it_is_given(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    async with scene([ALL, DONE], url=url) as s:
        run = await s.runtime.start(AGENT, "go", session="s", workspace=tmp_path, mode="accept-edits")
        [waiting] = await parked(s, run)
        assert sorted(RAN) == ["look", "note"]  # what needs no word is not held up
        assert waiting.wait.kind == "approval"
        assert waiting.wait.prompt == "pay sum: 1"
        async with s.other() as other:  # from another process, with the words of a person
            await other.run("s", run.key).approve(waiting.wait.token)
            result = await soon(run.result())
        log = await s.log()
        told = {each["function"]["name"]: each["function"] for each in json.loads(s.server.requests[0].body)["tools"]}
    assert RAN[2:] == ["pay 1"]
    assert list(told["pay"]["parameters"]["properties"]) == ["sum"], "a gate takes nothing from what the model is told"
    assert (result.status, result.denied) == ("completed", 0)
    assert all_answered(log)
    assert [each.call_id for each in of(ToolStarted, log)].count(waiting.call_id) == 1


@pytest.mark.requirement("tools:approval-denied", "tools:permission-gate")
@pytest.mark.parametrize("answer", ["deny: not today", "nonsense", ""])
async def test_whatever_is_no_clear_yes_is_a_no_and_the_model_reads_why(answer: str, tmp_path: Path) -> None:
    async with scene([Turn(calls=[Call("pay", {"sum": 1})]), DONE]) as s:
        run = await s.runtime.start(AGENT, "go", session="s", mode="ask")
        [waiting] = await parked(s, run)
        await run.answer(waiting.wait.token, answer)
        result = await soon(run.result())
        messages = asked(s.server)[-1]
    assert RAN == []
    assert result.denied == 1
    assert messages[-1]["content"].startswith("Denied by a person")
    assert ("not today" in messages[-1]["content"]) == ("not today" in answer)


@pytest.mark.requirement("tools:approval-always", "tools:permission-gate")
async def test_always_allows_the_tool_for_the_rest_of_the_session_and_no_other(tmp_path: Path) -> None:
    pays = [Turn(calls=[Call("pay", {"sum": number})]) for number in (1, 2)]
    async with scene([*pays, DONE, Turn(calls=[Call("pay", {"sum": 3}), Call("note", {"text": "y"})]), DONE]) as s:
        run = await s.runtime.start(AGENT, "go", session="s", workspace=tmp_path, mode="ask")
        [waiting] = await parked(s, run)
        await run.approve(waiting.wait.token, always=True)
        assert (await soon(run.result())).status == "completed"
        again = await s.runtime.start(AGENT, "more", session="s", mode="ask")
        await soon(seen(again, "tool.waiting"))
        fork = await s.runtime.fork("s", name="f")  # what was allowed there was allowed there
        state = of(ToolWaiting, await s.log())[-1]
        await again.deny(state.wait.token)
        await soon(again.result())
    assert RAN == ["pay 1", "pay 2", "pay 3"]
    assert fork == "f"


@pytest.mark.requirement("tools:approval-always")
async def test_always_is_for_a_tool_and_not_for_a_name_and_a_rewind_takes_it_back(tmp_path: Path) -> None:
    @tool(name="deploy", effect="keyed", reference="a:deploy")
    async def stage() -> str:
        """Deploys to staging."""
        RAN.append("staging")
        return "staged"

    @tool(name="deploy", reference="b:deploy")
    async def produce() -> str:
        """Deploys to production."""
        RAN.append("production")
        return "deployed"

    turns = [Turn(calls=[Call("deploy", {})]), DONE]
    async with scene([*turns, *turns, *turns]) as s:
        run = await s.runtime.start(Agent(MODEL, tools=[stage]), "go", session="s", mode="ask")
        [waiting] = await parked(s, run)
        await run.approve(waiting.wait.token, always=True)
        await soon(run.result())
        run = await s.runtime.start(Agent(MODEL, tools=[produce]), "go", session="s", mode="ask")
        waiting = (await parked(s, run))[-1]
        await run.deny(waiting.wait.token)
        await soon(run.result())
        await s.runtime.fork("s", name="f")
        await s.runtime.rewind("f", to=(await s.log())[-1].seq)  # to before it was a fork
        run = await s.runtime.start(Agent(MODEL, tools=[stage]), "go", session="f", mode="ask")
        await soon(seen(run, "tool.waiting"))
    assert RAN == ["staging"]


@pytest.mark.requirement("tools:approval-bound-to-call")
async def test_two_calls_of_a_turn_are_two_questions_and_one_yes_allows_one(tmp_path: Path) -> None:
    async with scene([Turn(calls=[Call("pay", {"sum": 5}), Call("pay", {"sum": 5})]), DONE]) as s:
        run = await s.runtime.start(AGENT, "go", session="s", mode="ask")
        first, second = await parked(s, run, 2)
        assert first.wait.token != second.wait.token
        await run.approve(second.wait.token)
        await until(lambda: RAN == ["pay 5"])
        await run.deny(first.wait.token)
        await soon(run.result())
        log = await s.log()
    assert RAN == ["pay 5"]
    assert results(log)[0] == ("ok", "ok")


@pytest.mark.requirement("tools:approval-outlives-process")
async def test_a_question_outlives_the_process_that_asked_and_nothing_finished_runs_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    async with scene([ALL, DONE], url=url) as s:
        run = await s.runtime.start(AGENT, "go", session="s", workspace=tmp_path, mode="ask")
        questions = await parked(s, run, 2)
        await s.runtime.close()
        async with s.other() as other:
            again = await other.resume("s", AGENT)
            for each in questions:
                await again.approve(each.wait.token)
            result = await soon(again.result())
        s.runtime = other
    assert RAN[0] == "look"
    assert sorted(RAN) == ["look", "note", "pay 1"]
    assert result.status == "completed"


@pytest.mark.requirement("tools:approval-digest")
async def test_a_yes_to_what_is_judged_by_other_rules_by_now_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with scene([Turn(calls=[Call("pay", {"sum": 1})]), DONE]) as s:
        run = await s.runtime.start(AGENT, "go", session="s", mode="ask")
        [first] = await parked(s, run)
        monkeypatch.setattr("holdfast.tools.permitting._VERSION", 99)
        await run.approve(first.wait.token)
        _, second = await parked(s, run, 2)
        assert (RAN, first.wait.token == second.wait.token) == ([], False)
        await run.approve(second.wait.token)
        await soon(run.result())
    assert RAN == ["pay 1"]


@pytest.mark.requirement("tools:sending-is-asked-about")
@pytest.mark.parametrize("mode", ["read-only", "ask", "accept-edits", "auto"])
async def test_what_only_sends_is_asked_about_since_an_address_can_carry_what_a_file_said(mode: Mode) -> None:
    async with scene([Turn(calls=[Call("ask_the_world", {"address": "x"})]), DONE]) as s:
        run = await s.runtime.start(AGENT, "go", session="s", mode=mode)
        if mode != "auto":
            [waiting] = await parked(s, run)
            await run.approve(waiting.wait.token)
        assert (await soon(run.result())).denied == 0
        assert of(ToolStarted, await s.log())[0].effect.repeatable
    assert RAN == ["ask_the_world"]


async def test_a_tool_cannot_ask_for_an_approval_of_its_own() -> None:
    @tool(effect="none", name="sly")
    async def sly() -> Wait:
        """Wants to be run again."""
        RAN.append("sly")
        return Wait("t", "approval")

    async with scene([Turn(calls=[Call("sly", {})]), DONE]) as s:
        await soon((await s.runtime.start(Agent(MODEL, tools=[sly]), "go", session="s")).result())
        [finished] = of(ToolFinished, await s.log())
    assert RAN == ["sly"]
    assert "only the gateway asks" in finished.result.content


@pytest.mark.parametrize("wrong", [{"mode": "yolo"}, {"effects": {"pay": "nothing"}}, {"effects": {"payy": "none"}}])
async def test_a_mode_or_an_effect_that_is_none_is_refused_before_anything_is_posted(wrong: Any) -> None:
    async with scene([DONE]) as s:
        with pytest.raises(UsageError):
            await s.runtime.start(AGENT, "go", session="s", **wrong)
        assert await s.runtime.journal.head(stream_id("local", "s")) is None


async def test_an_abort_ends_a_question(tmp_path: Path) -> None:
    async with scene([Turn(calls=[Call("pay", {"sum": 1})]), DONE]) as s:
        run = await s.runtime.start(AGENT, "go", session="s", mode="ask")
        [waiting] = await parked(s, run)
        await run.abort()
        assert (await soon(run.result())).status == "aborted"
        await run.approve(waiting.wait.token)  # too late, and nothing comes of it
        again = await s.runtime.start(AGENT, "more", session="s", mode="auto")
        await soon(again.result())
        assert all_answered(await s.log())
    assert RAN == []


@pytest.mark.requirement("tools:effect-known-better")
async def test_a_user_may_know_an_effect_better_by_name(tmp_path: Path) -> None:
    async with scene([Turn(calls=[Call("pay", {"sum": 1})]), DONE]) as s:
        run = await s.runtime.start(AGENT, "go", session="s", mode="ask", effects={"pay": "none"})
        result = await soon(run.result())
        log: Any = await s.log()
    assert RAN == ["pay 1"]
    assert of(ToolStarted, log)[0].effect.outside == "none"
    assert result.denied == 0


async def test_a_run_that_asks_holds_no_task(tmp_path: Path) -> None:
    async with scene([Turn(calls=[Call("pay", {"sum": 1})]), DONE]) as s:
        before = len(asyncio.all_tasks())
        run = await s.runtime.start(AGENT, "go", session="s", mode="ask")
        [waiting] = await parked(s, run)
        await until(lambda: len(asyncio.all_tasks()) <= before + 1)  # the heartbeat
        await run.approve(waiting.wait.token)
        await soon(run.result())
