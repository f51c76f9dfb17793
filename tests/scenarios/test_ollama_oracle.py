"""The official Ollama client and ours read the same generated streams, over real connections, to the same answer."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import ollama
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.playing import cut_bytes, playing

from holdfast.errors import ModelError
from holdfast.models.port import ModelRequest
from holdfast.models.providers.ollama import OllamaModel
from holdfast.net.client import HttpClient
from holdfast.safety.addresses import TRUSTED
from holdfast.types import AssistantMessage, CallDelta, Text, TextDelta, Thinking, ThinkingDelta, Usage, UserMessage

EXAMPLES = 220
ASKED = ModelRequest(instructions="", messages=[UserMessage((Text("hi"),))])
STOPS = {"stop": "stop", "length": "length", "load": "stop", None: "stop"}
"""Calls make a `tool_calls` of every `stop`."""

WORDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
NAMES = st.from_regex(r"[a-zA-Z0-9_-]{1,20}", fullmatch=True)
COUNTS = st.integers(0, 10**6)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | WORDS
)
ARGUMENTS = st.dictionaries(
    WORDS, st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=4), max_size=3
)
CALLS = st.builds(lambda name, given: {"function": {"name": name, "arguments": given}}, NAMES, ARGUMENTS)

SAID = (
    st.builds(lambda words: {"content": words}, WORDS)
    | st.builds(lambda words: {"content": "", "thinking": words}, WORDS)
    | st.builds(lambda calls: {"content": "", "tool_calls": calls}, st.lists(CALLS, max_size=3))
    | st.builds(lambda a, b, calls: {"thinking": a, "content": b, "tool_calls": calls}, WORDS, WORDS, st.lists(CALLS))
)


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """Returns the bytes of a stream, cut anywhere."""
    frame = {"model": "m", "created_at": "2026-01-01T00:00:00.1Z"}
    values: list[dict[str, Any]] = [
        {**frame, "message": {"role": "assistant", **said}, "done": False} for said in draw(st.lists(SAID, max_size=8))
    ]
    reason = draw(st.sampled_from([*STOPS]))
    counts = {"prompt_eval_count": draw(COUNTS), "eval_count": draw(COUNTS), "total_duration": 5}
    ended = {**frame, "message": {"role": "assistant", "content": draw(st.just("") | WORDS)}, "done": True, **counts}
    values.append(ended if reason is None else {**ended, "done_reason": reason})
    if draw(st.integers(0, 9)) == 0:
        values[draw(st.integers(0, len(values) - 1))] = {"error": "it broke"}
    data = b"".join(json.dumps(value).encode() + b"\n" for value in values)
    return cut_bytes(data, draw(st.lists(st.integers(1, len(data)), max_size=6)))


@dataclass
class Arena:
    """Both clients, and what the server plays to whoever asks."""

    official: ollama.AsyncClient
    ours: OllamaModel
    pieces: list[bytes]
    seen: Counter[str] = field(default_factory=Counter)

    async def compare(self, stream: list[bytes]) -> None:
        self.pieces[:] = stream
        theirs: list[ollama.ChatResponse] = []
        failed = False
        try:
            async for part in await self.official.chat("m", [{"role": "user", "content": "hi"}], stream=True):
                theirs.append(part)  # noqa: PERF401  what came before an error is wanted, too
        except ollama.ResponseError:
            failed = True
        items: list[Any] = []
        try:
            async for item in self.ours.stream(ASKED):
                items.append(item)  # noqa: PERF401
        except ModelError as error:
            assert failed
            assert "it broke" in str(error)
            self.seen["error"] += 1
            return
        assert not failed
        ours = items[-1]
        assert isinstance(ours, AssistantMessage)
        check_deltas(ours, items)
        assert ours.text == "".join([part.message.content or "" for part in theirs])
        thought = "".join([part.text for part in ours.parts if isinstance(part, Thinking)])
        assert thought == "".join([part.message.thinking or "" for part in theirs])
        calls = [call.function for part in theirs for call in part.message.tool_calls or ()]
        assert [(call.name, json.loads(call.arguments)) for call in ours.calls] == [
            (call.name, dict(call.arguments)) for call in calls
        ]
        assert len({call.id for call in ours.calls} - {""}) == len(calls)
        last = theirs[-1]
        assert ours.usage == Usage(last.prompt_eval_count or 0, last.eval_count or 0)
        stop = STOPS[last.done_reason]
        assert ours.stop == ("tool_calls" if calls and stop == "stop" else stop)
        self.seen.update({str(last.done_reason)}, text=len(ours.text), thinking=len(thought), calls=len(calls))


def check_deltas(message: AssistantMessage, items: list[Any]) -> None:
    deltas = [delta for item in items[:-1] for delta in item]
    assert "".join(d.text for d in deltas if isinstance(d, TextDelta)) == message.text
    thoughts = "".join(part.text for part in message.parts if isinstance(part, Thinking))
    assert "".join(d.text for d in deltas if isinstance(d, ThinkingDelta)) == thoughts
    for place, call in enumerate(message.calls):
        pieces = [d for d in deltas if isinstance(d, CallDelta) and d.index == place]
        assert "".join(d.arguments for d in pieces) == call.arguments


@asynccontextmanager
async def arena() -> AsyncGenerator[Arena]:
    pieces: list[bytes] = []
    async with (
        playing(pieces, "application/x-ndjson") as url,
        HttpClient(TRUSTED) as client,
        ollama.AsyncClient(url) as official,
    ):
        yield Arena(official, OllamaModel("m", client, url=url), pieces)


@pytest.mark.requirement("ollama:oracle", "ollama:usage", "ollama:stop-reasons")
def test_the_official_client_and_ours_read_the_same_streams() -> None:
    with asyncio.Runner() as runner:
        scope = arena()
        both = runner.run(scope.__aenter__())
        try:

            @settings(
                max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
            )
            @given(streams())
            def agree(stream: list[bytes]) -> None:
                runner.run(both.compare(stream))

            agree()
        finally:
            runner.run(scope.__aexit__(None, None, None))
    for kind in ("text", "thinking", "calls", "error", *map(str, STOPS)):
        assert both.seen[kind], f"{kind} was never there"
