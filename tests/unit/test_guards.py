"""What ends a run or keeps it going, as decided from its log alone."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.running import MODEL, answer, done, opened, told

from holdfast.context.announcing import announces
from holdfast.engine.decide import (
    CallModel,
    CallTools,
    Decision,
    Finish,
    PressOn,
    Skip,
    admit,
    decide,
    met_limit,
    stale,
)
from holdfast.engine.events import (
    AbortRequested,
    AnswerUnfinished,
    InputApplied,
    InputReceived,
    LimitsRaised,
    RunFinished,
    RunStarted,
    ToolStarted,
    ToolWaiting,
)
from holdfast.engine.folding import replay
from holdfast.engine.letters import Setup
from holdfast.engine.state import State
from holdfast.runtime.guarding.critic import Extend, Kill, Nudge, Raise
from holdfast.runtime.guarding.watching import letter_of
from holdfast.types import CallId, Digest, Effect, Limits, Payload, Text, UserMessage, Wait

NOW = 2_000_000
HOUR = 3600
Log = list[Payload | tuple[Payload, str]]


def ends(number: int) -> ToolStarted:
    return ToolStarted(CallId(f"c{number}"), Effect(outside="none"), terminal=True)


def after(*log: Payload | tuple[Payload, str], limits: Limits | None = None) -> State:
    return replay(told(*opened(limits), *log))


def said(kind: str, text: str = "left", run: str = "") -> tuple[Payload, str]:
    return InputReceived(kind, UserMessage((Text(text),)), run=run), f"key of {text}"  # pyright: ignore[reportArgumentType]


# ---- a terminal call --------------------------------------------------------------------------------------------

THREE = answer("", "f", "f", "f")
SKIP_TWO = Skip((CallId("c1"), CallId("c2")), over=True)
TABLE: list[tuple[str, Log, Decision]] = [
    ("it went well", [answer("", "f"), ends(0), done(0, "out")], Finish("completed", output="out")),
    ("it failed", [answer("", "f"), ends(0), done(0, "no", "execution_failed")], CallModel()),
    ("others have not begun", [THREE, ends(0), done(0, "out")], SKIP_TWO),
    ("others wait", [THREE, ends(0), ToolWaiting(CallId("c2"), Wait("t")), done(0, "out")], SKIP_TWO),
    ("somebody aborts", [THREE, ends(0), done(0, "out"), AbortRequested("enough")], Finish("aborted", "enough")),
]


@pytest.mark.requirement("engine:terminal-tool")
@pytest.mark.parametrize(("log", "decision"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_a_terminal_call_that_went_well_is_the_end_of_its_run(log: Log, decision: Decision) -> None:
    state = after(*log)
    before = msgspec.json.encode(state)
    assert decide(state, NOW) == decision
    assert msgspec.json.encode(state) == before


def test_no_limit_takes_away_what_a_terminal_call_came_to() -> None:
    limits = Limits(steps=1, seconds=0.5, identical_repeats=1)
    assert decide(after(answer("", "f"), ends(0), done(0, "out"), limits=limits), NOW) == Finish(
        "completed", output="out"
    )


def test_what_was_said_in_time_comes_before_the_end() -> None:
    log: Log = [answer("", "f"), said("steer"), ends(0), done(0, "out")]
    state = after(*log)
    assert admit(state) == InputApplied(4)
    assert decide(after(*log, InputApplied(4)), NOW) == CallModel()
    assert admit(after(answer("", "f"), said("follow_up"), ends(0), done(0, "out"))) == InputApplied(4)


@pytest.mark.requirement("engine:terminal-tool", "engine:every-call-one-result")
@given(
    terminal=st.lists(st.booleans(), min_size=1, max_size=6),
    order=st.permutations(range(6)),
    failing=st.sets(st.integers(0, 5)),
)
def test_however_calls_end_the_run_is_over_with_the_first_terminal_one_that_went_well_and_never_before(
    terminal: list[bool], order: list[int], failing: set[int]
) -> None:
    log: Log = [answer("", *["f"] * len(terminal))]
    for results, number in enumerate([each for each in order if each < len(terminal)]):
        state = after(*log)
        step = decide(state, NOW)
        if isinstance(step, Skip):
            assert step.over
            assert len(step.calls) == len(terminal) - results
            log += [done(int(call[1:]), "skipped", "canceled") for call in step.calls]
            break
        assert isinstance(step, CallTools)
        started = ToolStarted(CallId(f"c{number}"), Effect(outside="none"), terminal=terminal[number])
        log += [started, done(number, f"out {number}", "execution_failed" if number in failing else "")]
    state = after(*log)
    assert not state.calls, "each has its result"
    ended = [n for n in order if n < len(terminal) and terminal[n] and n not in failing][:1]
    assert decide(state, NOW) == (Finish("completed", output=f"out {ended[0]}") if ended else CallModel())


# ---- an answer that is none -------------------------------------------------------------------------------------

USED: Log = [answer("", "f"), done(0)]


@pytest.mark.requirement("engine:weak-answer")
@pytest.mark.parametrize(
    "text",
    [
        "Let me check the remaining files:",
        "Now let me run the tests:\n",
        "The file is there. Next, I'll read it:",
        "Great! Now I will write the summary:",
        "I'm going to fix that:",
        "Done with that.\n\nHere are the results:",
        "**Let me look:",
        "Ok. I\u2019ll do it:",
    ],
)
def test_an_announcement_is_told_from_an_answer(text: str) -> None:
    assert announces(text)
    assert decide(after(*USED, answer(text)), NOW) == PressOn()


@pytest.mark.requirement("engine:weak-answer")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "Done.",
        "Let me know if you want more.",
        "Let me know which one you prefer:",
        "I will look at it tomorrow.",
        "The key is `name:`",
        "The answer is in this file:",  # it may well be all there is to say
        "Options:\n- a\n- b",
        "You can run it so:",
        "He said: let me go",
        "I looked. " * 40 + "Let me check once more:",  # it has said something
        "```\nlet me:\n```\nHere is more:",
        "Let me check:\n\nThere are three.",
        "Lass mich nachsehen:",
    ],
)
def test_whatever_may_be_an_answer_is_one(text: str) -> None:
    assert not announces(text)
    assert decide(after(*USED, answer(text)), NOW) == Finish("completed")


def test_it_is_asked_once_in_a_run_after_tools_where_nothing_is_queued_and_no_limit_is_met() -> None:
    weak = answer("Let me look:")
    assert decide(after(*USED, weak), NOW) == PressOn()
    asked = after(*USED, weak, AnswerUnfinished())
    assert decide(asked, NOW) == CallModel()
    assert isinstance(asked.messages[-1], UserMessage)
    assert decide(after(*USED, weak, AnswerUnfinished(), weak), NOW) == Finish("completed")
    assert decide(after(weak), NOW) == Finish("completed")
    assert decide(after(*USED, answer("Let me look:", stop="length")), NOW) == Finish("limited", "max_output_tokens")
    for limits in (Limits(steps=2), Limits(seconds=1), Limits(tokens=30), Limits(press_on=False)):
        assert decide(after(*USED, weak, limits=limits), NOW) == Finish("completed")
    assert admit(after(*USED, weak, said("follow_up"))) == InputApplied(6)


@given(st.text(max_size=400))
def test_no_text_is_too_strange_to_be_looked_at(text: str) -> None:
    assert announces(text) in (True, False)
    assert not announces(text + ".")


# ---- more time and more steps -----------------------------------------------------------------------------------


@pytest.mark.requirement("engine:critic")
@pytest.mark.parametrize(
    ("limit", "more", "until"),
    [
        (10, [5.0], 15),
        (10, [5.0, 7.0], 22),
        (10, [1e9], 6 * HOUR),
        (10, [6.0 * HOUR, 1.0], 6 * HOUR),
        (7 * HOUR, [HOUR], 7 * HOUR),  # a limit that lies beyond the ceiling is not made shorter by more time
        (10, [-5.0], 10),
        (None, [5.0], None),
    ],
)
def test_more_time_is_added_to_the_limit_and_never_passes_the_ceiling(
    limit: float | None, more: list[float], until: float | None
) -> None:
    state = after(*[LimitsRaised("k", seconds=seconds) for seconds in more], limits=Limits(seconds=limit))
    assert state.run is not None
    expected = None if until is None else state.run.started_at + until * 1e6
    assert state.run.until == expected
    if expected is not None:
        assert met_limit(state, state.run, int(expected) - 1) == ""
        assert met_limit(state, state.run, int(expected)) == "seconds"


def test_more_steps_are_added_to_the_limit_and_what_is_for_another_run_means_nothing() -> None:
    limits = Limits(steps=1, seconds=10)
    assert decide(after(*USED, limits=limits), NOW) == Finish("limited", "steps")
    assert decide(after(*USED, LimitsRaised("k", steps=1), limits=limits), NOW) == CallModel()
    state = after(*USED, LimitsRaised("other", 5, 5), limits=limits)
    assert decide(state, NOW) == Finish("limited", "steps")
    assert state.run is not None
    assert (state.run.extensions, state.run.more_seconds) == (0, 0)


@pytest.mark.requirement("engine:critic")
def test_a_verdict_is_a_letter_with_one_key_for_each_standstill() -> None:
    run = after(limits=Limits(seconds=10)).run
    assert run is not None
    letters = [letter_of(verdict, run, 7, 1) for verdict in (Nudge("Go on."), Extend(5), Raise(3), Kill("no"))]
    assert [letter and (letter.kind, letter.key, letter.actor) for letter in letters] == [
        (kind, "critic:2:7", "critic") for kind in ("steer", "more", "more", "abort")
    ]
    assert letter_of(None, run, 7, 1) is None
    assert letter_of(Extend(5), run, 7, 0) is None, "none is granted"
    unbounded = after(limits=Limits()).run
    assert unbounded is not None
    assert letter_of(Extend(5), unbounded, 7, 1) is None, "there is no limit to extend"


# ---- words that come too late, and going on ---------------------------------------------------------------------


def test_words_for_a_run_that_is_over_are_dropped_and_those_for_the_session_are_kept() -> None:
    over: Log = [answer("done"), RunFinished("completed"), said("steer", "to it", "k"), said("steer", "to all")]
    state = after(*over)
    assert stale(state) == [5]
    assert stale(after(said("steer", "to it", "k"), said("steer", "to another", "other"))) == [4]
    assert stale(after()) == []
    queued = [said("prompt", "next"), said("steer", "to it", "key of next"), said("steer", "to another", "other")]
    assert stale(after(*over[:2], *queued)) == [7], "the run that opens next hears what was said to it before"


@pytest.mark.requirement("engine:continue-without-prompt")
def test_a_run_that_goes_on_adds_no_words_to_the_conversation() -> None:
    setup = Setup(Digest("sha256:0"), MODEL)
    log: Log = [answer("", "f"), done(0, "so far"), RunFinished("limited", "steps")]
    proceed = (InputReceived("proceed", UserMessage(()), setup), "p")
    before, queued = after(*log), after(*log, proceed)
    assert admit(queued) == RunStarted(6, setup)
    state = after(*log, proceed, RunStarted(6, setup))
    assert state.messages == before.messages
    assert decide(state, NOW) == CallModel()
    late = after(answer("done"), RunFinished("completed"), proceed, RunStarted(5, setup))
    assert decide(late, NOW) == Finish("completed"), "somebody else was quicker: there is nothing left to do"


def test_what_is_said_too_late_opens_a_run_in_the_folder_of_its_session() -> None:
    setup = Setup(Digest("sha256:0"), MODEL, workspace="/elsewhere")
    prompt = (InputReceived("prompt", UserMessage((Text("go"),)), setup), "k")
    finished: Log = [prompt, RunStarted(1, setup), answer("done"), RunFinished("completed"), said("steer")]
    opening = admit(replay(told(*finished)))
    assert isinstance(opening, RunStarted)
    assert opening.setup.workspace == ""


def test_events_of_guards_are_read_again_as_they_were_written() -> None:
    kept = [ends(0), AnswerUnfinished(), LimitsRaised("k", 1.5, 2), said("steer", run="k")[0]]
    for payload in kept:
        assert msgspec.json.decode(msgspec.json.encode(payload), type=type(payload)) == payload
