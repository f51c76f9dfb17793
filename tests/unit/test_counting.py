"""Counts of tokens: asked for, estimated, and what they are of."""

from __future__ import annotations

import struct
import zlib
from collections.abc import AsyncGenerator
from typing import final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import AuthFailed, InvalidRequest, ModelError, ModelTimeout, RateLimited, ServerError
from holdfast.models.counting import TokenCount, attachment_tokens, count_tokens
from holdfast.models.estimating import TokenEstimator
from holdfast.models.port import Model, ModelRequest
from holdfast.models.providers.anthropic import AnthropicModel
from holdfast.models.providers.bedrock import BedrockModel
from holdfast.models.providers.cohere import CohereModel
from holdfast.models.providers.google import GoogleModel
from holdfast.models.providers.ollama import OllamaModel
from holdfast.models.providers.openai import OpenAIModel
from holdfast.models.providers.responses import ResponsesModel
from holdfast.models.wire.counting import CONVERSE, MESSAGES, RESPONSES, Counting, gemini
from holdfast.net.client import HttpClient
from holdfast.safety.addresses import TRUSTED
from holdfast.types import (
    AssistantMessage,
    Delta,
    Document,
    Image,
    Message,
    Price,
    ProviderTool,
    Text,
    ToolSpec,
    UserMessage,
)

WORDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=3000)
TALKS = st.lists(WORDS, min_size=1, max_size=4)
LOOK = ToolSpec(name="look", description="Looks." * 20, parameters={"type": "object", "properties": {}})


def png(width: int, height: int) -> bytes:
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + bytes(200_000)


def talk(*words: str, instructions: str = "Be kind.", **more: object) -> ModelRequest:
    messages: list[Message] = [UserMessage((Text(each),)) for each in words]
    return ModelRequest(instructions=instructions, messages=messages, **more)  # type: ignore[arg-type]


@final
class Counted(Model):
    """A model whose provider counts, or fails to; it measures a request as another one does."""

    def __init__(self, measure: Model, said: int | ModelError | None) -> None:
        self._measure = measure
        self._said = said
        self.asked = 0

    @property
    def name(self) -> str:
        return "made/up"

    @property
    def price(self) -> Price | None:
        return None

    @property
    def max_output_tokens(self) -> int | None:
        return None

    def check(self) -> None: ...

    def fresh(self) -> Model:
        return self

    def size(self, request: ModelRequest) -> int:
        return self._measure.size(request)

    def stream(self, request: ModelRequest) -> AsyncGenerator[list[Delta] | AssistantMessage, None]:
        raise AssertionError("nobody streams here")

    async def count(self, request: ModelRequest) -> int | None:
        self.asked += 1
        if isinstance(self._said, ModelError):
            raise self._said
        return self._said


def counted(said: int | ModelError | None = None) -> Counted:
    return Counted(AnthropicModel("m", HttpClient(TRUSTED)), said)


def run(coming: object) -> TokenCount:
    """Returns what comes of something that waits for nobody."""
    try:
        coming.send(None)  # type: ignore[attr-defined]
    except StopIteration as done:
        return done.value
    raise AssertionError("it waited")


def estimate(model: Model, request: ModelRequest, estimator: TokenEstimator | None = None) -> TokenCount:
    return run(count_tokens(model, request, estimator or TokenEstimator(), ask=False))


@pytest.mark.requirement("counting:falls-back")
async def test_only_who_is_to_be_asked_is_and_the_count_is_exact() -> None:
    model, request = counted(1234), talk("hi")
    found = await count_tokens(model, request, TokenEstimator(), ask=False)
    assert (found.exact, model.asked) == (False, 0)
    found = await count_tokens(model, request, TokenEstimator(), ask=True, window=2000)
    assert (found.tokens, found.exact, found.model, found.window) == (1234, True, "made/up", 2000)


@pytest.mark.requirement("counting:falls-back")
@pytest.mark.parametrize("said", [None, RateLimited("no"), ServerError("no"), InvalidRequest("no"), ModelTimeout("no")])
async def test_a_provider_that_gives_no_count_leaves_an_estimate(said: ModelError | None) -> None:
    request = talk("hi" * 500)
    found = await count_tokens(counted(said), request, TokenEstimator(), ask=True)
    assert found == estimate(counted(), request)
    assert not found.exact
    assert 400 <= found.tokens <= 1100


@pytest.mark.requirement("counting:falls-back")
async def test_a_key_that_is_refused_is_heard_of() -> None:
    with pytest.raises(AuthFailed, match="no key"):
        await count_tokens(counted(AuthFailed("no key")), talk("hi"), TokenEstimator(), ask=True)
    assert not (await count_tokens(counted(AuthFailed("no key")), talk("hi"), TokenEstimator(), ask=False)).exact


@pytest.mark.requirement("counting:never-below")
@settings(deadline=None)
@given(rates=st.lists(st.floats(0.05, 1.0), min_size=1, max_size=40), top=st.floats(0.05, 1.0), talks=TALKS)
def test_an_estimate_is_never_below_the_rate_all_remembered_calls_had_nor_much_above(
    rates: list[float], top: float, talks: list[str]
) -> None:
    estimator, model, request = TokenEstimator(), counted(), talk(*talks)
    for rate in rates:
        estimator.learn("made/up", 100_000, int(100_000 * rate))
    for _ in range(32):
        estimator.learn("made/up", 100_000, int(100_000 * top))
    size, found = model.size(request), estimate(model, request, estimator).tokens
    assert min(size, int(size * top * 0.9999)) <= found <= size * top * 1.01 + 1


