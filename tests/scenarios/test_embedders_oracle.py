"""The official clients of four providers and ours, asked the same of the same server: what goes out, what comes in."""

from __future__ import annotations

import array
import asyncio
from typing import Any

import cohere
import ollama
import openai
import pytest
from google import genai
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.embedding_server import Vectors, vector_server

from holdfast.models.embedding.finding import find_embedder
from holdfast.models.embedding.port import Embeddings, EmbedRequest, Encoding
from holdfast.net.client import HttpClient
from holdfast.safety.addresses import TRUSTED

TEXTS = ["a lease is renewed", "Zürich 東京 🙂", 'quotes " and \\ and \n', "x"]


async def ours(server: Vectors, spec: str, **options: Any) -> Embeddings:
    async with HttpClient(TRUSTED) as client:
        return await find_embedder(spec, client, server.env).embed(EmbedRequest(texts=TEXTS, **options))


def vectors(done: Embeddings) -> list[list[float]]:
    return [list(each.values) for each in done.embeddings]


@pytest.mark.requirement("embedding:official-clients", "models:embeddings-encodings")
@pytest.mark.parametrize("dimensions", [None, 256])
async def test_openais_client_sends_the_same_and_gets_the_same_vectors(dimensions: int | None) -> None:
    async with vector_server() as server:
        mine = await ours(server, "openai/m", dimensions=dimensions)
        async with openai.AsyncOpenAI(base_url=server.env["OPENAI_BASE_URL"], api_key="k") as client:
            more: Any = {} if dimensions is None else {"dimensions": dimensions}
            theirs = await client.embeddings.create(model="m", input=TEXTS, **more)
    assert server.asked[0] == server.asked[1]
    assert server.requests[0].line == server.requests[1].line
    # The official client leaves the order to whoever reads the indices.
    assert vectors(mine) == [each.embedding for each in sorted(theirs.data, key=lambda each: each.index)]
    assert mine.usage is not None
    assert mine.usage.input_tokens == theirs.usage.prompt_tokens


@pytest.mark.requirement("embedding:official-clients", "models:embeddings-encodings")
@pytest.mark.parametrize(
    ("task", "name", "version"), [(None, None, ""), ("query", "RETRIEVAL_QUERY", "beta"), (None, None, "v9")]
)
async def test_googles_client_sends_the_same_and_gets_the_same_vectors(
    task: Any, name: str | None, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_GENAI_API_VERSION", version)
    async with vector_server() as server:
        server.env["GOOGLE_GENAI_API_VERSION"] = version
        mine = await ours(server, "google/m", task=task, dimensions=256)
        client = genai.Client(api_key="g-key", http_options=types.HttpOptions(base_url=server.server.url))
        config = types.EmbedContentConfig(task_type=name, output_dimensionality=256)
        contents: Any = TEXTS
        theirs = await asyncio.to_thread(client.models.embed_content, model="m", contents=contents, config=config)
        client.close()
    assert server.requests[0].line == server.requests[1].line
    assert server.requests[0].headers["x-goog-api-key"] == server.requests[1].headers["x-goog-api-key"]
    plain = [_without_roles(asked) for asked in server.asked]
    assert plain[0] == plain[1]
    assert vectors(mine) == [each.values for each in theirs.embeddings or []]


def _without_roles(asked: dict[str, Any]) -> dict[str, Any]:
    """Returns a request without what the official client adds and the server needs not: whose words they are."""
    for each in asked["requests"]:
        each["content"].pop("role", None)
    return asked


@pytest.mark.requirement("embedding:official-clients", "models:embeddings-encodings")
@pytest.mark.parametrize("encoding", ["float", "base64", "int8", "uint8", "binary", "ubinary"])
async def test_coheres_client_sends_the_same_and_gets_the_same_numbers(encoding: Encoding) -> None:
    async with vector_server() as server:
        mine = await ours(server, "cohere/m", task="query", dimensions=256, encoding=encoding)
        with cohere.ClientV2(api_key="co-key", base_url=server.server.url) as client:
            theirs = await asyncio.to_thread(
                client.embed,
                model="m",
                texts=TEXTS,
                input_type="search_query",
                embedding_types=[encoding],
                output_dimension=256,
                truncate="NONE",
            )
    assert server.asked[0] == server.asked[1]
    assert server.requests[0].line == server.requests[1].line
    assert server.requests[0].headers["authorization"] == server.requests[1].headers["authorization"]
    came: Any = getattr(theirs.embeddings, "float_" if encoding == "float" else encoding)
    if encoding == "base64":
        import base64

        assert [each.raw for each in mine.embeddings] == [base64.b64decode(each) for each in came]
        came = [array.array("f", base64.b64decode(each)).tolist() for each in came]
    if "binary" in encoding:
        form = "b" if encoding == "binary" else "B"
        assert [array.array(form, each.raw).tolist() for each in mine.embeddings] == came
    else:
        assert vectors(mine) == came
    billed = theirs.meta and theirs.meta.billed_units and theirs.meta.billed_units.input_tokens
    assert mine.usage is not None
    assert mine.usage.input_tokens == billed


@pytest.mark.requirement("embedding:official-clients", "models:embeddings-encodings")
async def test_ollamas_client_sends_the_same_and_gets_the_same_vectors() -> None:
    async with vector_server() as server:
        mine = await ours(server, "ollama/m", dimensions=256)
        client = ollama.AsyncClient(host=server.env["OLLAMA_HOST"])
        theirs = await client.embed(model="m", input=TEXTS, truncate=False, dimensions=256)
        await client._client.aclose()  # pyright: ignore[reportPrivateUsage]
    assert server.asked[0] == server.asked[1]
    assert server.requests[0].line == server.requests[1].line
    assert vectors(mine) == [list(each) for each in theirs.embeddings]
    assert mine.usage is not None
    assert mine.usage.input_tokens == theirs.prompt_eval_count


@pytest.mark.requirement("embedding:official-clients")
@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40))
def test_packed_floats_always_come_out_as_openais_client_has_them(numbers: list[float]) -> None:
    import base64

    import msgspec
    from openai.lib._parsing._embeddings import parse_embedding_response  # pyright: ignore[reportPrivateUsage]
    from openai.types import CreateEmbeddingResponse

    from holdfast.models.embedding.vectors import read_vector

    data = base64.b64encode(array.array("f", numbers).tobytes()).decode()
    item: Any = {"object": "embedding", "index": 0, "embedding": data}
    usage: Any = {"prompt_tokens": 1, "total_tokens": 1}
    answer = CreateEmbeddingResponse.model_construct(object="list", data=[], model="m", usage=usage)
    answer.data = [openai.types.Embedding.model_construct(**item)]
    theirs = parse_embedding_response(answer, encoding_format=openai.omit)
    mine = read_vector(msgspec.Raw(msgspec.json.encode(data)), "float", 0)
    assert list(mine.values) == theirs.data[0].embedding
    spelled = read_vector(msgspec.Raw(msgspec.json.encode(numbers)), "base64", 0)
    assert (list(spelled.values), spelled.raw) == (list(mine.values), base64.b64decode(data))
