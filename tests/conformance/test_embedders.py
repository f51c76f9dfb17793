"""Every embedder passes the one kit: those of providers against a server on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.embedding_server import vector_server
from tests.static_model import make_static_model

from holdfast.models.embedding.finding import find_embedder
from holdfast.models.embedding.hashing import HashingEmbedder
from holdfast.models.embedding.port import Embedder, Embeddings, EmbedRequest
from holdfast.net.client import HttpClient
from holdfast.safety.addresses import TRUSTED
from holdfast.testing.conformance.models import embedders as kit

SPECS = (
    "hashing/256",
    "local/model",
    "openai/any",
    "google/any",
    "cohere/any",
    "ollama/any",
)


@pytest.fixture(params=SPECS)
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[kit.Make]:
    spec: str = request.param
    if spec.startswith("local/"):
        spec = f"local/{make_static_model(tmp_path / 'model')}"
    async with vector_server() as server, HttpClient(TRUSTED) as client:

        async def make_one() -> Embedder:
            return find_embedder(spec, client, server.env)

        yield make_one


@pytest.mark.requirement("embedding:one-kit")
@pytest.mark.parametrize("check", kit.CHECKS, ids=lambda check: check.__name__)
async def test_every_embedder_passes_the_kit(check: kit.Check, make: kit.Make) -> None:
    await check(make)


class Faulty:
    """A good embedder but for what becomes of its requests and answers."""

    def __init__(self, wrong: Wrong) -> None:
        self._inner = HashingEmbedder(256)
        self._wrong = wrong

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        return await self._wrong(self._inner, request)


Wrong = Callable[[HashingEmbedder, EmbedRequest], Awaitable[Embeddings]]


async def backwards(inner: HashingEmbedder, request: EmbedRequest) -> Embeddings:
    done = await inner.embed(request)
    return replace(done, embeddings=done.embeddings[::-1])


async def counting_anew(inner: HashingEmbedder, request: EmbedRequest) -> Embeddings:
    done = await inner.embed(request)
    return replace(done, embeddings=[replace(each, index=each.index % 100) for each in done.embeddings])


async def deaf_to_dimensions(inner: HashingEmbedder, request: EmbedRequest) -> Embeddings:
    return await inner.embed(replace(request, dimensions=None))


async def deaf_to_tasks(inner: HashingEmbedder, request: EmbedRequest) -> Embeddings:
    return await inner.embed(replace(request, task=None))


async def deaf_to_encodings(inner: HashingEmbedder, request: EmbedRequest) -> Embeddings:
    return await inner.embed(replace(request, encoding="float"))


async def silent(inner: HashingEmbedder, request: EmbedRequest) -> Embeddings:
    return await inner.embed(replace(request, progress=None))


async def lenient(inner: HashingEmbedder, request: EmbedRequest) -> Embeddings:
    return await inner.embed(replace(request, texts=[str(text) or "?" for text in request.texts]))


async def guessing(inner: HashingEmbedder, request: EmbedRequest) -> Embeddings:
    return replace(await inner.embed(request), usage=None)


@pytest.mark.requirement("embedding:one-kit")
@pytest.mark.parametrize(
    ("wrong", "caught_by"),
    [
        (backwards, "each_text_has_its_vector_in_its_place"),
        (counting_anew, "long_lists_keep_their_order"),
        (deaf_to_dimensions, "dimensions_are_given_or_refused"),
        (deaf_to_tasks, "tasks_are_known_or_refused"),
        (deaf_to_encodings, "encodings_are_given_or_refused"),
        (silent, "progress_is_told_up_to_the_end"),
        (silent, "what_progress_raises_reaches_the_caller"),
        (lenient, "what_is_no_text_is_refused"),
        (guessing, "the_bill_is_whole_or_unknown"),
    ],
)
async def test_the_kit_catches_each_fault(wrong: Wrong, caught_by: str) -> None:
    async def make() -> Any:
        return Faulty(wrong)

    check = next(check for check in kit.CHECKS if check.__name__ == caught_by)
    with pytest.raises((AssertionError, IndexError)):
        await check(make)
