"""An answer that is told while it comes is the answer that is told as a whole."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.wires import WIRES, answer_of, events_of, parser_of

from holdfast.errors import Malformed
from holdfast.models.wire.chat.serving_live import LiveChat
from holdfast.models.wire.messages.serving_live import LiveMessages
from holdfast.models.wire.responses.serving_live import LiveResponse
from holdfast.models.wire.saying import Saying, deltas_of
from holdfast.types import (
    AssistantMessage,
    CallDelta,
    CallId,
    Delta,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    Usage,
)

PROTOCOLS = ("chat", "messages", "responses")


def live(name: str, after: int = -1) -> Saying:
    match name:
        case "chat":
            return LiveChat("provider/m", "id")
        case "messages":
            return LiveMessages("provider/m", "id")
        case _:
            return LiveResponse("provider/m", "id", after=after)


def read(name: str, events: Sequence[bytes]) -> AssistantMessage:
    parser = parser_of(name)
    parser.feed(b"".join(events))
    parser.end()
    return parser.message()


def cut(deltas: Sequence[Delta], chance: random.Random) -> list[Delta]:
    """Returns deltas that say the same in other pieces."""
    found: list[Delta] = []
    for delta in deltas:
        if isinstance(delta, CallDelta):
            first, *rest = pieces(delta.arguments, chance) or [""]
            found.append(CallDelta(delta.index, delta.id, delta.name, first))
            found += [CallDelta(delta.index, delta.id, "", each) for each in rest]
        elif isinstance(delta, TextDelta | ThinkingDelta):
            found += [type(delta)(each) for each in pieces(delta.text, chance)]
    return found


def pieces(text: str, chance: random.Random) -> list[str]:
    places = sorted({0, len(text), *(chance.randint(0, len(text)) for _ in range(chance.randrange(4)))})
    return [text[start:end] for start, end in pairwise(places)]


def told(name: str, message: AssistantMessage, chance: random.Random, after: int = -1) -> list[bytes]:
    saying, deltas = live(name, after), cut(deltas_of(message), chance)
    events = saying.begin()
    heard = deltas[: chance.randint(0, len(deltas))] if chance.random() < 0.3 else deltas
    while heard:
        most = chance.randint(1, len(heard))
        events += saying.more(heard[:most])
        heard = heard[most:]
    return events + saying.finish(message)


def is_plain(message: AssistantMessage) -> bool:
    """Whether deltas say where each of its parts begins."""
    kinds = [type(part) for part in message.parts]
    hidden = any(isinstance(part, Thinking) and not part.text for part in message.parts)
    return not hidden and all(one is not other or one is ToolCall for one, other in pairwise(kinds))


def said(message: AssistantMessage) -> tuple[object, ...]:
    thought = "".join([part.text for part in message.parts if isinstance(part, Thinking)])
    return message.text, thought, message.calls, message.stop, message.usage


@pytest.mark.requirement("server_models:live-equals-whole")
@pytest.mark.parametrize("name", PROTOCOLS)
@given(seed=st.integers(0, 2**32))
def test_an_answer_told_in_any_pieces_reads_back_as_the_message_it_is(name: str, seed: int) -> None:
    chance = random.Random(seed)
    message = read(name, events_of(WIRES[name], answer_of(chance)))
    back = read(name, told(name, message, chance))
    assert said(back) == said(message)
    if is_plain(message):
        assert back == message


@pytest.mark.requirement("server_models:live-equals-whole")
@pytest.mark.parametrize("name", PROTOCOLS)
@given(seed=st.integers(0, 2**32))
def test_an_answer_of_which_nothing_was_said_before_is_told_as_a_whole_one(name: str, seed: int) -> None:
    chance = random.Random(seed)
    message = read(name, events_of(WIRES[name], answer_of(chance)))
    saying = live(name)
    assert read(name, saying.begin() + saying.finish(message)) == message


@pytest.mark.requirement("server_models:responses-resumed")
@given(seed=st.integers(0, 2**32))
def test_events_are_numbered_by_what_was_said_so_that_any_other_telling_goes_on_from_any_of_them(seed: int) -> None:
    chance = random.Random(seed)
    message = read("responses", events_of(WIRES["responses"], answer_of(chance)))
    if not is_plain(message):
        return
    first = [parsed(each) for each in told("responses", message, chance)]
    numbers = [each["sequence_number"] for each in first]
    assert numbers == sorted(set(numbers))
    at = chance.randrange(len(first))
    rest = [parsed(each) for each in told("responses", message, chance, after=numbers[at])]
    assert joined(first[: at + 1] + rest) == joined(first)


def parsed(event: bytes) -> dict[str, Any]:
    return json.loads(event.partition(b"data: ")[2])


def joined(events: Sequence[dict[str, Any]]) -> list[object]:
    """Returns events with neighbouring deltas of one item as one, without their numbers."""
    found: list[dict[str, Any]] = []
    for event in events:
        bare = {key: value for key, value in event.items() if key != "sequence_number"}
        last = found[-1] if found else {}
        if "delta" in bare and {**bare, "delta": ""} == {**last, "delta": ""}:
            last["delta"] = f"{last['delta']}{bare['delta']}"
        else:
            found.append(bare)
    return list(found)


@pytest.mark.requirement("server_models:restarted-is-an-error")
@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_message_that_does_not_go_on_from_what_was_said_is_refused(name: str) -> None:
    call = ToolCall(CallId("c"), "f", "{}")
    before: list[list[Delta]] = [[TextDelta("one")], [ThinkingDelta("one")], [CallDelta(0, "c", "f", "{1")]]
    for deltas in before:
        for parts in ((Text("two"),), (Thinking("two"), Text("t")), (call,)):
            saying = live(name)
            saying.begin()
            saying.more(deltas)
            with pytest.raises(Malformed, match=r"began again|never began"):
                saying.finish(AssistantMessage(parts, "provider/m", usage=Usage(1, 1)))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_arguments_of_calls_that_come_by_turns_stay_with_their_calls(name: str) -> None:
    saying = live(name)
    calls = (ToolCall(CallId("x"), "f", '{"a":1}'), ToolCall(CallId("y"), "g", '{"b":2}'))
    events = saying.begin()
    for delta in (
        CallDelta(0, "x", "f", ""),
        CallDelta(1, "y", "g", '{"b"'),
        CallDelta(0, "x", "", '{"a":1}'),
        CallDelta(1, "y", "", ":2}"),
    ):
        events += saying.more([delta])
    message = AssistantMessage(calls, "p/m", "tool_calls", Usage(1, 1))
    back = read(name, events + saying.finish(message))
    assert [(call.name, msgspec.json.decode(call.arguments)) for call in back.calls] == [
        ("f", {"a": 1}),
        ("g", {"b": 2}),
    ]
    with pytest.raises(Malformed, match="never began"):
        live(name).more([CallDelta(1, "y", "g", "")])
