"""What a log comes to."""

from __future__ import annotations

from time import process_time
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.counting import counting
from tests.running import answer, done, opened, paired, told

from holdfast.engine.decide import CallModel, decide
from holdfast.engine.events import (
    CODEC,
    AbortRequested,
    CallReopened,
    Forked,
    InputReceived,
    ModelFailed,
    ModelStarted,
    PhaseStarted,
    Rewound,
    RunFinished,
    RunStarted,
    ToolStarted,
    ToolWaiting,
    WaitResolved,
)
from holdfast.engine.folding import fold, replay, visible
from holdfast.engine.letters import Outcome, Setup
from holdfast.engine.state import State
from holdfast.types import (
    AssistantMessage,
    CallId,
    Effect,
    Event,
    Nanodollars,
    Payload,
    Text,
    ToolMessage,
    Usage,
    UserMessage,
    Wait,
)
from holdfast.types.events import Unknown

Log = list[Payload | tuple[Payload, str]]

SECOND: Log = [
    answer("looking", "f", "g"),
    ToolStarted(CallId("c0"), Effect(outside="none")),
    ToolStarted(CallId("c1"), Effect()),
    done(1, "second"),
    done(0, "first"),
    answer("done"),
    RunFinished("completed", steps=2),
]
WHOLE: Log = [*opened(), *SECOND]


def as_sent(state: State) -> list[dict[str, object]]:
    """Returns the conversation as Chat Completions would have it, as far as calls and results go."""
    sent: list[dict[str, object]] = []
    for message in state.messages:
        match message:
            case AssistantMessage():
                sent.append({"role": "assistant", "tool_calls": [{"id": call.id} for call in message.calls]})
            case ToolMessage():
                sent.append({"role": "tool", "tool_call_id": message.call_id})
            case _:
                sent.append({"role": "user"})
    return sent


@pytest.mark.requirement("engine:fold-pure-and-linear")
def test_the_same_log_comes_to_the_same_state_however_often_and_through_bytes() -> None:
    events = told(*WHOLE)
    before = msgspec.json.encode([CODEC.encode(event) for event in events])
    states = [replay(events), replay(events), replay([CODEC.decode(CODEC.encode(event)) for event in events])]
    assert states[0] == states[1] == states[2]
    assert msgspec.json.encode([CODEC.encode(event) for event in events]) == before


@pytest.mark.requirement("engine:fold-pure-and-linear")
def test_folding_on_equals_folding_from_the_start() -> None:
    events = told(*WHOLE)
    state = State()
    for number, event in enumerate(events, 1):
        fold(state, event)
        assert state == replay(events[:number])


@pytest.mark.requirement("engine:fold-pure-and-linear")
def test_ten_thousand_events_are_folded_in_place_and_each_once() -> None:
    steps = [
        payload for number in range(2500) for payload in (answer("", "f", "f"), done(0, str(number)), done(1, "x"))
    ]
    events = told(*opened(), *steps)
    state = replay(events[:100])
    messages, calls = state.messages, len(state.messages)
    for event in events[100:]:
        fold(state, event)
    assert state.messages is messages, "the conversation grows where it is"
    assert state.run is not None
    assert (state.run.steps, state.run.tool_calls, len(messages)) == (2500, 5000, 1 + 3 * 2500)
    assert calls < len(messages)
    began = process_time()
    replay(events[:1000])
    middle = process_time()
    replay(events)
    assert process_time() - middle < 40 * (middle - began), "ten times the events, far less than ten times ten the cost"


def test_results_stand_in_call_order_whatever_order_they_came_in() -> None:
    state = replay(told(*WHOLE))
    said = [message.content for message in state.messages if isinstance(message, ToolMessage)]
    assert said == ["first", "second"]
    assert paired(as_sent(state))


@pytest.mark.requirement("engine:turn-linear")
@pytest.mark.parametrize("backwards", [False, True])
def test_folding_a_turn_of_ten_times_the_calls_costs_ten_times_as_much(backwards: bool) -> None:
    costs: list[int] = []
    for count in (1000, 10_000):
        numbers = range(count - 1, -1, -1) if backwards else range(count)
        events = told(*opened(), answer("", *("f" for _ in range(count))), *(done(number) for number in numbers))
        with counting("engine/folding.py") as lines:
            state = replay(events)
        assert (len(state.messages), state.calls, state.unfinished) == (2 + count, {}, 0)
        costs.append(lines.count)
    assert costs[1] < 11 * costs[0]


