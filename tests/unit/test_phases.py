"""What a session may be at, and what each letter and each event makes of it: the whole table, and nothing beside it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.running import answer, done, told

from holdfast.engine.attempt import receive
from holdfast.engine.decide import CallModel, CallTools, Finish, Wait, admit, decide
from holdfast.engine.events import (
    InputApplied,
    InputReceived,
    LastAnswerAsked,
    ModelFailed,
    Paused,
    ReviewRequested,
    RunFinished,
    RunStarted,
    SessionEnded,
    ToolStarted,
    ToolWaiting,
)
from holdfast.engine.folding import fold, replay
from holdfast.engine.letters import Answer, Prompt, Setup, Stop
from holdfast.engine.state import Phase, State
from holdfast.journal.port import Mail
from holdfast.types import CallId, Control, Digest, Effect, Payload, Text, UserMessage
from holdfast.types import Wait as Waiting

Log = list[Payload | tuple[Payload, str]]
NOW = 2_000_000
SETUP = Setup(Digest("sha256:0"), "openai/scripted", control=Control(review=1))
GO: tuple[Payload, str] = (InputReceived("prompt", UserMessage((Text("go"),)), SETUP), "k")
BEGUN: Log = [GO, RunStarted(1, SETUP)]
ASKS: Log = [*BEGUN, answer("", "f"), ToolWaiting(CallId("c0"), Waiting("t"))]
ASKS_LEAVE: Log = [
    *BEGUN,
    answer("", "f"),
    ToolWaiting(CallId("c0"), Waiting("t", "approval", digest=Digest("sha256:1"))),
]
REVIEWED: Log = [*BEGUN, answer("done"), ReviewRequested(Waiting("t", "review"), 1)]
OVER: Log = [*BEGUN, answer("done"), RunFinished("completed")]

SITUATIONS: dict[str, tuple[Log, Phase]] = {
    "nothing yet": ([], "idle"),
    "a prompt is queued": ([GO], "idle"),
    "between two runs": (OVER, "idle"),
    "the model is asked": (BEGUN, "thinking"),
    "the model is asked for the last time": ([*BEGUN, LastAnswerAsked("steps")], "thinking"),
    "a call is made": ([*BEGUN, answer("", "f"), ToolStarted(CallId("c0"), Effect())], "acting"),
    "a call waits": (ASKS, "waiting"),
    "a call waits for leave": (ASKS_LEAVE, "waiting"),
    "the answer is reviewed": (REVIEWED, "waiting"),
    "paused between two runs": ([*OVER, Paused()], "paused"),
    "paused with a prompt": ([*OVER, Paused(), (GO[0], "k2")], "paused"),
    "paused before the model": ([*BEGUN, Paused()], "paused"),
    "paused before a call": ([*BEGUN, answer("", "f"), Paused()], "paused"),
    "paused while a call waits": ([*ASKS, Paused()], "paused"),
    "paused in a review": ([*REVIEWED, Paused()], "paused"),
    "over for good": ([*OVER, SessionEnded()], "ended"),
    "over for good before anything was": ([SessionEnded()], "ended"),
    "about to be over for good": ([*ASKS, SessionEnded()], "waiting"),
}

LETTERS: dict[str, tuple[str, msgspec.Struct]] = {
    "prompt": ("prompt", Prompt(UserMessage((Text("more"),)), SETUP)),
    "steer": ("steer", Prompt(UserMessage((Text("left"),)))),
    "follow_up": ("follow_up", Prompt(UserMessage((Text("then"),)))),
    "abort": ("abort", Stop("enough")),
    "abort another": ("abort", Stop("enough", "another")),
    "pause": ("pause", Stop()),
    "resume": ("resume", Stop()),
    "exit": ("exit", Stop("closing")),
    "yes": ("answer", Answer("t", "once")),
    "no": ("answer", Answer("t", "deny: no")),
    "changes": ("answer", Answer("t", "changes: more")),
    "an answer to a stranger": ("answer", Answer("nobody", "once")),
    "nothing that is known": ("shout", Stop()),
}

PAUSED = "paused"
MOVES: dict[tuple[str, str], Phase] = {
    # what a letter makes of a situation, where that is another phase; all other pairs leave the phase as it is
    **{(each, "pause"): PAUSED for each, (_, phase) in SITUATIONS.items() if phase not in ("ended", "paused")},
    **{("about to be over for good", each): "waiting" for each in ("pause",)},
    ("paused between two runs", "resume"): "idle",
    ("paused with a prompt", "resume"): "idle",
    ("paused before the model", "resume"): "thinking",
    ("paused before a call", "resume"): "acting",
    ("paused while a call waits", "resume"): "waiting",
    ("paused in a review", "resume"): "waiting",
    **{(each, "exit"): "ended" for each in ("nothing yet", "a prompt is queued", "between two runs")},
    **{(each, "exit"): "ended" for each in ("paused between two runs", "paused with a prompt")},
    ("paused before the model", "exit"): "thinking",  # to be aborted at the next decision
    ("paused before a call", "exit"): "acting",
    ("paused while a call waits", "exit"): "waiting",
    ("paused in a review", "exit"): "waiting",
    **{("a call waits", each): "thinking" for each in ("yes", "no", "changes")},
    **{("about to be over for good", each): "thinking" for each in ("yes", "no", "changes")},
    ("a call waits for leave", "yes"): "acting",
    ("a call waits for leave", "no"): "thinking",
    ("a call waits for leave", "changes"): "thinking",
    **{("the answer is reviewed", each): "thinking" for each in ("yes", "no", "changes")},
}


def posted(state: State, letter: str) -> None:
    """Folds what a letter puts into the log."""
    kind, body = LETTERS[letter]
    for payload in receive(Mail(n=1, key="key", kind=kind, body=msgspec.json.encode(body))):
        told_ = told((payload, "key"))[0]
        fold(state, msgspec.structs.replace(told_, seq=state.seq + 1))


@pytest.mark.requirement("engine:states-legal-only")
@pytest.mark.parametrize("letter", LETTERS)
@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_letter_makes_of_each_situation_what_the_table_says_and_nothing_else(situation: str, letter: str) -> None:
    log, phase = SITUATIONS[situation]
    state = replay(told(*log))
    assert state.phase == phase
    posted(state, letter)
    assert state.phase == MOVES.get((situation, letter), phase)


@pytest.mark.requirement("engine:states-legal-only", "engine:pause-gates")
@pytest.mark.parametrize("letter", LETTERS)
@pytest.mark.parametrize("situation", SITUATIONS)
def test_nothing_begins_in_what_is_paused_or_over_whatever_is_said_to_it(situation: str, letter: str) -> None:
    state = replay(told(*SITUATIONS[situation][0]))
    posted(state, letter)
    decision = decide(state, NOW)
    if state.phase in ("paused", "ended") or state.ended:
        assert not isinstance(decision, CallModel | CallTools)
        assert admit(state) is None
    if state.ended:
        assert decision == (Wait(ended=True) if state.run is None else Finish("aborted", state.run.abort or ""))
    if state.run is None and not state.ended:
        assert isinstance(decision, Wait)


STEPS: dict[Phase, dict[str, Phase]] = {
    # what the owner itself writes, in each phase in which it may
    "idle": {"run.started": "thinking"},
    "thinking": {
        "model.finished": "thinking",
        "calls": "acting",
        "model.failed": "thinking",
        "run.finished": "idle",
        "input.applied": "thinking",
    },
    "acting": {"tool.started": "acting", "tool.waiting": "waiting", "tool.finished": "thinking"},
    "waiting": {"tool.finished": "thinking"},
    "paused": {"model.finished": "paused", "calls": "paused", "run.finished": "paused", "model.failed": "paused"},
    "ended": {},
}


@pytest.mark.requirement("engine:states-legal-only")
@pytest.mark.parametrize(("phase", "what"), [(phase, what) for phase, steps in STEPS.items() for what in steps])
def test_what_the_owner_writes_moves_a_session_as_the_table_says(phase: Phase, what: str) -> None:
    steer = (InputReceived("steer", UserMessage((Text("left"),))), "k2")
    logs: dict[Phase, Log] = {
        "idle": [GO],
        "thinking": [*BEGUN, steer],
        "acting": [*BEGUN, answer("", "f")],
        "waiting": ASKS,
        "paused": [*BEGUN, Paused()],
    }
    events: dict[str, Payload] = {
        "run.started": RunStarted(1, SETUP),
        "model.finished": answer("done"),
        "calls": answer("", "f"),
        "model.failed": ModelFailed("overloaded", "busy", True),
        "run.finished": RunFinished("completed"),
        "input.applied": InputApplied(3),
        "tool.started": ToolStarted(CallId("c0"), Effect()),
        "tool.waiting": ToolWaiting(CallId("c0"), Waiting("t")),
        "tool.finished": done(0),
    }
    state = replay(told(*logs[phase], events[what]))
    assert state.phase == STEPS[phase][what]


@pytest.mark.requirement("engine:states-legal-only")
@given(
    st.sampled_from([name for name, (_, phase) in SITUATIONS.items() if phase == "ended"]),
    st.lists(st.sampled_from(list(LETTERS)), max_size=12),
)
def test_what_is_over_for_good_stays_so(situation: str, letters: Sequence[str]) -> None:
    state = replay(told(*SITUATIONS[situation][0]))
    for letter in letters:
        posted(state, letter)
        assert (state.phase, state.paused, state.ended, state.run) == ("ended", False, True, None)
        assert admit(state) is None or state.run is None
        assert decide(state, NOW) == Wait(ended=True)
