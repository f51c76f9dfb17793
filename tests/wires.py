"""Every protocol a model may speak, as tests of all of them see it: how to write its events, and how to read them."""

from __future__ import annotations

import importlib
import random
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import msgspec

from holdfast.models.failures import Origin
from holdfast.models.port import ModelRequest
from holdfast.models.wire.bedrock.framing import Frames, frame_of
from holdfast.models.wire.reading import AnswerParser
from holdfast.models.wire.served import ServedRequest
from holdfast.testing.protocols import PROTOCOLS
from holdfast.types import (
    AssistantMessage,
    CallDelta,
    CallId,
    Citation,
    Delta,
    Document,
    Image,
    ProviderTool,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolMessage,
    ToolSpec,
    Usage,
    UserMessage,
)

__all__ = (
    "CONVERSATION",
    "KEY",
    "OFFERED",
    "WIRES",
    "Wire",
    "answer_of",
    "body_of",
    "check_joined",
    "cut_anywhere",
    "events_of",
    "framed",
    "parse_request",
    "parser_of",
    "unframed",
    "whole_of",
)

KEY = "secret-key-of-mine-4711"


class Wire(NamedTuple):
    """One protocol, and a provider that speaks it."""

    protocol: str
    """Its name in `PROTOCOLS`."""
    model: str
    url_variable: str
    key_variable: str
    url: str = "{}"
    more: tuple[str, ...] = ()
    """Events of things that no message of ours is rendered to, as JSON."""

    def env(self, url: str) -> dict[str, str]:
        """Returns the environment in which its model is asked at that address."""
        return {self.url_variable: self.url.format(url), self.key_variable: KEY, "AWS_REGION": "eu-central-1"}


_GEMINI_PARTS = (
    '{"executableCode":{"language":"PYTHON","code":"1"}}',
    '{"codeExecutionResult":{"outcome":"OUTCOME_OK","output":"1"},"thoughtSignature":"abcd"}',
    '{"toolCall":{"toolType":"GOOGLE_SEARCH","args":{"q":["a"]},"id":"t"}}',
    '{"toolResponse":{"toolType":"GOOGLE_SEARCH","response":{"x":1},"id":"t"}}',
)