def test_a_result_that_comes_twice_closes_no_turn_whose_other_calls_are_open() -> None:
    waits: Log = [*opened(), answer("", "f", "f", "f"), ToolWaiting(CallId("c1"), Wait("t")), done(0), done(0)]
    state = replay(told(*waits))
    assert (len(state.calls), state.unfinished) == (3, 2)
    state = replay(told(*waits, done(2), done(2), WaitResolved("other"), WaitResolved("t", "yes")))
    assert (state.calls, state.unfinished) == ({}, 0)
    assert [each.content for each in state.messages if isinstance(each, ToolMessage)] == ["ok", "yes", "ok"]


def test_a_runs_counters_are_the_sums_over_its_calls() -> None:
    usage = Usage(10, 5, 3, 2, 1)
    log = [*opened(), answer("", "f", usage=usage, cost=7), done(0), answer("", "f", usage=usage, cost=8), done(0)]
    run = replay(told(*log)).run
    assert run is not None
    assert (run.steps, run.tool_calls, run.usage, run.cost) == (2, 2, Usage(20, 10, 6, 4, 2), 15)
    unknown = replay(told(*log, answer("", "f", cost=None), done(0), answer("x", cost=9))).run
    assert unknown is not None
    assert unknown.cost is None, "one price unknown makes the sum unknown, never smaller"


def test_a_second_run_starts_counting_anew_and_keeps_the_conversation() -> None:
    log = [*WHOLE, (InputReceived("prompt", UserMessage((Text("more"),))), "k2"), RunStarted(10, opened_setup())]
    state = replay(told(*log))
    assert state.run is not None
    assert state.last is not None
    assert (state.run.key, state.run.steps, state.last.key, state.last.steps) == ("k2", 0, "k", 2)
    assert [message.text for message in state.messages if isinstance(message, UserMessage)] == ["go", "more"]


def opened_setup() -> Setup:
    started = opened()[1]
    assert isinstance(started, RunStarted)
    return started.setup


@pytest.mark.requirement("types:envelope-unknown-type-verbatim")
def test_an_event_nobody_knows_changes_only_the_number_and_keeps_its_bytes() -> None:
    raw = b'{"seq":3,"id":"x","type":"moon.phase","at":5,"epoch":1,"data":{"phase": 0.5,"of":[1,{"a":null}]}}'
    event = CODEC.decode(raw)
    assert isinstance(event.data, Unknown)
    assert bytes(event.data.raw) == b'{"phase": 0.5,"of":[1,{"a":null}]}'
    assert CODEC.encode(event) == raw
    state = replay(told(*opened()))
    fold(state, event)
    assert (state.seq, decide(state, 0)) == (3, CallModel())


def test_an_abort_concerns_the_run_it_names_open_queued_or_over() -> None:
    queued: Log = [*opened(), (InputReceived("prompt", UserMessage((Text("two"),))), "k2")]
    state = replay(told(*queued, AbortRequested("not this", "k2")))
    assert state.run is not None
    assert state.run.abort is None
    log = [*queued, AbortRequested("not this", "k2"), RunFinished("completed"), RunStarted(3, opened_setup())]
    state = replay(told(*log))
    assert state.run is not None
    assert (state.run.key, state.run.abort, state.unwanted) == ("k2", "not this", {})
    state = replay(told(*log[:5], AbortRequested("too late", "k"), RunStarted(3, opened_setup())))
    assert state.run is not None
    assert state.run.abort == "not this"
    assert replay(told(*queued, AbortRequested("whatever is open"))).run.abort == "whatever is open"  # type: ignore[union-attr]


def test_a_second_answer_to_a_wait_and_one_to_a_stranger_change_nothing() -> None:
    log: Log = [*opened(), answer("", "f"), ToolWaiting(CallId("c0"), Wait("t"))]
    state = replay(told(*log, WaitResolved("nobody", "x")))
    assert state.calls[CallId("c0")].wait is not None
    state = replay(told(*log, WaitResolved("t", "yes"), WaitResolved("t", "no")))
    assert [message.content for message in state.messages if isinstance(message, ToolMessage)] == ["yes"]


