"""Which tools a request carries, for any conversation: a function of it, and a calm one."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.many_tools import TOOLS
from tests.running import MODEL, answer, done, opened, told

from holdfast import Agent, tool
from holdfast.context.showing import Showing
from holdfast.engine.events import InputApplied, InputReceived, ProcessLost, ProcessStarted
from holdfast.engine.folding import replay
from holdfast.types import AssistantMessage, CallId, Message, Text, ToolCall, ToolMessage, ToolSpec, UserMessage


@tool(terminal=True)
async def hand_in(words: str) -> str:
    """Takes something."""
    return words


MOST = 12
AGENT = Agent(MODEL, tools=[*TOOLS[:150], hand_in], tools_shown=MOST)
PINNED = {"hand_in", "find_tools"}
NAMES = st.sampled_from([each.spec.name for each in TOOLS[:150]])
WORDS = st.lists(st.sampled_from(["create", "close", "export", "issue", "invoice", "user", "thanks"]), max_size=4)


class Step(NamedTuple):
    """Something that joins the conversation."""

    kind: str
    words: tuple[str, ...]


STEPS = st.lists(
    st.one_of(
        st.builds(Step, st.sampled_from(("prompt", "steer", "ours")), WORDS.map(tuple)),
        st.builds(Step, st.just("call"), st.lists(NAMES, min_size=1, max_size=3).map(tuple)),
        st.builds(Step, st.sampled_from(("find", "failed find")), st.lists(NAMES, max_size=20, unique=True).map(tuple)),
    ),
    max_size=14,
).map(lambda steps: [Step("prompt", ("create", "issue")), *steps])


def joined(step: Step, messages: list[Message], said: dict[int, bool]) -> None:
    """Lets a step join a conversation."""
    if step.kind in ("prompt", "steer"):
        said[len(messages)] = step.kind == "prompt"
    match step.kind:
        case "prompt" | "steer" | "ours":
            messages.append(UserMessage((Text(" ".join(step.words)),)))
        case "call":
            messages.append(AssistantMessage(tuple(ToolCall(CallId("c"), name, "{}") for name in step.words), MODEL))
        case _:
            lines = "\n".join(f'{{"name":"{name}","description":"\u2028"}}' for name in step.words)
            messages.append(ToolMessage(CallId("c"), "find_tools", f"[x]\n{{\n{lines}", step.kind != "find"))


def names(specs: tuple[ToolSpec, ...]) -> list[str]:
    return [each.name for each in specs]


@pytest.mark.requirement("finding:follows-from-the-log", "finding:stable-for-caches", "finding:found-tools-are-shown")
@settings(deadline=None)
@given(steps=STEPS)
def test_what_is_shown_follows_from_the_conversation_and_changes_only_where_it_must(steps: list[Step]) -> None:
    messages: list[Message] = []
    said: dict[int, bool] = {}
    grown, before, order = Showing(AGENT.named, MOST), (), [each.name for each in AGENT.spec.tools]
    for number, step in enumerate(steps):
        joined(step, messages, said)
        now = grown.tools(messages, said)
        assert now == Showing(AGENT.named, MOST).tools(messages, said), "it matters not when it was looked at"
        shown, was = set(names(now)), set(names(before))
        assert names(now) == sorted(shown, key=order.index)
        assert shown >= PINNED
        assert len(shown) <= MOST + 20
        if number and step.kind in ("ours", "call", "failed find"):
            assert now is before
        if step.kind == "find":
            assert shown >= set(step.words)
            if was >= set(step.words):
                assert now is before
        if step.kind in ("find", "steer"):
            came = set(step.words) if step.kind == "find" else set()
            assert shown >= was or len(was | came) + 6 > MOST + 20, "nothing goes within a run while there is room"
        if step.kind == "prompt" and now is not before:
            assert len(shown) <= max(MOST, len(was))
        before = now


@pytest.mark.requirement("finding:stable-for-caches")
def test_tools_that_are_not_there_any_more_or_never_were_change_nothing() -> None:
    showing = Showing(AGENT.named, MOST)
    messages: list[Message] = []
    said: dict[int, bool] = {}
    joined(Step("prompt", ("create", "issue")), messages, said)
    first = showing.tools(messages, said)
    joined(Step("find", ("no_such_tool", "x" * 1000)), messages, said)
    messages.append(
        ToolMessage(CallId("c"), "find_tools", '{"name":7}\n{"name":"\ud800"}\n{}\n{{\n{"name":"export_zone')
    )
    messages.append(ToolMessage(CallId("c"), "close_issue", '{"name":"export_user"}'))
    assert showing.tools(messages, said) is first
    assert showing.tools(messages[:1], said) == first, "a shorter conversation is another one"


@pytest.mark.requirement("finding:follows-from-the-log")
def test_the_log_tells_what_people_said_from_what_we_said_ourselves() -> None:
    words = UserMessage((Text("Close the issue."),))
    state = replay(
        told(
            *opened(),
            answer("", "look"),
            done(0),
            (InputReceived("steer", words), "s"),
            InputApplied(5),
            ProcessStarted("p", "server", "make", CallId("c0"), 1),
            ProcessLost("p", "server", "it was killed"),
        )
    )
    assert state.said == {0: True, 3: False}
    assert len(state.messages) == 5
