"""However much a model thinks, what is asked for is never more than what was reserved."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.models.calling import Allowance, Reservation, perform, reserve
from holdfast.models.port import Model, ModelRequest
from holdfast.models.thinking import LEVELS
from holdfast.models.wire.bedrock.requests import Encoder as Bedrock
from holdfast.models.wire.cohere.requests import Encoder as Cohere
from holdfast.models.wire.gemini.requests import Encoder as Gemini
from holdfast.models.wire.messages.requests import Encoder as Messages
from holdfast.types import AssistantMessage, Delta, Price, Text, ThinkingLevel, UserMessage

OLD = "claude-sonnet-4-5"
Asks = Callable[[int | None, ModelRequest], int]
"""Returns the longest answer a wire asks for, by the model's own longest."""


def messages(longest: int | None, request: ModelRequest) -> int:
    return json.loads(Messages(OLD, owner="a/m", longest_answer=longest).encode(request))["max_tokens"]


def gemini(longest: int | None, request: ModelRequest) -> int:
    encoder = Gemini("gemini-2.5-flash", owner="g/m", longest_answer=longest)
    return json.loads(encoder.encode(request))["generationConfig"]["maxOutputTokens"]


def cohere(longest: int | None, request: ModelRequest) -> int:
    return json.loads(Cohere("command-a", owner="c/m", longest_answer=longest).encode(request))["max_tokens"]


def bedrock(longest: int | None, request: ModelRequest) -> int:
    encoder = Bedrock(f"anthropic.{OLD}-v1:0", owner="b/m", longest_answer=longest)
    return json.loads(encoder.encode(request))["inferenceConfig"]["maxTokens"]


class Sent(Model):
    """A model that keeps what it was asked."""

    def __init__(self, longest: int | None) -> None:
        self.longest = longest
        self.asked: list[ModelRequest] = []

    def check(self) -> None: ...

    def fresh(self) -> Model:
        return self

    @property
    def name(self) -> str:
        return "a/m"

    @property
    def price(self) -> Price | None:
        return Price.per_million(1, 4)

    @property
    def max_output_tokens(self) -> int | None:
        return self.longest

    def size(self, request: ModelRequest) -> int:
        return 1000

    async def stream(self, request: ModelRequest) -> AsyncGenerator[list[Delta] | AssistantMessage, None]:
        self.asked.append(request)
        yield AssistantMessage((Text("hi"),), "a/m")


@pytest.mark.requirement("catalogue:thinking-within-what-is-reserved")
@pytest.mark.parametrize("asks", [messages, gemini, cohere, bedrock])
@given(
    level=st.sampled_from((None, *LEVELS)),
    wanted=st.none() | st.integers(1, 70_000),
    longest=st.none() | st.integers(2048, 70_000),
    left=st.integers(1100, 100_000),
)
async def test_what_is_asked_for_is_within_what_is_reserved(
    asks: Asks, level: ThinkingLevel | None, wanted: int | None, longest: int | None, left: int
) -> None:
    said: list[Any] = [UserMessage((Text("a"),))]
    request = ModelRequest(instructions="", messages=said, thinking=level, max_output_tokens=wanted)
    model = Sent(longest)
    held = reserve(model, request, Allowance(tokens=left))
    if not isinstance(held, Reservation):
        return
    async for _ in perform(model, request, held):
        pass
    assert held.max_output_tokens is not None
    assert asks(longest, model.asked[0]) <= held.max_output_tokens


@pytest.mark.requirement("catalogue:thinking-within-what-is-reserved")
@pytest.mark.parametrize(
    ("left", "level", "answer"), [(60_000, "high", 4096), (13_000, "medium", 3808), (3_000, "off", 2000)]
)
async def test_where_little_is_left_a_model_thinks_less(left: int, level: ThinkingLevel, answer: int) -> None:
    request = ModelRequest(instructions="", messages=[], thinking="high", max_output_tokens=4096)
    model = Sent(64_000)
    held = reserve(model, request, Allowance(tokens=left))
    assert isinstance(held, Reservation)
    async for _ in perform(model, request, held):
        pass
    assert (model.asked[0].thinking, model.asked[0].max_output_tokens) == (level, answer)


@pytest.mark.requirement("catalogue:thinking-within-what-is-reserved")
@given(
    level=st.sampled_from(LEVELS), wanted=st.integers(1, 70_000), longest=st.none() | st.integers(2048, 70_000),
    left=st.integers(1100, 200_000),
)  # fmt: skip
async def test_a_limit_never_makes_an_answer_longer_than_was_wanted(
    level: ThinkingLevel, wanted: int, longest: int | None, left: int
) -> None:
    request = ModelRequest(instructions="", messages=[], thinking=level, max_output_tokens=wanted)
    model = Sent(longest)
    held = reserve(model, request, Allowance(tokens=left))
    if not isinstance(held, Reservation):
        return
    async for _ in perform(model, request, held):
        pass
    assert (model.asked[0].max_output_tokens or sys.maxsize) <= wanted


@pytest.mark.requirement("catalogue:thinking-within-what-is-reserved")
async def test_a_short_answer_is_thought_about_as_much_within_a_limit_that_does_not_bind() -> None:
    request = ModelRequest(instructions="", messages=[], thinking="low", max_output_tokens=500)
    model = Sent(64_000)
    held = reserve(model, request, Allowance(tokens=1_000_000))
    assert isinstance(held, Reservation)
    async for _ in perform(model, request, held):
        pass
    assert (model.asked[0].thinking, model.asked[0].max_output_tokens) == ("low", 500)
