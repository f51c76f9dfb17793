"""Servers that answer a request for vectors with something else: one clear error each, in bounded memory."""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc

import pytest
from tests.embedding_server import packed, vector_server
from tests.loopback import Request, Server, answer, serving

from holdfast.errors import AuthFailed, ConnectionFailed, Malformed, ModelError, ModelTimeout
from holdfast.models.embedding.finding import find_embedder
from holdfast.models.embedding.port import EmbedRequest
from holdfast.net.client import HttpClient
from holdfast.net.settings import NetSettings
from holdfast.safety.addresses import TRUSTED
from holdfast.testing.clock import FakeClock

FLOATS = [0.5, -0.5]


def items(*vectors: object, indices: list[object] | None = None) -> bytes:
    places = range(len(vectors)) if indices is None else indices
    return json.dumps(
        {"data": [{"embedding": vector, "index": at} for vector, at in zip(vectors, places, strict=True)]}
    ).encode()


async def failing(spec: str, reply: bytes, *, encoding: str = "float", dimensions: int | None = None) -> ModelError:
    """Returns the error of embedding two texts with a server that always answers so."""
    clock = FakeClock()
    async with vector_server(lambda *_: reply) as server, HttpClient(TRUSTED) as client:
        embedder = find_embedder(spec, client, server.env, clock=clock)
        request = EmbedRequest(texts=["a", "b"], encoding=encoding, dimensions=dimensions)  # type: ignore[arg-type]
        work = asyncio.create_task(embedder.embed(request))
        async with asyncio.timeout(20):
            while not work.done():
                if clock.waiting:
                    await clock.advance(1)
                await asyncio.sleep(0)
    error = work.exception()
    assert isinstance(error, ModelError), error
    assert len(str(error)) < 1000
    assert str(error).isprintable()
    return error


@pytest.mark.requirement("embedding:hostile-servers")
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (items(FLOATS), "1 vectors for 2 texts"),
        (items(FLOATS, FLOATS, FLOATS), "3 vectors for 2 texts"),
        (items(FLOATS, FLOATS, indices=[0, 0]), "two vectors have the index 0"),
        (items(FLOATS, FLOATS, indices=[0, 2]), "has the index 2"),
        (items(FLOATS, FLOATS, indices=[0, -1]), "has the index -1"),
        (items(FLOATS, FLOATS, indices=[0, None]), "has the index None"),
        (items(FLOATS, [0.5, 1e39]), "vector 1 holds a number that is infinite"),
        (items(FLOATS, packed([1.0, float("nan")])), "vector 1 holds a number that is infinite, none"),
        (items(packed([float("inf"), float("-inf")]), FLOATS), "vector 0 holds a number"),
        (b'{"data": [{"embedding": [1e999]}, {"embedding": [1]}]}', "vector 0 is no vector"),
        (b'{"data": [{"embedding": [NaN]}, {"embedding": [1]}]}', "cannot be used"),
        (items(FLOATS, []), "vector 1 has 0 dimensions"),
        (items(FLOATS, [0.5]), "has 1 dimensions"),
        (items(FLOATS, "AAA="), "vector 1 has 2 bytes"),
        (items(FLOATS, "§§"), "vector 1 is no vector"),
        (items(FLOATS, None), "vector 1 is no vector"),
        (items(FLOATS, [[1.0]]), "vector 1 is no vector"),
        (items(FLOATS, ["1"]), "vector 1 is no vector"),
        (b"[" * 100_000, "cannot be used"),
        (b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "cannot be used"),
        (b"", "cannot be used"),
        (b"{}", "cannot be used"),
        (b'{"data": "\xff\xfe"}', "cannot be used"),
        (b'{"data": [{"embedding": "\xff\xfe"}, {"embedding": [1]}]}', "vector 0"),
        (b"<!doctype html><title>Sign in</title><script>x</script>", "Sign in"),
    ],
)
async def test_an_answer_that_is_none_is_one_error_that_says_what_is_wrong(body: bytes, words: str) -> None:
    error = await failing("openai/any", answer(body))
    assert isinstance(error, Malformed)
    assert words in str(error)
    assert "OPENAI_BASE_URL" in str(error)


