"""Every kind of event has a line of its own in each list of events."""

from __future__ import annotations

import inspect
from io import StringIO

import pytest
from rich.console import Console
from tests.running import told

from holdfast.cli.rendering.happenings import again, exhausted, happening
from holdfast.cli.timeline import Timeline
from holdfast.cli.watch.rows import Row, line_of
from holdfast.engine import events as log
from holdfast.engine.events import AnswerJudged
from holdfast.types import CallId, Payload, Wait

WAIT = Wait("child:c-1", "child", None, "scout: find it", subject="c-1")
HAPPENED: list[Payload] = [
    log.PhaseStarted(1, WAIT),
    log.PhaseFailed(1, "it stands above this run already"),
    log.AccountOpened(("local", "ada", "s", "s@2")),
    log.RunClosed(2),
    log.InputDropped(7),
    log.Paused("lunch"),
    log.Resumed(),
    log.SessionEnded("enough"),
    log.ReviewRequested(Wait("review:9", "review"), 2),
    log.LastAnswerAsked("tool_calls"),
    log.AnswerUnfinished(),
    AnswerJudged(why="people is missing", text="Answer once more."),
    AnswerJudged('{"people": 3}'),
    log.AnswerLacking(2, "Not the end yet."),
    log.ContractViolated("wrong_tool", "shell", CallId("c-1"), ends=True),
    log.ContractViolated("missing_marker", text="DONE"),
    log.AnswerRefused("job-1"),
    log.ToolNoted(CallId("c-1"), "security", "security/blocked_command", "rm -rf: rm -rf /", ("bash",)),
    log.ToolNoted(CallId("c-1"), "audit", "audit/bash", "agent: bash -> ok"),
    log.LimitsRaised("k", 60.0, 5),
    log.BudgetExhausted("tokens of account local/ada", 5_000_000),
    log.BudgetExhausted("dollars"),
    log.FilesRestored(),
    log.ProcessStarted("p1", "server", "python -m http.server", CallId("c-1"), 2),
    log.ProcessEnded("p1", "server", 143),
    log.ProcessLost("p1", "server", "whoever ran it was killed"),
]


@pytest.mark.requirement("cli:events-have-lines")
@pytest.mark.parametrize("payload", HAPPENED, ids=lambda payload: payload.type)
def test_each_event_has_its_own_words_in_a_session_that_is_shown_and_in_one_that_is_watched(payload: Payload) -> None:
    (event,) = told(payload)
    page = StringIO()
    Timeline(Console(file=page, width=200), 9).print(event)
    shown = page.getvalue()
    said = happening(payload)
    assert said is not None
    assert said[2].plain.strip() in shown
    assert len(shown.split()) > 3
    watched = line_of(Row(event), 3, 200).plain
    assert "unknown" not in watched
    assert said[2].plain.strip() in watched


@pytest.mark.requirement("cli:events-have-lines")
def test_a_new_kind_of_event_is_given_a_line() -> None:
    kinds = {each for _, each in inspect.getmembers(log, inspect.isclass) if issubclass(each, Payload)} - {Payload}
    told_elsewhere = {
        log.InputReceived,
        log.InputApplied,
        log.RunStarted,
        log.RunFinished,
        log.ModelStarted,
        log.ModelFinished,
        log.ModelFailed,
        log.ToolStarted,
        log.ToolFinished,
        log.ToolWaiting,
        log.WaitResolved,
        log.CallReopened,
        log.AbortRequested,
        log.FilesKept,
        log.Forked,
        log.Rewound,
    }
    assert kinds == told_elsewhere | {type(each) for each in HAPPENED}, "add it to `happening`, and here"


@pytest.mark.requirement("cli:budget-words")
def test_a_limit_of_an_account_is_told_with_when_something_is_free_again() -> None:
    now = 1_000_000_000_000_000
    whole = log.BudgetExhausted("tokens of account local/ada", now + 3 * 86_400_000_000)
    said = exhausted(whole, now)
    assert said.startswith("account local/ada has too few tokens left for another model call; enough may be free again")
    assert said.endswith("(in 3 days)")
    assert exhausted(log.BudgetExhausted("dollars of account local"), now).endswith("another model call")
    assert exhausted(log.BudgetExhausted("tokens"), now) == "the tokens left do not pay for another model call"
    assert again(now + 90_000_000, now).endswith("(in 1 min 30 s)")
    assert again(now - 1, now) == "now"
