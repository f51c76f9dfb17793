"""Whatever a model calls: what an `Execution` comes to is what a plain reading of its rules says."""

from __future__ import annotations

import json
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.running import MODEL, told

from holdfast.engine.decide import CallModel, CallTools, Decision, Finish, Record, Skip, decide
from holdfast.engine.events import (
    ContractViolated,
    InputApplied,
    InputReceived,
    ModelFinished,
    Nested,
    Paused,
    ProcessEnded,
    ProcessStarted,
    Resumed,
    RunStarted,
    ToolFinished,
    ToolStarted,
)
from holdfast.engine.folding import fold, replay
from holdfast.engine.letters import Setup
from holdfast.engine.state import State
from holdfast.engine.tracking import canonical, key_of
from holdfast.types import (
    AssistantMessage,
    CallId,
    Digest,
    Effect,
    Execution,
    Limits,
    Payload,
    Text,
    ToolCall,
    ToolError,
    ToolResult,
    Usage,
    UserMessage,
)

NOW = 2_000_000
READS, CHANGES = Effect(outside="none"), Effect(outside="keyed")
EFFECTS = {"look": READS, "find": READS, "edit": CHANGES}
NO_LIMITS = Limits(consecutive_errors=None, identical_repeats=None)


class Made(msgspec.Struct, frozen=True):
    """A call as a model makes it, and whether it would fail."""

    name: Literal["look", "find", "edit"]
    number: int
    fails: bool = False

    @property
    def same(self) -> tuple[str, int]:
        return self.name, self.number


def opened(rules: Execution, limits: Limits = NO_LIMITS) -> list[Payload]:
    setup = Setup(Digest("sha256:0"), MODEL, limits, execution=rules)
    return [InputReceived("prompt", UserMessage((Text("go"),)), setup), RunStarted(1, setup)]


def said(text: str, *calls: Made) -> ModelFinished:
    wanted = tuple(
        ToolCall(CallId(f"c{place}"), call.name, json.dumps({"n": call.number, "place": 0}))
        for place, call in enumerate(calls)
    )
    parts = (*((Text(text),) if text else ()), *wanted)
    return ModelFinished(AssistantMessage(parts, MODEL, "tool_calls" if calls else "stop", Usage(1, 1)), 0)


def ended(call_id: CallId, content: str, fails: bool = False) -> ToolFinished:
    return ToolFinished(call_id, ToolResult(content, ToolError("execution_failed", "x") if fails else None))


def decided(log: list[Payload]) -> Decision:
    """Returns what is decided, by whoever has folded all of it and by whoever folds it again."""
    state = replay(told(*log))
    before = msgspec.json.encode(state)
    step = decide(state, NOW)
    assert msgspec.json.encode(state) == before
    return step


# ---- against a plain reading ----------------------------------------------------------------------------------


class Verdict(msgspec.Struct):
    """What a run comes to."""

    made: list[tuple[str, int]]
    results: list[list[str]]
    broken: list[str]
    status: str


def earlier(rules: Execution, history: list[Made], call: Made) -> str:
    """Returns what a call is answered with; empty where it is made."""
    well = [place for place, each in enumerate(history) if each.same == call.same and not each.fails]
    if not well or rules.repeats == "run":
        return ""
    since = [each for each in history[well[-1] + 1 :] if EFFECTS[each.name] == CHANGES]
    return "denied" if rules.repeats == "deny" else "" if since else "remembered"


def settled(rules: Execution, history: list[Made], calls: list[Made], open_: list[int]) -> dict[int, str]:
    """Returns which open calls are answered now: where that depends on others, only before the first that is made."""
    words: dict[int, str] = {}
    for place in open_:
        word = earlier(rules, history, calls[place])
        if word:
            words[place] = word
        elif rules.repeats == "answer":
            break
    return words


def batch_of(rules: Execution, calls: list[Made], open_: list[int]) -> list[int]:
    """Returns which are made together: of those that are the same, the first."""
    if rules.stop_on_first_tool:
        return open_[:1]
    first = {calls[place].same: place for place in reversed(open_)}
    return [place for place in open_ if rules.repeats == "run" or first[calls[place].same] == place]


def turn(rules: Execution, history: list[Made], calls: list[Made], out: Verdict) -> bool:
    """Plays a turn, and returns whether the run is over with it."""
    results, open_ = [""] * len(calls), list(range(len(calls)))
    fails = rules.on_violation == "fail" and rules.contract
    out.results.append(results)
    wrong = [f"wrong_tool {each.name}" for each in calls if rules.sequence and each.name not in rules.sequence]
    out.broken += wrong
    if wrong and fails:
        return True
    while open_:
        words = settled(rules, history, calls, open_)
        denied = [f"repeated_tool {calls[place].name}" for place, word in words.items() if word == "denied"]
        out.broken += denied if rules.contract else []
        for place in list(words) or batch_of(rules, calls, open_):
            open_.remove(place)
            results[place] = words.get(place, "failed" if calls[place].fails else "made")
            if place not in words:
                history.append(calls[place])
                out.made.append(calls[place].same)
            if rules.stop_on_first_tool and results[place] == "made":
                return True
        if denied and fails:
            return True
    return False


