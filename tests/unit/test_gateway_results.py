"""What a tool returns, as the model gets to read it: text, bounded, and always something that can be written down."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any, cast

import msgspec
import pydantic
import pytest
from tests.running import soon

from holdfast import ToolResult, Wait, tool
from holdfast.storage.stores.memory import MemoryBlobStore
from holdfast.tools.gateway import Admitted, Gateway
from holdfast.types import CallId, EventId, StreamId, ToolCall


class Point(pydantic.BaseModel):
    x: int


def only(function: Callable[..., Any], **options: Any) -> tuple[Gateway, Admitted]:
    """Returns a gateway with a tool made of the function, and a call of it."""
    made = tool(name="t", **options)(function)
    gate = Gateway(
        tools={made.spec.name: made},
        stream=StreamId("local/s"),
        run=EventId("e"),
        sandbox=None,
        blobs=MemoryBlobStore(),
    )
    ready = gate.admit(ToolCall(CallId("c1"), "t", "{}"), "3/c1")
    assert isinstance(ready, Admitted)
    return gate, ready


async def result_of(function: Callable[..., Any], **options: Any) -> ToolResult:
    """Returns what a call of a tool made of the function comes to."""
    gate, ready = only(function, **options)
    outcome = await soon(gate.perform(ready))
    assert isinstance(outcome, ToolResult), outcome
    finished = await gate.finish(ready, outcome)
    assert msgspec.json.decode(msgspec.json.encode(finished), type=ToolResult) == finished, "it can be written down"
    return finished


@pytest.mark.parametrize(
    ("returned", "content"),
    [
        ("text", "text"),
        ("", ""),
        (None, "null"),
        ([1, {"a": None}], '[1,{"a":null}]'),
        (Point(x=1), '{"x":1}'),
        ([Point(x=1)], '[{"x":1}]'),
        (1.5, "1.5"),
        (ToolResult("x", metadata={"p": Point(x=1), "t": (1, 2)}), "x"),
        (ToolResult("x", metadata={"o": object()}), "x"),
        (ToolResult(cast("str", [1])), "[1]"),
        ("a\ud800b", "a?b"),
        (ToolResult("\ud800"), "?"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isascii() else type(value).__name__,
)
async def test_what_a_tool_returns_becomes_text(returned: object, content: str) -> None:
    async def give():
        """Gives."""
        return returned

    result = await result_of(give)
    assert (result.content, result.error) == (content, None)


@pytest.mark.requirement("tools:output-binary")
@pytest.mark.parametrize("returned", [b"\x00\xff" * 50, bytearray(100)])
async def test_binary_output_is_described_and_never_shown(returned: bytes) -> None:
    async def give():
        """Gives."""
        return returned

    assert "100 bytes" in (await result_of(give)).content


@pytest.mark.requirement("tools:output-unserialisable")
@pytest.mark.parametrize(
    ("returned", "named"),
    [
        (object(), "object"),
        ({1: {2}, "x": lambda: 1}, "function"),
        (["\ud800"], "UnicodeEncodeError"),
        (Wait(cast("str", 1)), "str"),
    ],
    ids=["object", "function", "surrogate", "wait"],
)
async def test_a_value_that_cannot_be_written_down_is_an_error_that_names_it(returned: object, named: str) -> None:
    async def give():
        """Gives."""
        return returned

    result = await result_of(give)
    assert named in result.content
    assert result.error is not None


@pytest.mark.requirement("tools:wait-from-a-tool")
async def test_a_tool_may_answer_that_it_waits() -> None:
    wait = Wait("t1", "question", 5, "May I?")

    async def give():
        """Gives."""
        return wait

    gate, ready = only(give)
    assert await gate.perform(ready) == wait


@pytest.mark.requirement("tools:output-bounded")
@pytest.mark.parametrize("limit", [0, 1, 2, 3, 10, 1000])
async def test_output_is_cut_to_its_bound_and_says_how_much_is_missing(limit: int) -> None:
    text = "".join(chr(97 + number % 26) for number in range(5000))

    async def give():
        """Gives."""
        return text

    content = (await result_of(give, max_output=limit)).content
    head, _, rest = content.partition("\n[... ")
    note, _, tail = rest.partition(" ...]\n")
    kept = len(head) + len(tail)
    assert kept <= limit
    assert limit - kept < 3
    assert text.startswith(head)
    assert text.endswith(tail)
    assert note.startswith(f"{5000 - kept} of 5000 characters left out")


@pytest.mark.requirement("tools:output-sixty-megabytes")
@pytest.mark.parametrize("letter", ["x", "ü"])
async def test_sixty_megabytes_leave_a_bounded_result_and_no_second_copy(letter: str) -> None:
    text = letter * (60_000_000 // len(letter.encode()))

    async def give():
        """Gives."""
        return text

    tracemalloc.start()
    try:
        result = await result_of(give)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(result.content) < 51_000
    assert peak < 10_000_000
