"""The newest messages of a conversation: whole turns, and never a result without its call."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import Agent
from holdfast.context.assembling import assemble, newest
from holdfast.errors import UsageError
from holdfast.types import AssistantMessage, CallId, Message, Text, ToolCall, ToolMessage, UserMessage

TURNS = st.lists(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=4), max_size=8)
"""For each turn its steps: how many calls, and whether somebody speaks in between."""


def conversation(turns: list[list[tuple[int, bool]]]) -> list[Message]:
    found: list[Message] = []
    for turn in turns:
        found.append(UserMessage((Text("go"),)))
        for calls, steered in turn:
            ids = [f"c{len(found)}-{each}" for each in range(calls)]
            found.append(AssistantMessage(tuple(ToolCall(CallId(each), "t", "{}") for each in ids), "x/m"))
            found += [ToolMessage(CallId(each), "t", "done") for each in ids]
            if steered:
                found.append(UserMessage((Text("and"),)))
    return found


@pytest.mark.requirement("context:messages-shown")
@given(turns=TURNS, most=st.integers(2, 30))
def test_the_newest_messages_begin_where_somebody_spoke_and_are_no_more_than_wanted_but_for_one_turn(
    turns: list[list[tuple[int, bool]]], most: int
) -> None:
    messages = conversation(turns)
    found = list(newest(messages, most))
    assert found == messages[len(messages) - len(found) :]
    assert bool(found) == bool(messages)
    if len(messages) <= most:
        assert found == messages
        return
    assert isinstance(found[0], UserMessage)
    if len(found) > most:
        assert not any(isinstance(each, UserMessage) for each in found[1:])
    else:
        longer = messages[len(messages) - most : len(messages) - len(found)]
        assert not any(isinstance(each, UserMessage) for each in longer), "there was room for more"


@pytest.mark.requirement("context:messages-shown")
def test_an_agent_that_says_nothing_sends_all_of_it_and_one_message_is_no_conversation() -> None:
    messages = conversation([[(1, False)]] * 5)
    assert assemble(Agent("openai/x").spec, messages).messages is messages
    assert assemble(Agent("openai/x", messages_shown=5).spec, messages).messages == messages[-3:]
    agent = Agent("openai/x", instructions="Be brief.")
    assert agent.showing(4).spec.messages_shown == 4
    assert agent.showing(4).digest != agent.digest == agent.showing(4).showing(None).digest
    for most in (1, 0, -3):
        with pytest.raises(UsageError, match="messages_shown"):
            Agent("openai/x", messages_shown=most)