WIRES: Mapping[str, Wire] = {
    "chat": Wire(
        "chat",
        "openai/m",
        "OPENAI_BASE_URL",
        "OPENAI_API_KEY",
        "{}/v1",
        (
            '{"choices":[{"delta":{"reasoning_details":[{"type":"reasoning.text","index":0,"text":"a"}]}}]}',
            '{"choices":[{"delta":{"reasoning_details":[{"type":"x","data":"a","signature":"s"}]}}]}',
            '{"choices":[{"delta":{"annotations":[{"url_citation":{"url":"http://a","title":"A"}}]}}]}',
            '{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[{"text":"a"}]},{"text":"b"}]}}]}',
            '{"choices":[{"delta":{"function_call":{"name":"f","arguments":"{"}}}]}',
            '{"choices":[{"delta":{"tool_calls":[{"id":"z","function":{"name":"f","arguments":{"a":1}}}]}}]}',
            '{"choices":[{"delta":{"refusal":"no"}}]}',
        ),
    ),
    "messages": Wire(
        "messages",
        "anthropic/m",
        "ANTHROPIC_BASE_URL",
        "ANTHROPIC_API_KEY",
        "{}",
        (
            '{"type":"content_block_start","index":70,"content_block":{"type":"server_tool_use","id":"s","name":"w"}}',
            '{"type":"content_block_delta","index":70,"delta":{"type":"input_json_delta","partial_json":"{}"}}',
            '{"type":"content_block_start","index":71,"content_block":{"type":"web_search_tool_result","content":[]}}',
            '{"type":"content_block_start","index":72,"content_block":{"type":"redacted_thinking","data":"abcd"}}',
            '{"type":"content_block_start","index":73,"content_block":{"type":"new","data":"abcd"}}',
            '{"type":"content_block_delta","index":73,"delta":{"type":"newer","x":[1]}}',
            '{"type":"content_block_start","index":74,"content_block":{"type":"text","text":""}}',
            '{"type":"content_block_delta","index":74,"delta":{"type":"citations_delta","citation":'
            '{"type":"web_search_result_location","url":"http://a","title":"A","cited_text":"q"}}}',
            '{"type":"ping"}',
        ),
    ),
    "responses": Wire(
        "responses",
        "openai-responses/m",
        "OPENAI_BASE_URL",
        "OPENAI_API_KEY",
        "{}/v1",
        (
            '{"type":"response.output_item.done","output_index":70,"item":{"type":"web_search_call","id":"w",'
            '"status":"completed","action":{"type":"search","query":"q"}}}',
            '{"type":"response.output_item.added","output_index":71,"item":{"type":"computer_call","id":"w"}}',
            '{"type":"response.refusal.delta","output_index":72,"content_index":0,"delta":"no"}',
            '{"type":"response.reasoning_text.delta","output_index":73,"content_index":0,"delta":"hm"}',
            '{"type":"response.reasoning_summary_text.delta","output_index":73,"summary_index":1,"delta":"hm"}',
            '{"type":"response.output_text.annotation.added","output_index":74,"content_index":0,"annotation":'
            '{"type":"url_citation","url":"http://a","title":"A"}}',
        ),
    ),
    "gemini": Wire(
        "gemini",
        "google/m",
        "GOOGLE_GEMINI_BASE_URL",
        "GOOGLE_API_KEY",
        "{}",
        (
            *(f'{{"candidates":[{{"content":{{"parts":[{part}]}}}}]}}' for part in _GEMINI_PARTS),
            '{"candidates":[{"groundingMetadata":{"webSearchQueries":["q"],"groundingChunks":'
            '[{"web":{"uri":"http://a","title":"A"}}]}}]}',
            '{"candidates":[{"citationMetadata":{"citationSources":[{"uri":"http://a"}]}}]}',
        ),
    ),
    "cohere": Wire(
        "cohere",
        "cohere/m",
        "CO_API_URL",
        "CO_API_KEY",
        "{}",
        (
            '{"type":"tool-plan-delta","delta":{"message":{"tool_plan":"p"}}}',
            '{"type":"citation-start","index":0,"delta":{"message":{"citations":{"start":0,"end":1,"text":"q",'
            '"sources":[{"type":"document","id":"d","document":{"title":"T"}}]}}}}',
            '{"type":"content-start","index":70,"delta":{"message":{"content":{"type":"new","x":1}}}}',
            '{"type":"content-end","index":70}',
        ),
    ),
    "ollama": Wire(
        "ollama",
        "ollama/m",
        "OLLAMA_HOST",
        "OLLAMA_API_KEY",
        "{}",
        (
            '{"message":{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{}"}}]},"done":false}',
            '{"message":{"role":"assistant","thinking":"hm","content":"so"},"done":false}',
            '{"status":"loading"}',
        ),
    ),
    "bedrock": Wire(
        "converse",
        "bedrock/m",
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
        "AWS_BEARER_TOKEN_BEDROCK",
        "{}",
        (
            '{"contentBlockStart":{"contentBlockIndex":70,"start":{"toolUse":{"toolUseId":"s","name":"w",'
            '"type":"server_tool_use"}}}}',
            '{"contentBlockDelta":{"contentBlockIndex":70,"delta":{"toolUse":{"input":"{}"}}}}',
            '{"contentBlockStart":{"contentBlockIndex":71,"start":{"toolResult":{"toolUseId":"s"}}}}',
            '{"contentBlockDelta":{"contentBlockIndex":71,"delta":{"toolResult":[{"text":"a"}]}}}',
            '{"contentBlockDelta":{"contentBlockIndex":72,"delta":{"reasoningContent":{"redactedContent":"abcd"}}}}',
            '{"contentBlockDelta":{"contentBlockIndex":73,"delta":{"citation":{"title":"T","source":"s"}}}}',
            '{"contentBlockStart":{"contentBlockIndex":74,"start":{}}}',
        ),
    ),
}
"""All of them, by the folder of the wire."""

CITED = (Citation("https://a", "A", "words"),)


def answer_of(chance: random.Random) -> AssistantMessage:
    """Returns some answer."""
    kinds = (
        lambda: Text(_words(chance), citations=CITED if chance.random() < 0.2 else ()),
        lambda: Thinking(_words(chance), chance.choice(("", "c2lnbmVk"))),
        lambda: Thinking("", redacted="cmVkYWN0ZWQ="),
        lambda: ToolCall(CallId(chance.choice(("a", "b", ""))), chance.choice(("f", "g")), '{"x": [1, "ü"]}'),
        lambda: ToolCall(CallId(f"c{chance.randrange(9)}"), "f", chance.choice(("{}", "", "not json", '{"a":'))),
    )
    parts = tuple(chance.choice(kinds)() for _ in range(chance.randrange(1, 6)))
    stop = "tool_calls" if any(isinstance(part, ToolCall) for part in parts) else chance.choice(("stop", "length"))
    return AssistantMessage(parts, "provider/m", cast("Any", stop), Usage(11, 7, 3, 0, 2))


