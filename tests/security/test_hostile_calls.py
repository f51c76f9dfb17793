"""Tool calls as no honest server sends them: indices, ids, names and pieces beyond reason, on each wire."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

import msgspec
import pytest
from tests.wires import WIRES, check_joined, events_of, framed, parser_of

from holdfast.errors import Malformed, ModelError
from holdfast.types import AssistantMessage, CallId, Delta, ToolCall

MANY = 100_000
ENOUGH_CPU = 20.0
"""Seconds of this process, where a fraction of one is needed when time is linear, and minutes when it is not."""
_MADE_UP = frozenset(("a", "call_1_0"))


class Calling(NamedTuple):
    """How a wire says that a call begins, and more of its arguments; None where calls come whole."""

    begin: Callable[[Any, Any, Any], dict[str, Any]]
    """By index, id and name."""
    more: Callable[[Any, str], dict[str, Any]] | None = None


def _chat(index: Any, **call: Any) -> dict[str, Any]:
    return {"choices": [{"delta": {"tool_calls": [{"index": index, **call}]}}]}


def _block(kind: str, index: Any, **fields: Any) -> dict[str, Any]:
    return {"type": f"content_block_{kind}", "index": index, **fields}


def _cohere(kind: str, index: Any, **call: Any) -> dict[str, Any]:
    return {"type": f"tool-call-{kind}", "index": index, "delta": {"message": {"tool_calls": call}}}


def _item(index: Any, id: Any, name: Any) -> dict[str, Any]:
    item = {"type": "function_call", "id": "fc", "call_id": id, "name": name, "arguments": ""}
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def _part(_: Any, id: Any, name: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": [{"functionCall": {"id": id, "name": name, "args": {}}}]}}]}


def _converse(kind: str, index: Any, **fields: Any) -> dict[str, Any]:
    return {f"contentBlock{kind}": {"contentBlockIndex": index, **fields}}


CALLING = {
    "chat": Calling(
        lambda index, id, name: _chat(index, id=id, function={"name": name, "arguments": ""}),
        lambda index, text: _chat(index, function={"arguments": text}),
    ),
    "messages": Calling(
        lambda i, id, name: _block("start", i, content_block={"type": "tool_use", "id": id, "name": name, "input": {}}),
        lambda index, text: _block("delta", index, delta={"type": "input_json_delta", "partial_json": text}),
    ),
    "responses": Calling(
        _item,
        lambda index, text: {"type": "response.function_call_arguments.delta", "output_index": index, "delta": text},
    ),
    "cohere": Calling(
        lambda index, id, name: _cohere("start", index, id=id, function={"name": name, "arguments": ""}),
        lambda index, text: _cohere("delta", index, function={"arguments": text}),
    ),
    "bedrock": Calling(
        lambda index, id, name: _converse("Start", index, start={"toolUse": {"toolUseId": id, "name": name}}),
        lambda index, text: _converse("Delta", index, delta={"toolUse": {"input": text}}),
    ),
    "gemini": Calling(_part),
    "ollama": Calling(
        lambda _, id, name: {"message": {"tool_calls": [{"id": id, "function": {"name": name, "arguments": {}}}]}}
    ),
}
PIECEMEAL = [name for name, calling in CALLING.items() if calling.more is not None]


def test_every_wire_is_attacked() -> None:
    assert set(CALLING) == set(WIRES)


def _event(name: str, said: dict[str, Any]) -> bytes:
    return framed(WIRES[name], msgspec.json.encode(said))


def _frame(name: str) -> tuple[list[bytes], list[bytes]]:
    """Returns the events before and after all that an answer says."""
    events = events_of(WIRES[name], AssistantMessage((), "p/m", "tool_calls"), None)
    return (events[:1], events[1:]) if len(events) > 1 else ([], events)


def _read(name: str, *said: dict[str, Any], max_chars: int = 1 << 20) -> AssistantMessage:
    parser = parser_of(name, max_chars)
    begin, end = _frame(name)
    deltas: list[Delta] = []
    for data in (*begin, *(_event(name, each) for each in said), *end):
        deltas += parser.feed(data)
    deltas += parser.end()
    message = parser.message()
    check_joined(message, deltas)
    return message


@pytest.mark.requirement("hostile:calls")
@pytest.mark.parametrize("index", [2**31, 2**62, -1, 10**25])
@pytest.mark.parametrize("name", PIECEMEAL)
def test_the_index_of_a_call_may_be_any_number(name: str, index: int) -> None:
    more = CALLING[name].more
    assert more is not None
    message = _read(name, CALLING[name].begin(index, "i", "f"), more(index, '{"x":'), more(index, "1}"))
    assert message.calls == (ToolCall(CallId("i"), "f", '{"x":1}'),)


@pytest.mark.requirement("hostile:calls")
@pytest.mark.parametrize("name", CALLING)
def test_two_calls_of_one_index_are_two_calls(name: str) -> None:
    begin = CALLING[name].begin
    message = _read(name, begin(0, "i", "f"), begin(0, "j", "g"))
    assert [(call.id, call.name) for call in message.calls] == [("i", "f"), ("j", "g")]


@pytest.mark.requirement("hostile:calls")
@pytest.mark.parametrize("name", CALLING)
def test_ids_that_are_doubled_taken_or_missing_are_made_anew(name: str) -> None:
    begin = CALLING[name].begin
    message = _read(name, *(begin(n, id, "f") for n, id in enumerate(("i", "i", "", "call_1_2", "a", "a"))))
    ids = [call.id for call in message.calls]
    assert len(ids) == 6
    assert len({*ids, *_MADE_UP}) == 8, "an id stands twice, or is one of the conversation"
    assert all(ids)


@pytest.mark.requirement("hostile:calls")
@pytest.mark.parametrize("id", ["i", None, 5, "\x1b[31m\n", "x" * 5000])
@pytest.mark.parametrize("tool", ["", None, 7, "no such tool\n\x1b[0m", "x" * 5000])
@pytest.mark.parametrize("name", CALLING)
def test_a_call_without_a_name_or_with_an_odd_one_is_a_call_or_one_error(name: str, tool: Any, id: Any) -> None:
    try:
        (call,) = _read(name, CALLING[name].begin(0, id, tool)).calls
    except ModelError as error:
        assert type(error) is Malformed
        assert str(error).isprintable()
        return
    assert call.id
    assert call.name == (tool or "")


@pytest.mark.requirement("hostile:linear-time")
@pytest.mark.parametrize("name", PIECEMEAL)
def test_the_work_for_arguments_in_many_pieces_grows_as_they_do(name: str) -> None:
    few, many = _work(name, 1000), _work(name, 4000)
    assert many < 4.4 * few


@pytest.mark.requirement("hostile:linear-time")
@pytest.mark.parametrize("name", PIECEMEAL)
def test_arguments_in_a_hundred_thousand_pieces_are_read_without_copying_them_over_and_over(name: str) -> None:
    more = CALLING[name].more
    assert more is not None
    with _bounded():
        message = _long(name, CALLING[name].begin(0, "i", "f"), more(0, "x" * 80))
    assert message.calls[0].arguments == "x" * 80 * MANY


_THINKING = {"choices": [{"delta": {"reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "x" * 80}]}}]}


@pytest.mark.requirement("hostile:linear-time")
def test_thinking_in_a_hundred_thousand_pieces_with_its_details_is_read_in_linear_time() -> None:
    with _bounded():
        message = _long("chat", _THINKING, _THINKING)
    assert len(str(message)) > 80 * MANY


@pytest.mark.requirement("hostile:linear-time")
def test_fifty_thousand_searches_are_read_in_linear_time() -> None:
    def searched(number: int) -> dict[str, Any]:
        return {"candidates": [{"groundingMetadata": {"webSearchQueries": [f"question number {number}"]}}]}

    with _bounded():
        message = _read("gemini", *(searched(number) for number in range(MANY // 2)), max_chars=1 << 24)
    assert f"question number {MANY // 2 - 1}" in str(message)


def _long(name: str, first: dict[str, Any], again: dict[str, Any]) -> AssistantMessage:
    """Reads an answer of one event and another one very often, a hundred in each read."""
    parser = parser_of(name, 1 << 25)
    begin, end = _frame(name)
    for data in (*begin, _event(name, first), *(_event(name, again) * 100,) * (MANY // 100), *end):
        parser.feed(data)
    parser.end()
    return parser.message()


def _work(name: str, pieces: int) -> int:
    """Returns how many functions are called to read arguments in so many pieces."""
    more = CALLING[name].more
    assert more is not None
    said = [CALLING[name].begin(0, "i", "f"), *[more(0, "1,")] * pieces]
    count = 0

    def counted(_: FrameType, event: str, __: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        _read(name, *said)
    finally:
        sys.setprofile(before)
    return count


@contextmanager
def _bounded() -> Generator[None]:
    """Ends what takes more of the processor than anything linear does, however busy the machine is."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"not over after {ENOUGH_CPU:g} seconds of work")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, ENOUGH_CPU)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
