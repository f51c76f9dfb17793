"""How runs come to their end by themselves: a tool that ends them, an answer that is none, and going on afterwards."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.running import MODEL, Scene, all_answered, answer, asked, done, of, paired, scene, seen, soon, until

from holdfast import Agent, Effect, Limits, Runtime, ToolContext, Wait, tool
from holdfast.engine.events import (
    CODEC,
    AnswerUnfinished,
    InputReceived,
    ReviewRequested,
    RunFinished,
    RunStarted,
    ToolFinished,
    ToolStarted,
)
from holdfast.engine.letters import Setup
from holdfast.errors import SessionBusy, SessionExited, UnknownSession, UsageError
from holdfast.journal.owning import Pen
from holdfast.runtime.pipelines import Phase, Pipeline
from holdfast.testing import Call, Turn
from holdfast.testing.faults import Hang, Status
from holdfast.types import CallId, Control, Event, Text, UserMessage, WorkerId, stream_id

RAN: list[str] = []
GATES: dict[str, asyncio.Event] = {}


async def _at_the_gate(name: str) -> None:
    RAN.append(name)
    if name in GATES:
        await GATES[name].wait()


@tool(effect="none")
async def look(name: str = "look") -> str:
    """Looks."""
    await _at_the_gate(name)
    return f"{name} seen"


@tool
async def pay() -> str:
    """Must not happen when the run is over."""
    RAN.append("pay")
    return "paid"


@tool(effect="keyed", terminal=True)
async def submit(answer: str, context: ToolContext) -> str:
    """Hands in the answer."""
    RAN.append(context.key)
    if "submit" in GATES:
        await GATES["submit"].wait()
    if answer == "wrong":
        raise ValueError("that is wrong")
    return f"handed in: {answer}"


@tool(effect=Effect(workspace=True, outside="none"), terminal=True)
async def publish() -> str:
    """Changes files, and is the last thing to do."""
    return "published"


@tool(effect="none", terminal=True)
async def sign(token: str) -> Wait:
    """Has somebody sign, which is the last thing to do."""
    return Wait(token, "question", None, "Sign?")


@tool
async def ask(token: str) -> Wait:
    """Asks somebody."""
    return Wait(token, "question", None, "Well?")


AGENT = Agent(MODEL, tools=[look, pay, submit, publish, sign, ask])
TERMINAL = ToolStarted(CallId("c0"), Effect(outside="keyed"), terminal=True)
DONE = Call("submit", {"answer": "42"})
WRONG = Call("submit", {"answer": "wrong"})


@pytest.fixture(autouse=True)
def fresh() -> None:
    RAN.clear()
    GATES.clear()


def results(log: list[Event]) -> list[str]:
    return [each.result.content for each in of(ToolFinished, log)]


# ---- a tool that ends the run -----------------------------------------------------------------------------------


@pytest.mark.requirement("engine:terminal-tool")
@pytest.mark.parametrize("name", ["submit", "publish"])
async def test_a_terminal_call_that_goes_well_is_the_last_thing_a_run_does_and_its_result_the_output(
    name: str, tmp_path: Path
) -> None:
    call = DONE if name == "submit" else Call("publish")
    async with scene([Turn("I hand it in.", calls=[call]), "never asked"]) as s:
        result = await soon((await s.runtime.start(AGENT, "go", session="s", workspace=tmp_path)).result())
        kinds = await s.kinds()
        log = await s.log()
    assert (result.status, result.output) == ("completed", "handed in: 42" if name == "submit" else "published")
    assert (result.steps, len(s.server.requests)) == (1, 1)
    assert kinds[2:] == ["model.finished", "tool.started", "tool.finished", "run.finished"]
    assert of(RunFinished, log)[0].output == result.output
    assert all_answered(log)


@pytest.mark.requirement("engine:terminal-tool", "engine:every-call-one-result")
async def test_calls_before_a_terminal_one_are_made_and_those_after_it_are_skipped(tmp_path: Path) -> None:
    turn = Turn(calls=[Call("look", {"name": "a"}), Call("look", {"name": "b"}), DONE, Call("pay"), Call("nothing")])
    async with scene([turn, "So it is."]) as s:
        result = await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        log = await s.log()
        after = await soon((await s.runtime.start(AGENT, "and?", session="s")).result())
        last = asked(s.server)[-1]
    assert (result.status, result.output) == ("completed", "handed in: 42")
    assert RAN[:2] == ["a", "b"]
    assert "pay" not in RAN
    told = results(log)
    assert told[:3] == ["a seen", "b seen", "handed in: 42"]
    assert [each.split(":")[0] for each in told[3:]] == ["Skipped", "Skipped"]
    assert all_answered(log)
    assert after.output == "So it is."
    assert paired(last)
    assert last[-1]["content"] == "and?"


@pytest.mark.requirement("engine:terminal-tool")
async def test_a_terminal_call_that_fails_ends_nothing_and_what_comes_after_it_is_made() -> None:
    async with scene([Turn(calls=[WRONG, Call("pay")]), Turn(calls=[DONE])]) as s:
        result = await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        log = await s.log()
    assert (result.status, result.output, result.steps) == ("completed", "handed in: 42", 2)
    assert [each.startswith("'submit' failed") for each in results(log)] == [True, False, False]
    assert "pay" in RAN
    assert all_answered(log)


async def test_a_terminal_call_may_wait_for_somebody_and_the_answer_ends_the_run_and_what_else_waits() -> None:
    both = Turn(calls=[Call("ask", {"token": "q"}), Call("sign", {"token": "t"})])
    async with scene([both]) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(seen(run, "tool.waiting", 2))
        await run.answer("t", "signed")
        result = await soon(run.result())
        log = await s.log()
    assert (result.status, result.output) == ("completed", "signed")
    assert results(log)[0].startswith("Skipped")
    assert all_answered(log)


@pytest.mark.requirement("engine:terminal-tool", "engine:crash-effectless-runs-again")
async def test_a_terminal_call_that_was_under_way_at_a_crash_ends_the_run_when_it_is_made_again(tmp_path: Path) -> None:
    GATES["submit"] = asyncio.Event()
    async with scene([Turn(calls=[DONE, Call("pay")])], url=f"sqlite:///{tmp_path}/s.db") as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await soon(seen(run, "tool.started"))
        await until(lambda: bool(RAN))
        await s.runtime.close()
        GATES.clear()
        async with s.other() as other:
            result = await soon((await other.resume("s", AGENT)).result())
            log = await Scene(s.server, other, s.url, s.clock).log()
    assert (result.status, result.output) == ("completed", "handed in: 42")
    assert len(set(RAN)) == 1, "the same key, and nothing else ran"
    assert len(RAN) == 2
    assert all_answered(log)


@pytest.mark.requirement("engine:terminal-tool", "engine:every-call-one-result")
async def test_a_process_that_died_between_a_terminal_call_and_the_end_of_its_run_leaves_the_end_to_the_next() -> None:
    async with scene(["never asked"]) as s:
        claim = await s.runtime.journal.claim(stream_id("local", "s"), WorkerId("gone"), 10**7)
        pen = Pen(s.runtime.journal, claim, CODEC, s.clock, lambda _: None)
        setup = Setup(AGENT.digest, MODEL)
        pen.write(InputReceived("prompt", UserMessage((Text("go"),)), setup), cause="k")
        for payload in (RunStarted(1, setup), answer("", "submit", "pay"), TERMINAL, done(0, "handed in: 42")):
            pen.write(payload)
        await pen.sync()
        await s.runtime.journal.release(pen.stream, pen.epoch)
        result = await soon((await s.runtime.resume("s", AGENT)).result())
        log = await s.log()
    assert (result.status, result.output, result.steps) == ("completed", "handed in: 42", 1)
    assert (len(RAN), len(s.server.requests)) == (0, 0)
    assert all_answered(log)


@pytest.mark.parametrize("kind", ["steer", "follow_up"])
async def test_what_was_said_before_a_terminal_call_ended_keeps_the_run_open(kind: str) -> None:
    GATES["submit"] = asyncio.Event()
    async with scene([Turn(calls=[DONE]), "As you say."]) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        await until(lambda: bool(RAN))
        await (run.steer("not that") if kind == "steer" else run.follow_up("not that"))
        GATES["submit"].set()
        result = await soon(run.result())
        assert asked(s.server)[-1][-1]["content"] == "not that"
    assert (result.status, result.output, result.steps) == ("completed", "As you say.", 2)


@pytest.mark.requirement("engine:output-review")
async def test_what_a_terminal_tool_hands_in_is_reviewed_like_any_answer() -> None:
    again = Turn(calls=[Call("submit", {"answer": "43"})])
    async with scene([Turn(calls=[DONE]), again]) as s:
        run = await s.runtime.start(AGENT, "go", session="s", control=Control(review=1))
        first = await soon(seen(run, "review.requested"))
        assert isinstance(first.data, ReviewRequested)
        assert first.data.wait.prompt == "handed in: 42"
        await run.request_changes(first.data.wait.token, "one more")
        second = await soon(seen(run, "review.requested", 2))
        assert isinstance(second.data, ReviewRequested)
        assert second.data.wait.prompt == "handed in: 43"
        await run.approve(second.data.wait.token)
        result = await soon(run.result())
        assert asked(s.server)[-1][-1]["content"] == "A reviewer asks for changes: one more"
    assert (result.status, result.output) == ("completed", "handed in: 43")


async def test_what_a_child_hands_in_is_what_its_parent_reads() -> None:
    child = Agent("openai/child", name="child", tools=[submit])
    parent = Agent("openai/parent", tools=[child.as_tool("delegate")])
    turns: dict[str, Any] = {
        "child": [Turn(calls=[DONE])],
        "parent": [Turn(calls=[Call("delegate", {"prompt": "do"})]), "ok"],
    }
    async with scene(turns) as s:
        result = await soon((await s.runtime.start(parent, "go", session="s")).result())
        log = await s.log()
        assert asked(s.server)[-1][-1]["content"] == "handed in: 42"
    assert result.output == "ok"
    assert all_answered(log)


# ---- an answer that is none -------------------------------------------------------------------------------------

USED = Turn(calls=[Call("look")])
EMPTY_WORDS = "I have looked. Now let me put the figures together:"


@pytest.mark.requirement("engine:weak-answer")
async def test_an_answer_that_only_announces_one_is_asked_for_once_and_the_log_says_so() -> None:
    async with scene([USED, EMPTY_WORDS, "There are three."]) as s:
        result = await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        log = await s.log()
        said = asked(s.server)[-1]
    assert (result.status, result.output, result.steps) == ("completed", "There are three.", 3)
    assert len(of(AnswerUnfinished, log)) == 1
    assert [message["role"] for message in said[-2:]] == ["assistant", "user"]
    assert "only says what you are about to do" in said[-1]["content"]


@pytest.mark.requirement("engine:weak-answer")
async def test_a_model_that_keeps_announcing_is_asked_no_second_time_in_a_run() -> None:
    async with scene([USED, EMPTY_WORDS, EMPTY_WORDS, "never asked"]) as s:
        result = await soon((await s.runtime.start(AGENT, "go", session="s")).result())
    assert (result.status, result.output, len(s.server.requests)) == ("completed", EMPTY_WORDS, 3)


@pytest.mark.requirement("engine:weak-answer")
@pytest.mark.parametrize(
    ("script", "limits"),
    [
        ([USED, EMPTY_WORDS], Limits(press_on=False)),
        ([USED, EMPTY_WORDS], Limits(steps=2)),  # an answer that is there is never taken away by a limit
        ([EMPTY_WORDS], Limits()),  # it used no tools: that is all it has to say
        ([USED, "I have looked: three."], Limits()),
    ],
)
async def test_no_other_answer_is_questioned(script: list[Any], limits: Limits) -> None:
    async with scene([*script, "never asked"]) as s:
        result = await soon((await s.runtime.start(AGENT, "go", session="s", limits=limits)).result())
        log = await s.log()
    assert (result.status, result.output) == ("completed", script[-1])
    assert len(s.server.requests) == len(script)
    assert not of(AnswerUnfinished, log)


@pytest.mark.requirement("engine:weak-answer")
async def test_a_run_that_died_after_it_was_asked_again_is_asked_no_second_time(tmp_path: Path) -> None:
    script = [USED, EMPTY_WORDS, Turn(EMPTY_WORDS, fault=Hang(times=1))]
    async with scene(script, url=f"sqlite:///{tmp_path}/s.db") as s:
        await s.runtime.start(AGENT, "go", session="s")
        await soon(s.server.arrived(3))
        await s.runtime.close()
        async with s.other() as other:
            result = await soon((await other.resume("s", AGENT)).result())
            log = await Scene(s.server, other, s.url, s.clock).log()
    assert (result.status, result.output) == ("completed", EMPTY_WORDS)
    assert len(of(AnswerUnfinished, log)) == 1
    assert asked(s.server)[-1] == asked(s.server)[-2], "the same question, word for word"


# ---- going on ---------------------------------------------------------------------------------------------------


@pytest.mark.requirement("engine:continue-without-prompt")
async def test_a_run_that_was_aborted_amid_its_calls_is_gone_on_with_and_the_model_sees_no_new_words() -> None:
    GATES["a"] = asyncio.Event()
    async with scene([Turn(calls=[Call("look", {"name": "a"})]), "So be it."]) as s:
        first = await s.runtime.start(AGENT, "go", session="s", mode="accept-edits", limits=Limits(steps=7))
        await until(lambda: RAN == ["a"])
        await first.abort("enough")
        assert (await soon(first.result())).status == "aborted"
        run = await s.runtime.proceed("s")
        result = await soon(run.result())
        log = await s.log()
        roles = [message["role"] for message in asked(s.server)[-1]]
        with pytest.raises(UsageError, match="ended with an answer"):
            await s.runtime.proceed("s")
    assert (result.status, result.output, result.steps) == ("completed", "So be it.", 1)
    assert roles[-2:] == ["assistant", "tool"]
    again = of(RunStarted, log)[1].setup
    assert (again.mode, again.limits.steps) == ("accept-edits", 7), "as the last run was set up"
    assert of(InputReceived, log)[1].kind == "proceed"
    assert len(of(RunFinished, log)) == 2
    assert all_answered(log)


@pytest.mark.requirement("engine:continue-without-prompt")
async def test_a_run_that_failed_or_met_a_limit_is_gone_on_with_in_another_process(tmp_path: Path) -> None:
    script = [Turn(calls=[Call("look")], fault=Status(400, times=1)), "Three."]
    async with scene(script, url=f"sqlite:///{tmp_path}/s.db") as s:
        limits = Limits(steps=1)
        failed = await soon((await s.runtime.start(AGENT, "go", session="s", limits=limits)).result())
        limited = await soon((await s.runtime.proceed("s")).result())
        await s.runtime.close()
        async with s.other() as other:
            run = await other.proceed("s", AGENT, limits=Limits(steps=5))
            result = await soon(run.result())
            log = await Scene(s.server, other, s.url, s.clock).log()
        said = asked(s.server)[-1]
    assert (failed.status, limited.status, limited.reason) == ("failed", "limited", "steps")
    assert (result.status, result.output) == ("completed", "Three.")
    assert [message["role"] for message in said] == ["user", "assistant", "tool"]
    assert all_answered(log)


@pytest.mark.requirement("engine:continue-without-prompt")
async def test_a_process_that_dies_as_soon_as_it_was_asked_to_go_on_leaves_that_to_the_next(tmp_path: Path) -> None:
    script = [Turn(calls=[Call("look")], fault=Status(400, times=1)), "Three."]
    async with scene(script, url=f"sqlite:///{tmp_path}/s.db") as s:
        await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        run = await s.runtime.proceed("s")
        await s.runtime.close()
        async with Runtime.open(s.url, at_once=1) as other:
            again = await other.resume("s", AGENT)
            result = await soon(again.result())
    assert again.key == run.key
    assert (result.status, result.output, result.steps) == ("completed", "Three.", 2)


@pytest.mark.requirement("engine:continue-without-prompt")
async def test_a_session_with_queued_words_goes_on_with_them(tmp_path: Path) -> None:
    async with scene(["Done.", "And that."], url=f"sqlite:///{tmp_path}/s.db") as s:
        await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        receipt = await s.runtime.session("s").steer("and that?")
        run = await s.runtime.proceed("s", AGENT)
        result = await soon(run.result())
        assert asked(s.server)[-1][-1]["content"] == "and that?"
    assert (result.output, run.key) == ("And that.", receipt.key)


@pytest.mark.requirement("engine:continue-without-prompt")
async def test_there_is_no_going_on_without_a_run_during_one_after_an_answer_or_in_a_session_that_ended() -> None:
    GATES["a"] = asyncio.Event()
    turns = [Turn(calls=[DONE]), Turn(calls=[Call("look", {"name": "a"})])]
    async with scene(turns) as s:
        with pytest.raises(UnknownSession):
            await s.runtime.proceed("s")
        await s.runtime.session("s").steer("out of the blue")
        with pytest.raises(UsageError, match="no run"):
            await s.runtime.proceed("s")
        await soon((await s.runtime.start(AGENT, "go", session="t")).result())
        with pytest.raises(UsageError, match="ended with an answer"):
            await s.runtime.proceed("t")
        run = await s.runtime.start(AGENT, "more", session="t")
        await until(lambda: "a" in RAN)
        with pytest.raises(SessionBusy, match="is open"):
            await s.runtime.proceed("t")
        await run.exit()
        await soon(run.result())
        with pytest.raises(SessionExited):
            await s.runtime.proceed("t")


async def test_a_pipeline_begins_anew_and_is_not_gone_on_with() -> None:
    line = Pipeline([Phase("one", Agent(MODEL, limits=Limits(model_retries=0)))])
    async with scene([Turn(fault=Status(400))]) as s:
        assert (await soon((await s.runtime.start(line, "q", session="s")).result())).status == "failed"
        with pytest.raises(UsageError, match="pipeline"):
            await s.runtime.proceed("s")


@pytest.mark.requirement("engine:continue-without-prompt")
async def test_a_fork_from_amid_a_run_goes_on_in_a_folder_of_its_own_and_so_does_what_is_said_to_it(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    script = [Turn(calls=[Call("write", {"path": "a", "content": "1"})]), "Here.", "There."]
    agent = Agent(MODEL, tools=["write"])
    async with scene(script, url=f"sqlite:///{tmp_path}/s.db") as s:
        run = await s.runtime.start(agent, "go", session="s", workspace=folder)
        await soon(run.result())
        at = next(event.seq for event in await s.log() if event.type == "tool.finished")
        await s.runtime.fork("s", at=at, name="t")
        result = await soon((await s.runtime.proceed("t")).result())
        own = await s.runtime.workspace("t")
        await s.runtime.session("t").follow_up("and now?")
        later = await soon((await s.runtime.proceed("t")).result())
        assert await s.runtime.workspace("t") == own
    assert (result.output, later.output) == ("Here.", "There.")
    assert own is not None
    assert own != str(folder)
