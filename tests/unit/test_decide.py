"""What a run does next, from nothing but its log and the time."""

from __future__ import annotations

import msgspec
import pytest
from tests.running import answer, done, opened, told

from holdfast.engine.decide import (
    CallModel,
    CallTools,
    Decision,
    Finish,
    Wait,
    admit,
    decide,
    expired,
    met_limit,
    stale,
)
from holdfast.engine.events import (
    AbortRequested,
    BudgetExhausted,
    InputApplied,
    InputReceived,
    ModelFailed,
    ModelStarted,
    RunFinished,
    RunStarted,
    SessionEnded,
    ToolStarted,
    ToolWaiting,
    WaitResolved,
)
from holdfast.engine.folding import replay
from holdfast.engine.letters import Setup
from holdfast.types import CallId, Digest, Effect, Limits, Payload, Text, ToolCall, Usage, UserMessage
from holdfast.types import Wait as Waiting

NOW = 2_000_000
Log = list[Payload | tuple[Payload, str]]


def calls(*numbers: int) -> CallTools:
    return CallTools(tuple(ToolCall(CallId(f"c{number}"), "f", "{}") for number in numbers))


def waiting(number: int, token: str, deadline: int | None = None) -> ToolWaiting:
    return ToolWaiting(CallId(f"c{number}"), Waiting(token, deadline=deadline))


def said(kind: str, text: str, *, setup: Setup | None = None) -> tuple[Payload, str]:
    return InputReceived(kind, UserMessage((Text(text),)), setup), f"key of {text}"  # pyright: ignore[reportArgumentType]


TABLE: list[tuple[str, Log, Decision]] = [
    ("nothing was ever said", [], Wait()),
    ("a prompt lies in the queue and no run is open", opened()[:1], Wait()),
    ("a person's words", opened(), CallModel()),
    ("an answer that wants nothing", [*opened(), answer("done")], Finish("completed")),
    (
        "an answer cut off at its cap",
        [*opened(), answer("do", stop="length")],
        Finish("limited", "max_output_tokens"),
    ),
    ("an answer that wants tools", [*opened(), answer("", "f", "f")], calls(0, 1)),
    ("one of two results", [*opened(), answer("", "f", "f"), done(0)], calls(1)),
    ("all results", [*opened(), answer("", "f", "f"), done(1), done(0)], CallModel()),
    ("one waits, the other is open", [*opened(), answer("", "f", "f"), waiting(0, "t")], calls(1)),
    ("all wait", [*opened(), answer("", "f"), waiting(0, "t")], Wait(True)),
    (
        "all wait, the earliest deadline counts",
        [*opened(), answer("", "f", "f"), waiting(0, "t", 9), waiting(1, "u", 7)],
        Wait(True, 7),
    ),
    (
        "a wait ends with the run's time",
        [*opened(Limits(seconds=3)), answer("", "f"), waiting(0, "t", 9_000_000)],
        Wait(True, 4_000_000),
    ),
    ("an answer came", [*opened(), answer("", "f"), waiting(0, "t"), WaitResolved("t", "yes")], CallModel()),
    ("an abort", [*opened(), AbortRequested("enough")], Finish("aborted", "enough")),
    ("an abort amid calls", [*opened(), answer("", "f"), AbortRequested("enough")], Finish("aborted", "enough")),
    ("an abort of another run", [*opened(), AbortRequested("enough", "other")], CallModel()),
    ("an abort of this run", [*opened(), AbortRequested("enough", "k")], Finish("aborted", "enough")),
    (
        "the run is over",
        [*opened(), answer("done"), RunFinished("completed")],
        Wait(),
    ),
]