@pytest.mark.requirement("counting:never-below")
@settings(deadline=None)
@given(talks=TALKS, rate=st.floats(0.05, 1.0))
def test_counts_that_were_asked_for_teach_the_estimates(talks: list[str], rate: float) -> None:
    estimator, request = TokenEstimator(), talk("x" * 600, *talks)
    size = counted().size(request)
    tokens = max(1, round(size * rate))
    for _ in range(32):
        run(count_tokens(counted(tokens), request, estimator, ask=True))
    assert tokens - 1 <= estimate(counted(), request, estimator).tokens <= tokens + 1


@pytest.mark.requirement("counting:never-below", "counting:attachments")
@settings(deadline=None)
@given(talks=TALKS)
def test_nobody_is_estimated_at_more_than_the_bound_that_money_is_reserved_by(talks: list[str]) -> None:
    parts = (Text("see"), Image("image/png", png(2000, 2000)), Document("application/pdf", b"%PDF-1.7" * 400))
    for request in (talk(*talks), ModelRequest(instructions="", messages=[UserMessage(parts)])):
        assert estimate(counted(), request).tokens <= counted().size(request)


@pytest.mark.requirement("counting:attachments")
def test_pictures_count_by_their_pixels_and_documents_by_their_pages() -> None:
    assert attachment_tokens(Image("image/png", png(750, 1000))) == 1000
    assert attachment_tokens(Image("image/png", png(8000, 8000))) == 1600, "a larger one is made smaller"
    assert attachment_tokens(Image("image/png", png(3, 3))) == 85
    assert attachment_tokens(Image("image/png", b"damaged")) == 1600
    pages = b"<< /Type /Pages /Count 3 >>" + b"<< /Type /Page /Parent 1 0 R >>" * 3
    assert attachment_tokens(Document("application/pdf", b"%PDF-1.4" + pages)) == 9000
    assert attachment_tokens(Document("application/pdf", b"%PDF-1.7" + bytes(300_000))) == 15_000


@pytest.mark.requirement("counting:attachments")
def test_bytes_of_a_picture_are_no_text_and_teach_nothing_but_a_text_file_is_text() -> None:
    model, estimator = counted(50_000), TokenEstimator()
    bare = talk("see", instructions="")
    words = ModelRequest(
        instructions="", messages=[UserMessage((Text("see"), Document("text/plain", b"word " * 1000)))]
    )
    seen = ModelRequest(instructions="", messages=[UserMessage((Text("see"), Image("image/png", png(750, 1000))))])
    assert estimate(model, seen).tokens == estimate(model, bare).tokens + 1000
    assert estimate(model, words).tokens > estimate(model, bare).tokens + 1500
    assert run(count_tokens(model, seen, estimator, ask=True)).exact
    searching = talk("x" * 5000, provider_tools=(ProviderTool("web_search"),))
    assert run(count_tokens(model, searching, estimator, ask=True)).exact
    assert estimator.rate("made/up") == TokenEstimator().rate("made/up")


@pytest.mark.requirement("counting:shares")
@settings(deadline=None)
@given(
    talks=TALKS,
    instructions=WORDS,
    tools=st.booleans(),
    picture=st.booleans(),
    said=st.none() | st.integers(0, 10**7),
)
def test_the_shares_of_a_count_add_up_to_it(
    talks: list[str], instructions: str, tools: bool, picture: bool, said: int | None
) -> None:
    request = talk(*talks, instructions=instructions, tools=(LOOK,) if tools else ())
    if picture:
        request = ModelRequest(
            instructions=instructions,
            messages=[*request.messages, UserMessage((Image("image/png", png(9, 9)),))],
            tools=request.tools,
        )
    found = run(count_tokens(counted(said), request, TokenEstimator(), ask=said is not None))
    shares = found.shares
    assert shares.instructions + shares.tools + shares.messages + shares.attachments == found.tokens
    assert min(shares.instructions, shares.tools, shares.messages, shares.attachments) >= 0
    if not tools:
        assert not shares.tools
    if not picture:
        assert not shares.attachments


@pytest.mark.requirement("counting:shares")
def test_who_takes_most_of_the_request_has_the_largest_share() -> None:
    shares = estimate(counted(), talk("hi", instructions="Be kind. " * 500, tools=(LOOK,))).shares
    assert shares.instructions > shares.tools > shares.messages > 0
    shares = estimate(counted(), talk("Tell me. " * 500, tools=(LOOK,))).shares
    assert shares.messages > shares.tools > shares.instructions


@pytest.mark.requirement("counting:falls-back")
async def test_who_has_no_place_for_counts_is_not_asked() -> None:
    async with HttpClient(TRUSTED) as client:
        for model in (OpenAIModel("m", client), CohereModel("m", client), OllamaModel("m", client)):
            assert await model.count(talk("hi")) is None
        asked = (
            AnthropicModel("m", client),
            ResponsesModel("m", client),
            GoogleModel("m", client),
            BedrockModel("m", client, env={}),
        )
        assert all(model.counting is not None for model in asked)


@pytest.mark.requirement("counting:exchange")
@pytest.mark.parametrize("how", [MESSAGES, RESPONSES, CONVERSE, gemini("models/m")], ids=lambda how: how.counts)
@pytest.mark.parametrize(
    "said", [b"", b"[]", b"{}", b"<html>", b"\xff", b"[" * 100_000, b"{%b:-1}", b"{%b:1.5}", b'{%b:"1"}']
)
def test_an_answer_that_says_no_count_is_none(how: Counting, said: bytes) -> None:
    assert how.read(said.replace(b"%b", b'"%b"' % how.says.encode())) is None
    assert how.read(b'{"more":[1],"%b":12}' % how.says.encode()) == 12