def test_an_answer_may_be_an_error_and_silence_is_one() -> None:
    log: Log = [
        *opened(),
        answer("", "f", "f"),
        ToolWaiting(CallId("c0"), Wait("t")),
        ToolWaiting(CallId("c1"), Wait("u")),
    ]
    state = replay(told(*log, WaitResolved("u", "no", is_error=True), WaitResolved("t")))
    results = [(m.content, m.is_error) for m in state.messages if isinstance(m, ToolMessage)]
    assert results == [("Nobody answered in time.", True), ("no", True)]


@pytest.mark.requirement("engine:children-spending-known")
@pytest.mark.parametrize("when", ["in time", "first", "expired", "next turn", "phase", "phase first", "phase expired"])
def test_what_a_child_used_counts_once_whenever_it_says_so(when: str) -> None:
    wait, used = Wait("child:c", "child", subject="c"), Usage(100, 50)
    outcome = WaitResolved("child:c", "said", outcome=Outcome("completed", usage=used, cost=Nanodollars(9)))
    waits: Payload = PhaseStarted(0, wait) if "phase" in when else ToolWaiting(CallId("c0"), wait)
    begin: Log = [*opened(), *([] if "phase" in when else [answer("", "f", "f", cost=1)])]
    end: Log = [] if "phase" in when else [done(1)]
    late: Log = [waits, WaitResolved("child:c"), *end, outcome]
    order: dict[str, Log] = {"in time": [waits, outcome, *end], "phase": [waits, outcome]}
    order |= {"first": [outcome, waits, *end], "phase first": [outcome, waits]}
    order |= {"expired": [waits, WaitResolved("child:c"), outcome, *end], "next turn": late, "phase expired": late}
    run = replay(told(*begin, *order[when])).run
    assert run is not None
    own = Usage(10, 5) if end else Usage()
    assert (run.usage, run.below_tokens, run.cost) == (own + used, used.total_tokens, 9 + len(end))
    over = [*begin, *late[:-1], RunFinished("completed"), opened(key="k2")[0]]
    another = replay(told(*over, RunStarted(len(over), opened_setup()), outcome)).run
    assert another is not None
    assert (another.usage, another.key) == (Usage(), "k2"), "another run did not spend it"


def test_a_call_that_is_opened_again_counts_as_not_started() -> None:
    log: Log = [*opened(), answer("", "f"), ToolStarted(CallId("c0"), Effect()), CallReopened(CallId("c0"))]
    assert replay(told(*log)).calls[CallId("c0")].started is None


# ---- branches --------------------------------------------------------------------------------------------------


@pytest.mark.requirement("engine:fork-voids-open-calls")
@pytest.mark.parametrize("at", range(1, len(WHOLE) + 1))
def test_a_branch_made_anywhere_has_no_open_run_no_open_call_and_an_empty_queue(at: int) -> None:
    queued: Payload = InputReceived("steer", UserMessage((Text("left"),)))
    for log in ([*WHOLE[:at], Forked("local/p", at)], [*WHOLE[:at], queued, Forked("local/p", at + 1)]):
        state = replay(told(*log))
        assert state.run is None
        assert not state.calls
        assert not state.queue
        assert not state.keys
        assert paired(as_sent(state))
        # and it goes on like any other
        more = [*log, (InputReceived("prompt", UserMessage((Text("and now"),))), "k2")]
        state = replay(told(*more, RunStarted(len(more), opened_setup())))
        assert decide(state, 0) == CallModel()


def test_calls_that_stayed_behind_say_so() -> None:
    waits: Log = [*opened(), answer("", "f", "f"), done(0), ToolWaiting(CallId("c1"), Wait("t"))]
    state = replay(told(*waits, Forked("local/p", 5)))
    kept, left = (message for message in state.messages if isinstance(message, ToolMessage))
    assert (kept.content, kept.is_error) == ("ok", False)
    assert "Not in this branch" in left.content
    assert left.is_error
    assert replay(told(*waits, Forked("local/p", 5), WaitResolved("t", "late"))).messages == state.messages


@pytest.mark.requirement("journal:rewind-event")
@pytest.mark.parametrize("to", range(len(WHOLE) + 1))
def test_a_rewind_to_anywhere_leaves_what_was_there_then_and_nothing_open(to: int) -> None:
    state = replay(told(*WHOLE, Rewound(to)))
    assert state.messages == replay(told(*WHOLE[:to], Forked("local/p", to))).messages
    assert (state.run, state.calls, state.queue, state.seq) == (None, {}, {}, len(WHOLE) + 1)


