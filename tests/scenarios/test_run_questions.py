"""What an agent asks the person it works for, in the middle of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.running import Wrapped, all_answered, of, scene, seen, soon, until
from tests.scenarios.test_run_gates import AGENT, PAY, STREAM, URLS, gated, parked, results, store

from holdfast import Runtime
from holdfast.engine.events import RunFinished, ToolFinished, ToolWaiting, WaitResolved
from holdfast.errors import UnknownWait, UsageError
from holdfast.testing import Call, Turn
from holdfast.testing.clock import FakeClock
from holdfast.types import Control, Limits, Option, Question

COLOUR = {"question": "Which colour?", "options": [{"label": "red"}, {"label": "blue"}], "free": False}
DAYS = {"question": "Which days?", "options": [{"label": "Mon"}, {"label": "Tue"}], "multiple": True}
WHY = {"question": "Why?"}


def asking(*questions: dict[str, Any], minutes: float = 10) -> Turn:
    return Turn(calls=[Call("question", {"questions": list(questions), "minutes": minutes})])


@pytest.mark.requirement("engine:questions-answered")
@URLS
async def test_answers_to_questions_are_the_result_of_the_call_that_asked_them(url: str, tmp_path: Path) -> None:
    async with scene([asking(COLOUR, DAYS, WHY), "thanks"], url=store(url, tmp_path)) as s:
        run, wait = await gated(s, "auto")
        assert (wait.kind, wait.prompt) == ("question", "Which colour?\nWhich days?\nWhy?")
        assert wait.questions[1] == Question("Which days?", options=(Option("Mon"), Option("Tue")), multiple=True)
        receipt = await run.reply(wait.token, ["red", ["Mon", "some other day"], "for fun"])
        await soon(receipt.committed())
        assert (await soon(run.result())).output == "thanks"
        assert json.loads(results(s)[0]) == [["red"], ["Mon", "some other day"], ["for fun"]]
        assert (await run.reply(wait.token, ["blue", [], "no"])).status == "duplicate"
        assert all_answered(await s.log())


@pytest.mark.requirement("engine:questions-answered")
@pytest.mark.parametrize(
    ("answers", "why"),
    [
        (["red", [], "x"], "2 questions were asked and 3 answers given"),
        (["green", []], r"cannot be answered with 'green': pick from \['red', 'blue'\]"),
        ([["red", "blue"], []], "takes one answer, and 2 were given"),
        ([[], []], "takes one answer, and 0 were given"),
        ([" ", []], "cannot be answered with nothing"),
        (["red", ["Mon", ""]], "cannot be answered with nothing"),
    ],
)
async def test_an_answer_that_does_not_fit_is_refused_to_its_sender_with_why(answers: list[Any], why: str) -> None:
    async with scene([asking(COLOUR, DAYS), "thanks"]) as s:
        run, wait = await gated(s, "auto")
        with pytest.raises(UsageError, match=why):
            await run.reply(wait.token, answers)
        with pytest.raises(UnknownWait, match="look at what does"):
            await run.reply("nobody", answers)
        await run.reply(wait.token, ["blue", []])
        await soon(run.result())
        assert json.loads(results(s)[0]) == [["blue"], []]


@pytest.mark.requirement("engine:questions-answered")
async def test_two_calls_of_a_turn_that_ask_are_two_waits_and_each_is_answered_by_itself(tmp_path: Path) -> None:
    turn = Turn(calls=[asking(COLOUR).calls[0], asking(WHY).calls[0]])
    async with scene([turn, "thanks"], url=store("sqlite", tmp_path)) as s:
        run = await s.runtime.start(AGENT, "go", session="s")
        first, second = await parked(s, run, 2)
        async with Runtime.open(s.url, user="anna") as other:
            await other.session("s").reply(second.token, ["because"])
            await soon(seen(run, "wait.resolved"))
            await other.session("s").reply(first.token, ["red"])
            await soon(run.result())
        assert [json.loads(each) for each in results(s)] == [[["red"]], [["because"]]]
        actors = [event.actor for event in await s.log() if isinstance(event.data, WaitResolved)]
    assert actors == ["anna", "anna"]


@pytest.mark.requirement("engine:questions-answered")
async def test_a_question_that_nobody_answers_ends_in_time_and_wants_no_answer_any_more() -> None:
    clock = FakeClock()
    async with scene([asking(WHY, minutes=2), "I assume fun"], clock=clock) as s:
        run, wait = await gated(s, "auto")
        await clock.advance(121)
        assert (await soon(run.result())).output == "I assume fun"
        assert results(s) == ["Nobody answered in time."]
        with pytest.raises(UnknownWait, match="expired"):
            await run.reply(wait.token, ["late"])


@pytest.mark.requirement("engine:questions-answered")
async def test_a_question_outlives_its_process_and_an_abort_ends_it(tmp_path: Path) -> None:
    async with scene([asking(WHY), "thanks", asking(WHY)], url=store("sqlite", tmp_path)) as s:
        run, wait = await gated(s, "auto")
        await s.runtime.close()
        async with s.other() as other:
            await other.run("s", run.key).reply(wait.token, ["fun"])
            await soon((await other.resume("s", AGENT)).result())
            assert json.loads(results(s)[0]) == [["fun"]]
            s.runtime = other
            again = await other.start(AGENT, "again", session="s")
            wait = (await parked(s, again))[-1]
            await again.abort()
            await soon(again.result())
            with pytest.raises(UnknownWait, match="over"):
                await again.reply(wait.token, ["late"])
            assert all_answered(await s.log())


@pytest.mark.requirement("engine:questions-answered")
async def test_where_nobody_attends_a_question_is_answered_at_once_with_that() -> None:
    async with scene([asking(WHY), "I assume fun"]) as s:
        run = await s.runtime.start(AGENT, "go", session="s", unattended=True)
        assert (await soon(run.result())).status == "completed"
        assert "Nobody can be asked here" in results(s)[0]
        assert of(ToolWaiting, await s.log()) == []


@pytest.mark.requirement("engine:questions-answered")
@pytest.mark.parametrize(
    "arguments",
    [
        {"questions": []},
        {"questions": [WHY] * 9},
        {"questions": [{"question": " "}]},
        {"questions": [{"question": "x" * 2001}]},
        {"questions": [{"question": "x", "options": [{"label": "a"}, {"label": "a"}]}]},
        {"questions": [{"question": "x", "free": False}]},
        {"questions": [WHY], "minutes": 0},
        {"questions": [WHY], "minutes": 1e9},
    ],
)
async def test_a_question_that_makes_no_sense_is_the_models_to_mend(arguments: dict[str, Any]) -> None:
    async with scene([Turn(calls=[Call("question", arguments)]), "sorry"]) as s:
        result = await soon((await s.runtime.start(AGENT, "go", session="s")).result())
        log = await s.log()
    assert result.output == "sorry"
    assert of(ToolFinished, log)[0].result.error is not None
    assert len(of(RunFinished, log)) == 1


class Counted(Wrapped):
    """A journal that counts the records that are read."""

    records = 0

    async def read(self, *args: Any, **options: Any) -> Any:
        found = await self.inner.read(*args, **options)
        Counted.records += len(found)
        return found


@pytest.mark.requirement("engine:answers-read-little")
@pytest.mark.parametrize("kind", ["question", "approval", "review"])
async def test_an_answer_reads_no_more_of_the_log_than_what_came_since_it_was_asked_for(kind: str) -> None:
    looks = Turn(calls=[Call("look")] * 120)
    last = {"question": asking(WHY), "approval": PAY, "review": Turn(text="done")}[kind]
    options: dict[str, Any] = {"mode": "ask"} if kind == "approval" else {}
    options |= {"control": Control(review=1)} if kind == "review" else {}
    between = ["looked"] if kind == "approval" else []  # what a tool takes is said where its run began
    async with scene([*[looks] * 4, *between, last, "thanks"], wrap=Counted) as s:
        run = await s.runtime.start(AGENT, "go", session="s", limits=Limits(tool_calls=None), **options)
        for _ in between:
            await soon(run.result())
            run = await s.runtime.start(AGENT, "and now", session="s", **options)
        event = await soon(seen(run, "review.requested" if kind == "review" else "tool.waiting"))
        assert event.seq > 900
        wait = event.data.wait  # type: ignore[union-attr]
        await until(lambda: s.runtime._worker.tail(STREAM) is None)
        Counted.records = 0
        if kind == "question":
            await run.reply(wait.token, ["because"])
        elif kind == "approval":
            await run.approve(wait.token, arguments={"sum": 6})
        else:
            await run.request_changes(wait.token, "shorter")
        assert Counted.records < 100
