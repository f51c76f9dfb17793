"""Long lists of texts against a server on loopback: batches, failures in the middle, waiting, money."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest
from tests.embedding_server import Spoil, Vectors, vector_of, vector_server
from tests.loopback import answer

from holdfast.errors import AuthFailed, ContextOverflow, Malformed, ModelError, RateLimited, ServerError, Unreachable
from holdfast.models.embedding.finding import find_embedder
from holdfast.models.embedding.port import Embedder, Embeddings, EmbedRequest, partial_of
from holdfast.net.client import HttpClient
from holdfast.safety.addresses import TRUSTED
from holdfast.testing.clock import FakeClock
from holdfast.types import Price

SMALL = "openai/text-embedding-3-small"


@asynccontextmanager
async def embedding(
    spec: str, spoil: Spoil | None = None, *, clock: FakeClock | None = None, pause: asyncio.Event | None = None
) -> AsyncGenerator[tuple[Embedder, Vectors]]:
    async with vector_server(spoil, pause=pause) as server, HttpClient(TRUSTED) as client:
        yield find_embedder(spec, client, server.env, clock=clock), server


def texts(count: int) -> list[str]:
    return [f"text {number}" for number in range(count)]


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not reached():  # noqa: ASYNC110 - of a server and a clock that know nothing of events
            await asyncio.sleep(0)


async def ended(work: asyncio.Task[Embeddings], clock: FakeClock, *, within: float) -> Embeddings:
    """Returns what the work comes to, moving the clock only while nobody but it is waited for."""
    while not work.done():
        if clock.waiting:
            assert clock.monotonic() < within
            await clock.advance(0.25)
        await asyncio.sleep(0)
    return await work


def refusal(status: str, headers: str = "", words: str = "no") -> bytes:
    return answer(f'{{"error": {{"message": "{words}"}}}}'.encode(), status, headers)


@pytest.mark.requirement("models:embeddings-batches")
async def test_five_thousand_texts_go_out_in_three_requests_and_are_numbered_across_them() -> None:
    told: list[tuple[int, int]] = []
    async with embedding(SMALL) as (embedder, server):
        request = EmbedRequest(texts=texts(5000), progress=lambda done, total: told.append((done, total)))
        done = await embedder.embed(request)
    assert [len(asked["input"]) for asked in server.asked] == [2048, 2048, 904]
    assert [each.index for each in done.embeddings] == list(range(5000))
    assert list(done.embeddings[4999].values) == vector_of("text 4999")
    assert told[-1] == (5000, 5000)
    assert len(told) == 3


@pytest.mark.requirement("models:embeddings-batches")
async def test_a_failing_third_batch_leaves_the_vectors_of_the_first_two() -> None:
    def third_fails(number: int, request: object, asked: dict[str, list[str]]) -> bytes | None:
        return refusal("400 Bad Request") if "text 4096" in asked["input"] else None

    async with embedding(SMALL, third_fails) as (embedder, server):
        with pytest.raises(ModelError, match="4096 of 5000 texts have their vectors") as failed:
            await embedder.embed(EmbedRequest(texts=texts(5000)))
    done = partial_of(failed.value)
    assert done is not None
    assert [each.index for each in done.embeddings] == list(range(4096))
    assert done.usage is not None
    assert done.usage.input_tokens == 2 * 4096
    assert done.cost == 2 * 4096 * 20  # $0.02 for a million: 20 nanodollars each
    assert len(server.asked) == 3, "a refusal is not tried again"


@pytest.mark.requirement("models:embeddings-batches")
async def test_a_failing_first_batch_leaves_what_came_after_it_with_its_own_indices() -> None:
    def first_fails(number: int, request: object, asked: dict[str, list[str]]) -> bytes | None:
        return refusal("401 Unauthorized") if "text 0" in asked["input"] else None

    async with embedding("openai/any", first_fails) as (embedder, _):
        with pytest.raises(AuthFailed) as failed:
            await embedder.embed(EmbedRequest(texts=texts(100)))
    done = partial_of(failed.value)
    assert done is not None
    assert {each.index for each in done.embeddings} <= set(range(32, 100))
    assert all(list(each.values) == vector_of(f"text {each.index}") for each in done.embeddings)


@pytest.mark.requirement("embedding:few-at-once")
async def test_at_most_four_requests_are_under_way() -> None:
    pause = asyncio.Event()
    async with embedding("openai/any", pause=pause) as (embedder, server):
        work = asyncio.create_task(embedder.embed(EmbedRequest(texts=texts(32 * 10))))
        await until(lambda: server.at_once == 4)
        for _ in range(50):
            await asyncio.sleep(0)
        assert server.most_at_once == 4
        pause.set()
        assert len((await work).embeddings) == 320
        assert server.most_at_once <= 4


@pytest.mark.requirement("embedding:few-at-once")
async def test_after_a_failure_for_good_nothing_more_is_sent() -> None:
    async with embedding("openai/any", lambda *_: refusal("403 Forbidden")) as (embedder, server):
        with pytest.raises(AuthFailed) as failed:
            await embedder.embed(EmbedRequest(texts=texts(32 * 50)))
    assert len(server.asked) <= 4
    done = partial_of(failed.value)
    assert done is not None
    assert done.embeddings == []


@pytest.mark.requirement("embedding:batch-bounds")
async def test_long_texts_make_smaller_requests_so_that_no_request_has_too_many_tokens() -> None:
    long = "x" * 100_000  # at most as many tokens as bytes
    async with embedding(SMALL) as (embedder, server):
        await embedder.embed(EmbedRequest(texts=[long, long, long, "é" * 100_000, "short", "y" * 400_000, "z"]))
    assert sorted(len(asked["input"]) for asked in server.asked) == [1, 1, 2, 3]
    assert max(sum(len(text.encode()) for text in asked["input"]) for asked in server.asked) == 400_000


@pytest.mark.requirement("embedding:batch-bounds")
@pytest.mark.parametrize(
    ("spec", "most"),
    [("google/gemini-embedding-001", 100), ("cohere/embed-v4.0", 96), ("cohere/embed-english-v3.0", 96)],
)
async def test_each_known_model_gets_as_many_texts_as_it_takes(spec: str, most: int) -> None:
    async with embedding(spec) as (embedder, server):
        await embedder.embed(EmbedRequest(texts=texts(most + 1)))
    key = "requests" if spec.startswith("google") else "texts"
    assert [len(asked[key]) for asked in server.asked] == [most, 1]


@pytest.mark.requirement("embedding:retries")
async def test_a_retry_waits_as_long_as_the_server_asks() -> None:
    clock = FakeClock()

    def once(number: int, request: object, asked: object) -> bytes | None:
        return refusal("429 Too Many Requests", "Retry-After: 7\r\n") if number == 0 else None

    async with embedding("cohere/any", once, clock=clock) as (embedder, server):
        work = asyncio.create_task(embedder.embed(EmbedRequest(texts=["a"])))
        await until(lambda: clock.waiting == 1)
        await clock.advance(6.9)
        assert len(server.asked) == 1
        done = await ended(work, clock, within=8)
    assert len(done.embeddings) == 1
    assert len(server.asked) == 2


@pytest.mark.requirement("embedding:retries")
async def test_a_server_that_wants_more_than_a_minute_of_peace_has_refused() -> None:
    async with embedding(
        "ollama/any", lambda *_: refusal("429 Too Many", "Retry-After: 61\r\n"), clock=FakeClock()
    ) as (embedder, server):
        with pytest.raises(RateLimited) as failed:
            await embedder.embed(EmbedRequest(texts=["a"]))
    assert failed.value.retry_after == 61
    assert len(server.asked) == 1


@pytest.mark.requirement("embedding:retries")
async def test_a_server_that_fails_is_asked_four_times_with_growing_pauses() -> None:
    clock = FakeClock()
    async with embedding("google/any", lambda *_: refusal("500 Oops"), clock=clock) as (embedder, server):
        work = asyncio.create_task(embedder.embed(EmbedRequest(texts=["a"])))
        with pytest.raises(ServerError):
            await ended(work, clock, within=10)
    assert len(server.asked) == 4
    assert clock.monotonic() >= 0.5 + 1 + 2


@pytest.mark.requirement("embedding:retries")
async def test_a_broken_answer_is_asked_for_once_more() -> None:
    clock = FakeClock()

    def once(number: int, request: object, asked: object) -> bytes | None:
        return answer(b"<html>") if number == 0 else None

    async with embedding("openai/any", once, clock=clock) as (embedder, server):
        done = await ended(asyncio.create_task(embedder.embed(EmbedRequest(texts=["a"]))), clock, within=2)
    assert (len(done.embeddings), len(server.asked)) == (1, 2)


@pytest.mark.requirement("embedding:retries")
async def test_nobody_at_the_address_is_an_error_that_names_the_variable_or_the_address() -> None:
    clock = FakeClock()
    async with embedding("openai/any") as (_, server):
        env = server.env
    async with HttpClient(TRUSTED) as client:
        embedder = find_embedder("ollama/any", client, env, clock=clock)
        with pytest.raises(Unreachable, match="check that it runs"):
            await ended(asyncio.create_task(embedder.embed(EmbedRequest(texts=["a"]))), clock, within=10)


@pytest.mark.requirement("embedding:catalogue")
async def test_a_known_model_has_a_cost_an_unknown_one_has_none_and_a_users_price_goes_first() -> None:
    async with vector_server() as server, HttpClient(TRUSTED) as client:
        request = EmbedRequest(texts=["three small words"])
        known = await find_embedder("openai/text-embedding-3-large", client, server.env).embed(request)
        unknown = await find_embedder("openai/new", client, server.env).embed(request)
        prices = {"openai/new": Price.per_million(1, 0)}
        priced = await find_embedder("openai/new", client, server.env, prices).embed(request)
    assert known.usage is not None
    assert (known.usage.input_tokens, known.cost) == (3, 390)
    assert (unknown.usage, unknown.cost) == (known.usage, None)
    assert priced.cost == 3000


@pytest.mark.requirement("embedding:catalogue")
@pytest.mark.parametrize("usage", [b"", b', "usage": null', b', "usage": {"prompt_tokens": -3}'])
async def test_tokens_that_a_server_does_not_say_are_unknown_and_so_is_the_cost(usage: bytes) -> None:
    body = b'{"data": [{"embedding": [1, 2]}]%b}' % usage
    async with embedding(SMALL, lambda *_: answer(body)) as (embedder, _):
        done = await embedder.embed(EmbedRequest(texts=["a"]))
    assert (done.usage, done.cost) == (None, None)
    assert list(done.embeddings[0].values) == [1, 2]


@pytest.mark.requirement("embedding:refused-before-sending")
async def test_a_text_that_is_too_long_is_named_with_its_batch_and_the_way_out() -> None:
    words = "This model's maximum context length is 8192 tokens, however you requested 9000 tokens"
    async with embedding(SMALL, lambda *_: refusal("400 Bad Request", words=words)) as (embedder, server):
        with pytest.raises(ContextOverflow, match=r"texts 0 to 1 .*8,192 tokens of one text.*split long texts"):
            await embedder.embed(EmbedRequest(texts=["a", "b"]))
    assert len(server.asked) == 1


@pytest.mark.requirement("embedding:hostile-servers")
async def test_batches_whose_vectors_differ_in_length_are_an_error_that_keeps_what_agreed() -> None:
    clock = FakeClock()

    def shorter(number: int, request: object, asked: dict[str, list[str]]) -> bytes | None:
        return answer(b'{"data": [{"embedding": [1, 2]}]}') if asked["input"] == ["text 32"] else None

    async with embedding("openai/any", shorter, clock=clock) as (embedder, _):
        work = asyncio.create_task(embedder.embed(EmbedRequest(texts=texts(33))))
        with pytest.raises(Malformed, match="dimensions") as failed:
            await ended(work, clock, within=5)
    done = partial_of(failed.value)
    assert done is not None
    assert len({len(each.values) for each in done.embeddings}) == 1
