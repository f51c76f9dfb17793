"""Single events and requests that were read wrongly once, or nearly: each is one clear error now, or does no harm."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgspec
import pytest
from tests.wires import KEY, WIRES, check_joined, events_of, framed, parse_request, parser_of

from holdfast.errors import ConnectionFailed, InvalidRequest, Malformed, Overloaded, ServerError
from holdfast.models.failures import Origin, failure_in
from holdfast.models.wire.bedrock.framing import frame_of
from holdfast.types import AssistantMessage, Delta, ProviderStep, Text, Usage

ORIGIN = Origin(provider="p", model="m", url="http://x", secret=KEY)
DEEP = "[" * 100_000


def read(name: str, data: bytes, size: int | None = None) -> AssistantMessage:
    """Reads an answer whose bytes come `size` at a time, or all at once."""
    parser = parser_of(name)
    deltas: list[Delta] = []
    for start in range(0, len(data), size or len(data)):
        deltas += parser.feed(data[start : start + (size or len(data))])
    deltas += parser.end()
    message = parser.message()
    check_joined(message, deltas)
    return message


def whole(name: str, *said: str) -> bytes:
    """Returns the events of an answer with words, and these before its end."""
    events = events_of(WIRES[name], AssistantMessage((Text("words"),), "p/m"), None)
    place = next(place for place, event in enumerate(events) if b"words" in event) + 1
    if name in ("messages", "cohere"):  # whose words end with an event of their own
        place += 1
    return b"".join([*events[:place], *(framed(WIRES[name], each.encode()) for each in said), *events[place:]])


@pytest.mark.requirement("hostile:events")
@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("messages", '{"type":"content_block_start","index":9,"content_block":5}'),
        ("messages", '{"type":"content_block_start","index":9,"content_block":{"type":5}}'),
        ("messages", '{"type":"content_block_start","index":9,"content_block":{"type":"text","text":' + DEEP),
        ("chat", '{"object":5}'),
        ("chat", '{"choices":[{"delta":{"tool_calls":[5]}}]}'),
        ("cohere", '{"type":"content-start","index":9,"delta":{"message":{"content":5}}}'),
        ("ollama", '{"message":{"tool_calls":[{"function":{"name":"f","arguments":"\\ud800"}}]}}'),
        ("gemini", '{"candidates":[{"content":{"parts":[{"executableCode":5}]}}]}'),
        ("gemini", '{"candidates":[{"content":{"parts":[{"toolCall":{"args":1e999}}]}}]}'),
        ("responses", '{"type":"response.output_item.done","output_index":9,"item":5}'),
        ("responses", '{"type":"response.output_item.done","output_index":9,"item":{"type":"function_call","name":5}}'),
        ("bedrock", '{"contentBlockDelta":{"delta":{"reasoningContent":{"redactedContent":"no base64!"}}}}'),
    ],
)
def test_an_event_that_is_none_of_the_protocol_is_malformed(name: str, event: str) -> None:
    with pytest.raises(Malformed, match="'p/m'"):
        read(name, whole(name, event))


@pytest.mark.requirement("hostile:events")
@pytest.mark.parametrize("body", [b'{"message":{"content":[5]}}', b'{"message":{"content":[{"type":5}]}}'])
def test_a_cohere_body_with_parts_that_are_none_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        read("cohere", body)


@pytest.mark.requirement("hostile:events")
def test_a_step_whose_numbers_nobody_can_read_is_kept_as_it_came() -> None:
    block = '{"type":"server_tool_use","id":"s","name":"web_search","input":{"query":1e999}}'
    begun = f'{{"type":"content_block_start","index":9,"content_block":{block}}}'
    more = '{"type":"content_block_delta","index":9,"delta":{"type":"input_json_delta","partial_json":"{\\"q\\":1}"}}'
    for said in ((begun,), (begun, more)):
        message = read("messages", whole("messages", *said))
        assert [part.data for part in message.parts if isinstance(part, ProviderStep)] == [block]


@pytest.mark.requirement("hostile:events")
def test_a_call_that_goes_on_after_arguments_of_any_depth_is_read() -> None:
    def fragment(arguments: str) -> str:
        function = msgspec.json.encode({"name": "f", "arguments": arguments}).decode()
        return f'{{"choices":[{{"delta":{{"tool_calls":[{{"index":0,"id":"i","function":{function}}}]}}}}]}}'

    message = read("chat", whole("chat", fragment('{"a":' + DEEP), fragment("]")))
    assert message.calls[0].arguments == '{"a":' + DEEP + "]"


@pytest.mark.requirement("hostile:events")
def test_details_of_thinking_that_change_their_type_are_no_error() -> None:
    def details(text: Any) -> str:
        detail = {"type": "reasoning.text", "index": 0, "text": text}
        return msgspec.json.encode({"choices": [{"delta": {"reasoning_details": [detail]}}]}).decode()

    message = read("chat", whole("chat", details(5), details("more"), details([]), details("even more")))
    assert message.text == "words"


@pytest.mark.requirement("hostile:events")
@pytest.mark.parametrize("size", [None, 1])
def test_frames_before_a_broken_one_are_read_in_whatever_pieces_they_come(size: int | None) -> None:
    events = events_of(WIRES["bedrock"], AssistantMessage((Text("words"),), "p/m", "stop", Usage(5, 5)), None)
    assert b"messageStop" in events[-2]
    assert read("bedrock", b"".join(events[:-1]) + b"no frame at all", size).text == "words"
    with pytest.raises(Malformed, match="no frames"):
        read("bedrock", b"".join(events[:-2]) + b"no frame at all", size)


@pytest.mark.requirement("hostile:events")
def test_a_frame_with_names_and_types_of_another_protocol_says_nothing() -> None:
    odd = frame_of({":message-type": "event", ":event-type": '","x":{"'}, b"{}")
    events = events_of(WIRES["bedrock"], AssistantMessage((Text("words"),), "p/m"), None)
    assert read("bedrock", events[0] + odd + b"".join(events[1:])).text == "words"


@pytest.mark.requirement("hostile:odd-answers")
@pytest.mark.parametrize("name", ["messages", "bedrock"])
def test_blocks_that_go_on_after_the_stop_reason_are_no_part_of_the_answer(name: str) -> None:
    stops = {"messages": b"message_delta", "bedrock": b"messageStop"}
    events = events_of(WIRES[name], AssistantMessage((Text("words"),), "p/m"), None)
    stop = next(place for place, event in enumerate(events) if stops[name] in event)
    late = [event for event in events if b"words" in event or b"lock" in event[:60]]
    message = read(name, b"".join([*events[: stop + 1], *late, *late, *events[stop + 1 :]]))
    assert message.parts == (Text("words"),)


@pytest.mark.requirement("hostile:errors-clean")
@pytest.mark.parametrize("code", ["²", "٤٢٩", "9" * 5000, "-1", "4e2", "", "429 ", 10**30, -429])
def test_a_code_of_an_error_that_is_no_status_is_only_a_word(code: str | int) -> None:
    assert type(failure_in(ORIGIN, "it fell over", "", code)) is ServerError
    assert type(failure_in(ORIGIN, "it fell over", "overloaded_error", code)) is Overloaded


@pytest.mark.requirement("hostile:errors-clean")
def test_what_kind_an_error_is_is_looked_for_in_a_bounded_part_of_its_words() -> None:
    error = failure_in(ORIGIN, "it fell over", "input token count " * 500_000, "")
    assert type(error) is ServerError
    assert len(str(error)) < 1000


@pytest.mark.requirement("hostile:one-error-each")
@pytest.mark.parametrize("name", [name for name in WIRES if name not in ("ollama", "bedrock")])
@pytest.mark.parametrize("size", [None, 1])
def test_words_of_a_proxy_are_malformed_and_the_beginning_of_an_event_is_broken_off(
    name: str, size: int | None
) -> None:
    for words in (b"upstream is resting", b"error code: 1015\n", b"date: never\n\n", b"\xc3\x28" * 300):
        with pytest.raises(Malformed, match="no answer of this protocol"):
            read(name, words, size)
    for cut in (b"d", b"data", b"data: ", b"event: x", b": wait\n", b"\xef\xbb\xbfid", b"retry: 5\n\n"):
        with pytest.raises(ConnectionFailed, match="broke off"):
            read(name, cut, size)


@pytest.mark.requirement("hostile:request-fuzz")
@pytest.mark.parametrize(
    ("name", "tools"),
    [
        ("chat", [{"type": " "}]),
        ("messages", [{"type": "", "name": "x"}]),
        ("responses", [{"type": ""}]),
        ("bedrock", {"tools": [{"systemTool": {"name": ""}}]}),
    ],
)
def test_a_tool_of_the_provider_without_a_type_is_refused(name: str, tools: Any) -> None:
    said: dict[str, Any] = {"model": "m", "max_tokens": 5, "messages": [], "input": [], "tools": tools}
    if name == "bedrock":
        said = {"messages": [], "toolConfig": tools}
    with pytest.raises(InvalidRequest, match="a tool has no type"):
        parse_request(name, msgspec.json.encode(said))


@pytest.mark.requirement("hostile:request-fuzz")
@pytest.mark.parametrize("name", WIRES)
def test_a_refusal_repeats_little_of_a_request_and_none_of_its_control_characters(name: str) -> None:
    odd = "\x1b[31m\r\n" + "x" * 1_000_000
    bodies = [{"role": odd, "content": odd}, {"role": "user", "content": [{"type": odd, odd: {}}]}]
    for turn in bodies:
        said = {"model": "m", "max_tokens": 5, "messages": [turn], "input": [turn], "contents": [turn]}
        try:
            parse_request(name, msgspec.json.encode(said))
        except InvalidRequest as error:
            assert str(error).isprintable()
            assert len(str(error)) < 1000


CROWDS = {
    "chat": ('{"choices":[{"delta":{"tool_calls":[', '{"function":{"name":"f"}}', "]}}]}"),
    "ollama": ('{"message":{"tool_calls":[', "{}", "]}}"),
    "gemini": ('{"candidates":[{"content":{"parts":[', '{"functionCall":{"name":""}}', "]}}]}"),
    "messages": ('{"content":[', '{"type":"tool_use"}', "]}"),
    "responses": (
        '{"status":"completed","output":[',
        '{"type":"function_call","name":""}',
        "]}",
    ),
    "cohere": ('{"message":{"tool_calls":[', "{}", "]}}"),
    "bedrock": ('{"output":{"message":{"content":[', '{"toolUse":{}}', "]}}}"),
}
"""Events, or bodies where an event holds one call, with any number of calls."""


@pytest.mark.requirement("hostile:wire-memory")
@pytest.mark.parametrize("name", WIRES)
def test_one_event_full_of_the_smallest_calls_takes_no_more_than_its_share(name: str) -> None:
    limit = 200_000
    before, call, after = CROWDS[name]
    said = (before + ",".join([call] * (limit // (len(call) + 1) - 10)) + after).encode()
    data = framed(WIRES[name], said) if name in ("chat", "ollama", "gemini") else said
    parser = parser_of(name, limit)
    tracemalloc.start()
    try:
        with pytest.raises(Malformed, match="more than 200000 characters"):
            parser.feed(data)
            parser.end()
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 40 * limit