def reading(rules: Execution, turns: list[list[Made]], answers: list[str]) -> Verdict:
    """Returns what the rules say, read plainly: from the list of what was made so far."""
    history: list[Made] = []
    out = Verdict([], [], [], "")
    for calls in turns:
        if turn(rules, history, calls, out):
            out.results[-1] = [each or "none" for each in out.results[-1]]
            out.status = "completed" if rules.stop_on_first_tool and not rules.contract else "failed"
            return out
    return last_word(rules, history, answers, out)


def last_word(rules: Execution, history: list[Made], answers: list[str], out: Verdict) -> Verdict:
    before, lacking = 99, list[str]()
    for answer in answers:
        used = {each.name for each in history if not each.fails}
        lacking = [f"missing_tool {name}" for name in rules.sequence if name not in used]
        lacking += [f"missing_marker {text}" for text in rules.markers if text not in answer]
        if not lacking or len(lacking) >= before or rules.on_violation == "observe":
            break
        before = len(lacking)
    out.broken += lacking
    out.status = "failed" if lacking and rules.on_violation == "fail" else "completed"
    return out


def played(rules: Execution, turns: list[list[Made]], answers: list[str]) -> Verdict:
    """Returns what the engine decides, with calls that are made one after another."""
    log, out, left, texts = opened(rules), Verdict([], [], [], ""), list(turns), list(answers)
    calls: list[Made] = []
    for _ in range(300):
        match decided(log):
            case CallModel():
                calls = left.pop(0) if left else []
                log.append(said("" if calls else texts.pop(0), *calls))
                out.results += [[""] * len(calls)] if calls else []
            case CallTools(wanted):
                assert wanted
                for each in wanted:
                    made = calls[int(each.id[1:])]
                    out.made.append(made.same)
                    log += [ToolStarted(each.id, EFFECTS[made.name]), ended(each.id, "made", made.fails)]
                    out.results[-1][int(each.id[1:])] = "failed" if made.fails else "made"
            case Record(events):
                note(out, events)
                log += events
            case Skip(skipped, True):
                for each in skipped:
                    assert not out.results[-1][int(each[1:])], "each has one result"
                    out.results[-1][int(each[1:])] = "none"
                log += [ended(each, "skipped", fails=True) for each in skipped]
            case Finish(status):
                out.status = status
                return out
            case other:
                raise AssertionError(other)
    raise AssertionError("it does not end")


def note(out: Verdict, events: tuple[Payload, ...]) -> None:
    """Takes what follows from the log."""
    for event in events:
        if isinstance(event, ToolFinished):
            error, place = event.result.error, int(event.call_id[1:])
            assert not out.results[-1][place], "each has one result"
            ends = error is not None and error.reason == "agent_contract_violation"
            out.results[-1][place] = "none" if ends else "denied" if error else "remembered"
        elif isinstance(event, ContractViolated):
            out.broken.append(f"{event.kind} {event.name or event.text}")


NAMES = st.sampled_from(["look", "find", "edit"])
CALLS = st.builds(Made, NAMES, st.integers(0, 1), st.sampled_from([False, False, False, True]))


@st.composite
def rules_of(draw: st.DrawFn) -> Execution:
    sequence = tuple(draw(st.sets(NAMES, max_size=3)))
    markers = tuple(draw(st.sets(st.sampled_from(["ONE", "TWO"]))))
    return Execution(
        sequence=sequence,
        markers=markers,
        on_violation=draw(st.sampled_from(["observe", "fail"])) if sequence or markers else "fail",
        repeats=draw(st.sampled_from(["run", "answer", "deny"])),
        stop_on_first_tool=draw(st.booleans()) if not sequence and not markers else False,
    )


@pytest.mark.requirement(
    "execution:verdict-from-the-log",
    "tools:duplicate-calls",
    "tools:contract-profile",
    "tools:stop-on-first-tool",
    "engine:every-call-one-result",
)
@given(
    rules=rules_of(),
    turns=st.lists(st.lists(CALLS, min_size=1, max_size=4), max_size=5),
    answers=st.lists(st.sampled_from(["so", "ONE", "TWO", "ONE TWO"]), min_size=6, max_size=6),
)
def test_whatever_is_called_the_verdict_is_that_of_a_plain_reading(
    rules: Execution, turns: list[list[Made]], answers: list[str]
) -> None:
    expected, found = reading(rules, turns, answers), played(rules, turns, answers)
    assert found == expected
    assert all(all(each) for each in found.results), "each has a result"