def test_a_rewind_goes_on_from_the_event_it_names_as_the_conversation_was_there() -> None:
    second = [(InputReceived("prompt", UserMessage((Text("b"),))), "k2"), RunStarted(11, opened_setup()), answer("B")]
    log = [*WHOLE, Rewound(2), *second, Rewound(9)]
    assert [event.seq for event in visible(told(*log))] == [*range(1, 10), 14]
    assert [event.seq for event in visible(told(*log[:13], Rewound(11)))] == [1, 2, 10, 11, 14]


@given(st.data())
def test_any_rewinds_leave_a_conversation_in_which_each_call_has_its_result(data: st.DataObject) -> None:
    log: Log = []
    for number in range(data.draw(st.integers(1, 4))):
        key = f"k{number}"
        log.append((InputReceived("prompt", UserMessage((Text(key),)), opened_setup()), key))
        log += [RunStarted(len(log), opened_setup()), *SECOND[: data.draw(st.integers(0, len(SECOND)))]]
        log.append(Rewound(data.draw(st.integers(0, len(log)))))
    events: list[Event] = told(*log)
    assert paired(as_sent(replay(events)))
    assert replay(events).run is None


def test_lost_and_interrupted_calls_stay_charged_and_are_no_failures() -> None:
    log: Log = [*opened(), ModelStarted(100, 50), ModelFailed("interrupted", "stopped")]
    run = replay(told(*log)).run
    assert run is not None
    assert (run.charged_tokens, run.cost, run.failures, run.reserved_tokens) == (100, 50, 0, 0)


@pytest.mark.requirement("engine:model-empty-answer-charged")
def test_a_failed_call_costs_what_was_reported_and_else_what_was_reserved() -> None:
    reported = ModelFailed("malformed", "empty", True, usage=Usage(10, 5), cost=7)
    log: Log = [*opened(), ModelStarted(100, 50), reported, ModelStarted(80, 40), ModelFailed("malformed", "cut", True)]
    run = replay(told(*log)).run
    assert run is not None
    assert (run.usage, run.charged_tokens, run.tokens, run.cost, run.failures) == (Usage(10, 5), 80, 95, 47, 2)
    unpriced = replay(told(*opened(), msgspec.structs.replace(reported, cost=None))).run
    assert unpriced is not None
    assert (unpriced.usage, unpriced.cost, unpriced.stop) == (Usage(10, 5), None, "")
    over = replay(told(*opened(), msgspec.structs.replace(reported, exceeded=True))).run
    assert over is not None
    assert over.stop == "reservation_exceeded"
    old = CODEC.decode(CODEC.encode(told(ModelFailed("malformed", "cut", True))[0])).data
    assert isinstance(old, ModelFailed)
    assert old.usage is None


def test_a_failure_after_words_came_stays_charged_whatever_it_is_called() -> None:
    words = AssistantMessage((Text("so far"),), "a/first")
    cases: list[tuple[str, dict[str, Any], int]] = [
        ("overloaded", {}, 0),  # it was refused
        ("overloaded", {"partial": words, "mode": "reset"}, 100),
        ("server_error", {"partial": words, "mode": "continue"}, 100),
        ("rate_limit", {"mode": "reset"}, 100),  # nothing but a call that had begun
    ]
    for code, more, charged in cases:
        failed = ModelFailed(code, "it broke off", True, model="a/first", **more)
        run = replay(told(*opened(), ModelStarted(100, 50), failed)).run
        assert run is not None
        assert (run.charged_tokens, run.cost) == (charged, charged // 2)


def test_a_model_that_refuses_to_go_on_with_words_of_another_one_costs_nothing() -> None:
    words = AssistantMessage((Text("so far"),), "a/first")
    broke = ModelFailed("connection", "cut", True, model="a/first", next="b/second", partial=words, mode="continue")
    modes: list[Literal["continue", "reset"]] = ["continue", "reset"]
    for mode in modes:
        refused = ModelFailed("overloaded", "busy", True, model="b/second", partial=words, mode=mode)
        run = replay(told(*opened(), ModelStarted(100, 50), broke, ModelStarted(80, 40), refused)).run
        assert run is not None
        assert (run.charged_tokens, run.cost) == (100, 50)