def _words(chance: random.Random) -> str:
    return "".join(
        chance.choices(("some ", "wörds ", "\n\n", "data: ", "{", "😀", "\\", "<"), k=chance.randrange(1, 9))
    )


def events_of(wire: Wire, message: AssistantMessage, chunk: int | None = 4) -> list[bytes]:
    """Returns the events of an answer, as they go over the wire."""
    return PROTOCOLS[wire.protocol].stream(message, ServedRequest(model="m", messages=()), chunk, "id")


def whole_of(wire: Wire, message: AssistantMessage) -> bytes:
    """Returns the body of an answer that is not streamed."""
    return PROTOCOLS[wire.protocol].answer(message, "id")


def framed(wire: Wire, data: bytes) -> bytes:
    """Returns the event that says this JSON."""
    if wire.protocol != "converse":
        return PROTOCOLS[wire.protocol].framed(data)
    name, _, payload = data.strip()[1:-1].partition(b":")
    kind = name.strip().strip(b'"').decode("utf-8", "replace")[:200]
    return frame_of({":message-type": "event", ":event-type": kind, ":content-type": "application/json"}, payload)


def unframed(wire: Wire, event: bytes) -> bytes:
    """Returns the JSON an event says; nothing for one that says none."""
    if wire.protocol == "converse":
        return b"".join(Frames(1 << 30).feed_data(event))
    start = event.find(b"{")
    return event[start:].rstrip() if start >= 0 else b""


def parser_of(name: str, max_chars: int = 1 << 20) -> AnswerParser:
    """Returns what reads an answer of that wire, as its model would make it."""
    made = importlib.import_module(f"holdfast.models.wire.{name}.streaming").Parser
    origin = Origin(provider="p", model="m", url="http://x", key_variable="K", url_variable="U", secret=KEY)
    return made(origin, turn=1, taken=frozenset(("a", "call_1_0")), max_chars=max_chars)


def parse_request(name: str, body: bytes) -> ServedRequest:
    """Reads a request as a server of that wire does.

    Raises:
        InvalidRequest: it is none.
    """
    return PROTOCOLS[WIRES[name].protocol].parse(body)


CONVERSATION = (
    UserMessage(
        (Text("look"), Image("image/png", b"\x89PNG\r\n\x1a\n" + bytes(20)), Document("text/plain", b"a", "a"))
    ),
    AssistantMessage((Thinking("hm"), Text("so"), ToolCall(CallId("c1"), "f", '{"x": 1}')), "p/m", "tool_calls"),
    ToolMessage(CallId("c1"), "f", "one", is_error=True),
    UserMessage((Text("and?"),)),
)
OFFERED = (
    ToolSpec(name="f", description="F", parameters={"type": "object", "properties": {"x": {"type": "integer"}}}),
)
OWN_TOOLS = {"gemini": "google_search", "bedrock": "nova_grounding"}
"""What providers call a tool they run themselves, where it is not `web_search`."""
TAKES_NONE = ("cohere", "ollama")
"""Providers without such tools."""


def body_of(name: str) -> bytes:
    """Returns a request of that wire that holds nearly all that one can."""
    made = importlib.import_module(f"holdfast.models.wire.{name}.requests").Encoder("m", owner="p/m")
    own = () if name in TAKES_NONE else (ProviderTool(OWN_TOOLS.get(name, "web_search")),)
    request = ModelRequest(
        provider_tools=own,
        instructions="Be brief.",
        messages=list(CONVERSATION),
        tools=OFFERED,
        must_call="f",
        max_output_tokens=500,
        temperature=0.5,
    )
    return made.encode(request)


def cut_anywhere(data: bytes, chance: random.Random) -> Iterator[bytes]:
    """Yields the bytes in pieces of any size."""
    most = chance.choice((1, 7, 60, 4000))
    at = 0
    while at < len(data):
        size = chance.randint(1, most)
        yield data[at : at + size]
        at += size


def check_joined(message: AssistantMessage, deltas: list[Delta]) -> None:
    """Raises when the deltas joined are not the message."""
    assert "".join([each.text for each in deltas if type(each) is TextDelta]) == message.text
    thought = "".join([part.text for part in message.parts if isinstance(part, Thinking)])
    assert "".join([each.text for each in deltas if type(each) is ThinkingDelta]) == thought
    calls: dict[int, ToolCall] = {}
    for each in deltas:
        if type(each) is CallDelta:
            known = calls.get(each.index) or ToolCall(CallId(each.id), "", "")
            assert known.id == each.id
            name = known.name + each.name
            calls[each.index] = ToolCall(known.id, name, known.arguments + each.arguments)
    assert [calls[index] for index in sorted(calls)] == [
        msgspec.structs.replace(call, signature="") for call in message.calls
    ]