@pytest.mark.requirement("embedding:hostile-servers")
@pytest.mark.parametrize(
    ("spec", "body", "encoding"),
    [
        ("google/any", b'{"embeddings": [{"values": [1]}]}', "float"),
        ("google/any", b'{"embedding": {"values": [1]}}', "float"),
        ("ollama/any", b'{"embeddings": [[1, 2], [3]]}', "float"),
        ("ollama/any", b'{"embedding": [1, 2]}', "float"),
        ("cohere/any", b'{"embeddings": {"float": [[1], [2]]}}', "int8"),
        ("cohere/any", b'{"embeddings": {"int8": [[127], [128]]}}', "int8"),
        ("cohere/any", b'{"embeddings": {"uint8": [[-1], [1]]}}', "uint8"),
        ("cohere/any", b'{"embeddings": {"binary": [[0.5], [1]]}}', "binary"),
        ("cohere/any", b'{"embeddings": {"ubinary": [[1e99], [1]]}}', "ubinary"),
        ("cohere/any", b'{"embeddings": {"base64": ["AAAA", "AAAA"]}}', "base64"),
        ("cohere/any", b'{"embeddings": [[1], [2]]}', "float"),
    ],
)
async def test_other_providers_answers_are_checked_alike(spec: str, body: bytes, encoding: str) -> None:
    assert isinstance(await failing(spec, answer(body), encoding=encoding), Malformed)


@pytest.mark.requirement("embedding:hostile-servers")
async def test_a_server_that_ignores_the_dimensions_it_is_asked_for_is_found_out() -> None:
    error = await failing("openai/any", answer(items(FLOATS, FLOATS)), dimensions=3)
    assert isinstance(error, Malformed)
    assert "has 2 dimensions, and 3 were asked for" in str(error)


PIECE = b" " * 65_536


@pytest.mark.requirement("embedding:hostile-servers")
@pytest.mark.parametrize("packed", [False, True])
async def test_a_body_of_fifty_megabytes_is_dropped_before_it_is_held(packed: bool) -> None:
    bomb = gzip.compress(b'{"data": [' + PIECE * 800, 1)

    async def endless(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        if packed:
            writer.write(answer(bomb, headers="Content-Encoding: gzip\r\n"))
            return
        writer.write(answer(b'{"data": [', length=52_000_000))
        for _ in range(790):
            writer.write(PIECE)
            await writer.drain()

    async with serving(endless) as server, HttpClient(TRUSTED) as client:
        clock = FakeClock()
        embedder = find_embedder("openai/m", client, {"OPENAI_BASE_URL": server.url}, clock=clock)
        tracemalloc.start()
        try:
            work = asyncio.create_task(embedder.embed(EmbedRequest(texts=["a", "b"])))
            async with asyncio.timeout(20):
                while not work.done():
                    await clock.advance(1)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    error = work.exception()
    assert isinstance(error, Malformed)
    assert "bytes" in str(error)
    assert most < 12_000_000


@pytest.mark.requirement("embedding:hostile-servers")
@pytest.mark.parametrize("silent", [False, True])
async def test_a_server_that_breaks_off_or_falls_silent_is_an_error_and_no_hang(silent: bool) -> None:
    async def half(request: Request, writer: asyncio.StreamWriter, server: Server) -> None:
        writer.write(answer(b'{"data"', length=500))
        if silent:
            await asyncio.Event().wait()
        await writer.drain()
        writer.close()

    async with serving(half) as server, HttpClient(TRUSTED, NetSettings(silence_timeout=0.2)) as client:
        clock = FakeClock()
        embedder = find_embedder("openai/m", client, {"OPENAI_BASE_URL": server.url}, clock=clock)
        work = asyncio.create_task(embedder.embed(EmbedRequest(texts=["a"])))
        async with asyncio.timeout(10):
            while not work.done():
                await clock.advance(1)
    assert isinstance(work.exception(), ModelTimeout if silent else ConnectionFailed)
    assert server.connections == 4


@pytest.mark.requirement("embedding:keys-hidden")
@pytest.mark.parametrize(
    ("spec", "key"), [("openai/m", "sk-openai"), ("google/m", "g-key"), ("cohere/m", "co-key"), ("cohere/m", "co-key")]
)
async def test_a_key_that_the_server_repeats_is_not_shown(spec: str, key: str) -> None:
    body = json.dumps({"error": {"message": f"bad key {key}"}, "message": f"bad key {key}"}).encode()
    refused = await failing(spec, answer(body, "401 Unauthorized"))
    assert isinstance(refused, AuthFailed)
    nonsense = await failing(spec, answer(f"<html>{key}</html>".encode()))
    overlong = await failing(spec, answer(f"maximum context length is 5 tokens {key}".encode(), "400 Bad"))
    for error in (refused, nonsense, overlong):
        assert key not in str(error), error
        assert "***" in str(error)