# ---- never stale ------------------------------------------------------------------------------------------------


@pytest.mark.requirement("execution:never-stale")
@given(st.data())
def test_in_whatever_order_calls_overlap_a_call_is_answered_only_with_what_it_would_come_to_now(
    data: st.DataObject,
) -> None:
    """A file that edits change at some moment between their beginning and their end, and reads read then, too."""
    log, version = opened(Execution(repeats="answer")), 0
    looks_or_edits = st.lists(st.sampled_from(["look", "edit"]), min_size=1, max_size=4)
    for names in data.draw(st.lists(looks_or_edits, min_size=1, max_size=6)):
        log.append(said("", *[Made("look" if name == "look" else "edit", 0) for name in names]))
        while not isinstance(step := decided(log), CallModel):
            if isinstance(step, Record):
                for event in step.events:
                    assert isinstance(event, ToolFinished)
                    if names[int(event.call_id[1:])] == "look":
                        assert event.result.content.endswith(f"\nversion {version}")
                log += step.events
                continue
            assert isinstance(step, CallTools)
            came: dict[CallId, list[str]] = {}
            for call_id in data.draw(st.permutations([each.id for each in step.calls for _ in range(3)])):
                name, moments = names[int(call_id[1:])], came.setdefault(call_id, [])
                if not moments:
                    log.append(ToolStarted(call_id, EFFECTS[name]))
                elif len(moments) == 1:
                    version += name == "edit"
                else:
                    log.append(ended(call_id, moments[1]))
                moments.append(f"version {version}")


def after(*more: Payload) -> Decision:
    """Returns what is decided about a call that was made before, when so much happened since."""
    rules = Execution(repeats="answer")
    first = [ToolStarted(CallId("c0"), READS), ended(CallId("c0"), "seen")]
    return decided([*opened(rules), said("", Made("look", 0)), *first, *more, said("", Made("look", 0))])


@pytest.mark.requirement("execution:never-stale")
def test_what_happened_since_may_have_changed_what_a_call_comes_to() -> None:
    nested = Nested(CallId("c0"), "edit", "{}")
    runs = ProcessStarted("p", "server", "serve", CallId("c0"), 1)
    spoke = [InputReceived("steer", UserMessage((Text("I changed it"),))), InputApplied(6)]
    assert isinstance(after(), Record)
    assert isinstance(after(*spoke), CallTools)
    assert isinstance(after(Paused("lunch"), Resumed()), CallTools)
    assert isinstance(after(runs), CallTools)
    assert isinstance(after(runs, ProcessEnded("p", "server", 0)), CallTools)
    inner = [said("", Made("find", 0)), ToolStarted(CallId("c0"), READS)]
    below = [
        ToolStarted(CallId("c0:1"), CHANGES, nested=nested),
        ToolFinished(CallId("c0:1"), ToolResult("x"), 0, nested),
    ]
    assert isinstance(after(*inner, ended(CallId("c0"), "x")), Record)
    assert isinstance(after(*inner, *below, ended(CallId("c0"), "x")), CallTools)


# ---- the parts ------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.requirement("tools:duplicate-calls")
@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_arguments_are_the_same_in_whatever_order_and_spacing(value: dict[str, object]) -> None:
    turned = dict(reversed(value.items()))
    assert key_of("f", json.dumps(value)) == key_of("f", json.dumps(turned, indent=3, ensure_ascii=False))
    assert key_of("f", json.dumps(value)) != key_of("g", json.dumps(value))
    assert key_of("f", json.dumps(value)) != key_of(
        "f", json.dumps({**value, "more": 1}) if "more" not in value else ""
    )


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '"\\ud800"', "\ud800", "9" * 5000, "NaN", "nul\0l"])
def test_arguments_that_are_none_are_compared_as_they_are_written(text: str) -> None:
    assert key_of("f", text) == key_of("f", text)
    assert key_of("f", text) != key_of("f", f"{text}]")
    assert canonical(" ") == canonical("{}")


@pytest.mark.requirement("tools:duplicate-calls")
def test_a_long_run_remembers_no_results_that_hold_no_more() -> None:
    state = State()
    log = opened(Execution(repeats="answer"), Limits(steps=None))
    for number in range(50):
        log += [said("", Made("look", number)), ToolStarted(CallId("c0"), READS), ended(CallId("c0"), "x")]
        log += [said("", Made("edit", number)), ToolStarted(CallId("c0"), CHANGES), ended(CallId("c0"), "x")]
    for event in told(*log):
        fold(state, event)
    assert state.run is not None
    assert state.run.track is not None
    assert len(state.run.track.known) == 1