@pytest.mark.requirement("engine:decide-pure")
@pytest.mark.parametrize(("log", "decision"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_what_comes_next_follows_from_the_log_alone_and_asking_changes_nothing(log: Log, decision: Decision) -> None:
    state = replay(told(*log))
    before = msgspec.json.encode(state)
    assert [decide(state, NOW) for _ in range(3)] == [decision] * 3
    assert list(expired(state, NOW)) == list(expired(state, NOW))
    assert admit(state) == admit(state)
    assert msgspec.json.encode(state) == before


def failing(step: int) -> Log:
    """A step whose only call fails, with words of its own."""
    return [answer("", "f"), done(0, f"failed {step}", "execution_failed")]


def repeated(result: str = "same") -> Log:
    return [answer("", "f"), done(0, result)]


LIMITS: list[tuple[str, Limits, Log, Log]] = [
    # the limit, as it is set, a log that just does not meet it, what has to come to meet it
    ("steps", Limits(steps=2), repeated(), repeated("other")),
    ("tool_calls", Limits(tool_calls=2), [*repeated(), answer("", "f")], [done(0, "x"), answer("", "f")]),
    ("tokens", Limits(tokens=30), repeated(), repeated("other")),
    ("dollars", Limits(dollars=0.000000014), repeated(), repeated("other")),
    ("seconds", Limits(seconds=1.000001), [], []),
    ("consecutive_errors", Limits(consecutive_errors=2), failing(1), failing(2)),
    ("identical_repeats", Limits(identical_repeats=2), repeated(), repeated()),
]


@pytest.mark.parametrize(("name", "limits", "log", "more"), LIMITS, ids=[row[0] for row in LIMITS])
def test_each_limit_lets_the_run_go_up_to_it_and_then_stops_it_by_its_name(
    name: str, limits: Limits, log: Log, more: Log
) -> None:
    later = 1 if name == "seconds" else 0
    before = replay(told(*opened(limits), *log))
    assert not isinstance(decide(before, NOW), Finish)
    met = replay(told(*opened(limits), *log, *more))
    assert met.run is not None
    assert met_limit(met, met.run, NOW + later) == name
    assert decide(met, NOW + later) == Finish("limited", name)
    unbounded = Limits(steps=None, consecutive_errors=None, identical_repeats=None)
    assert not isinstance(decide(replay(told(*opened(unbounded), *log, *more)), NOW + later), Finish)


@pytest.mark.parametrize("name", ["tokens", "dollars"])
def test_what_does_not_pay_for_another_call_stops_the_run(name: str) -> None:
    limits = Limits(tokens=10**6, dollars=1)
    assert decide(replay(told(*opened(limits), BudgetExhausted(name))), NOW) == Finish("limited", name)


def test_an_answer_that_is_there_is_worth_more_than_the_limit_it_met() -> None:
    state = replay(told(*opened(Limits(steps=1, tokens=1)), answer("done")))
    assert decide(state, NOW) == Finish("completed")


def test_calls_of_a_turn_may_end_though_their_answer_used_up_the_tokens() -> None:
    limits = Limits(steps=1, tokens=15, dollars=0.000000007)
    assert decide(replay(told(*opened(limits), answer("", "f"))), NOW) == calls(0)


def test_an_answer_that_used_more_than_was_reserved_stops_the_run_before_its_calls() -> None:
    over = msgspec.structs.replace(answer("", "f"), exceeded=True)
    assert decide(replay(told(*opened(), over)), NOW) == Finish("limited", "reservation_exceeded")


def test_lost_calls_count_at_what_was_reserved_for_them() -> None:
    lost = [ModelStarted(80, 5), ModelFailed("lost", "gone")]
    state = replay(told(*opened(Limits(tokens=95)), *lost, answer("", "f", usage=Usage(10, 5)), done(0)))
    assert state.run is not None
    assert (state.run.tokens, state.run.cost) == (95, 12)
    assert decide(state, NOW) == Finish("limited", "tokens")


def test_errors_and_repeats_are_counted_in_a_row_only() -> None:
    limits = Limits(consecutive_errors=2, identical_repeats=2)
    for log in ([*failing(1), *repeated(), *failing(2)], [*repeated(), *repeated("other"), *repeated()]):
        assert decide(replay(told(*opened(limits), *log)), NOW) == CallModel()
    half = [answer("", "f", "f"), done(0, "x", "execution_failed"), done(1, "fine")]
    assert decide(replay(told(*opened(limits), *half, *failing(1))), NOW) == CallModel(), "one of two did not fail"


def failed(again: bool = True, retry_at: int | None = None, code: str = "overloaded") -> ModelFailed:
    return ModelFailed(code, "busy", again, retry_at)


@pytest.mark.requirement("engine:model-retry")
def test_a_failed_model_is_asked_again_later_each_time_and_never_before_it_wants() -> None:
    assert decide(replay(told(*opened(), failed())), NOW) == CallModel(1_500_000)
    assert decide(replay(told(*opened(), failed(), failed())), NOW) == CallModel(2_000_000)
    assert decide(replay(told(*opened(), failed(retry_at=9_000_000))), NOW) == CallModel(9_000_000)
    assert decide(replay(told(*opened(), failed(retry_at=1))), NOW) == CallModel(1_500_000)
    exhausted = replay(told(*opened(), failed(), failed(), failed()))
    assert decide(exhausted, NOW) == Finish("failed", "overloaded: busy")
    none = replay(told(*opened(Limits(model_retries=0)), failed()))
    assert decide(none, NOW) == Finish("failed", "overloaded: busy")


@pytest.mark.requirement("engine:model-retry-hopeless")
def test_a_failure_that_will_not_get_better_ends_the_run_at_once() -> None:
    assert decide(replay(told(*opened(), failed(again=False, code="auth"))), NOW) == Finish("failed", "auth: busy")


def test_an_answer_forgets_the_failures_before_it_and_stops_of_our_own_are_none() -> None:
    log = [failed(), failed(), answer("", "f"), done(0), failed()]
    assert decide(replay(told(*opened(), *log)), NOW) == CallModel(1_500_000)
    ours = [failed(code="interrupted"), failed(code="lost")] * 5
    assert decide(replay(told(*opened(), *ours)), NOW) == CallModel()


# ---- what people say -------------------------------------------------------------------------------------------


def test_a_prompt_joins_when_no_run_is_open_and_opens_one() -> None:
    setup = Setup(Digest("sha256:1"), "openai/other")
    state = replay(told(said("prompt", "one", setup=setup), said("prompt", "two", setup=setup)))
    assert admit(state) == RunStarted(1, setup)
    assert admit(replay(told(*opened(), said("prompt", "two", setup=setup)))) is None


def test_a_steer_joins_as_soon_as_no_call_is_open() -> None:
    log: Log = [*opened(), answer("", "f"), said("steer", "left")]
    assert admit(replay(told(*log))) is None
    assert admit(replay(told(*log, done(0)))) == InputApplied(4)
    assert admit(replay(told(*opened(), said("steer", "a"), said("steer", "b")))) == InputApplied(3), "first come"


def test_a_follow_up_joins_when_the_run_would_be_over_and_after_every_steer() -> None:
    log: Log = [*opened(), said("follow_up", "then"), said("steer", "left")]
    assert admit(replay(told(*log[:3]))) is None
    assert admit(replay(told(*log))) == InputApplied(4)
    assert admit(replay(told(*log[:3], answer("done")))) == InputApplied(3)


def test_nothing_joins_a_run_that_is_to_end() -> None:
    assert admit(replay(told(*opened(), said("steer", "left"), AbortRequested("enough")))) is None


def test_what_comes_too_late_for_a_run_opens_the_next_one_as_the_last_one_was_set_up() -> None:
    log: Log = [*opened(Limits(steps=3)), answer("done"), RunFinished("completed"), said("steer", "and now?")]
    state = replay(told(*log))
    assert state.last is not None
    assert admit(state) == RunStarted(5, state.last.setup.setup)
    assert admit(replay(told(said("steer", "out of the blue")))) is None


def test_waits_expire_at_their_deadline_and_not_before() -> None:
    log: Log = [*opened(), answer("", "f", "f", "f"), waiting(0, "t", NOW), waiting(1, "u", NOW + 1), waiting(2, "v")]
    assert list(expired(replay(told(*log)), NOW)) == [WaitResolved("t")]
    resolved = replay(told(*log, WaitResolved("t")))
    assert list(expired(resolved, NOW)) == []


def test_a_call_that_started_is_not_decided_upon_twice_while_it_has_its_result() -> None:
    started = ToolStarted(CallId("c0"), Effect())
    assert decide(replay(told(*opened(), answer("", "f", "f"), started, done(0))), NOW) == calls(1)


def test_what_is_for_the_run_that_opens_next_is_kept_though_something_stale_stands_before_it() -> None:
    def meant(run: str) -> tuple[Payload, str]:
        return InputReceived("steer", UserMessage((Text("x"),)), None, run), f"for {run}"

    next_one = said("prompt", "next", setup=Setup(Digest("sha256:0"), "m"))
    log: Log = [meant("over"), next_one, meant("key of next"), meant("later")]
    assert stale(replay(told(*log))) == [1, 4]
    assert stale(replay(told(*log, SessionEnded("enough")))) == [1, 2, 3, 4]
