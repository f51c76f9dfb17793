"""What reaches the providers of vectors, from which settings, and what is refused before anything is sent."""

from __future__ import annotations

import itertools

import ollama
import pytest
from tests.embedding_server import DIMENSIONS, bits, packed, vector_of, vector_server

from holdfast.errors import AuthFailed, InvalidRequest, UnknownModel, UsageError
from holdfast.models.embedding.cards import known_embedders, lookup_embedder
from holdfast.models.embedding.finding import find_embedder
from holdfast.models.embedding.port import Embedding, EmbedRequest, Encoding, Task
from holdfast.models.providers.described.hosts import ollama_url
from holdfast.net.client import HttpClient
from holdfast.safety.addresses import TRUSTED


async def embedded(spec: str, encoding: Encoding, dimensions: int | None = None) -> Embedding:
    async with vector_server() as server, HttpClient(TRUSTED) as client:
        embedder = find_embedder(spec, client, server.env)
        done = await embedder.embed(EmbedRequest(texts=["hello"], encoding=encoding, dimensions=dimensions))
    return done.embeddings[0]


@pytest.mark.requirement("models:embeddings-encodings")
@pytest.mark.parametrize("dimensions", [None, 256])
@pytest.mark.parametrize("spec", ["openai/any", "google/any", "cohere/any", "ollama/any"])
async def test_floats_come_as_they_were_sent(spec: str, dimensions: int | None) -> None:
    done = await embedded(spec, "float", dimensions)
    assert list(done.values) == vector_of("hello", dimensions or DIMENSIONS)
    assert done.raw == b""


@pytest.mark.requirement("models:embeddings-encodings")
@pytest.mark.parametrize("spec", ["openai/any", "cohere/any"])
async def test_base64_comes_as_the_same_floats_and_as_bytes_to_be_stored(spec: str) -> None:
    import base64

    done = await embedded(spec, "base64", 256)
    assert list(done.values) == vector_of("hello", 256)
    assert base64.b64encode(done.raw).decode() == packed(vector_of("hello", 256))


@pytest.mark.requirement("models:embeddings-encodings")
async def test_whole_numbers_and_bits_have_a_value_for_each_dimension_and_their_bytes() -> None:
    vector = vector_of("hello", 256)
    small, large = await embedded("cohere/any", "int8", 256), await embedded("cohere/any", "uint8", 256)
    assert list(small.values) == [int(value * 127) for value in vector]
    assert [value - 128 for value in large.values] == list(small.values)
    assert (len(small.raw), len(large.raw)) == (256, 256)
    assert list(large.raw) == list(large.values)
    signed, unsigned = await embedded("cohere/any", "binary", 256), await embedded("cohere/any", "ubinary", 256)
    assert list(unsigned.values) == [1 if value > 0 else -1 for value in vector]
    assert list(signed.values) == list(unsigned.values)
    assert list(unsigned.raw) == bits(vector)
    assert [byte ^ 128 for byte in signed.raw] == bits(vector)


@pytest.mark.requirement("embedding:requests")
async def test_each_provider_is_asked_in_its_own_words() -> None:
    async with vector_server() as server, HttpClient(TRUSTED) as client:

        async def ask(spec: str, task: Task | None, dimensions: int | None, encoding: Encoding = "float") -> None:
            embedder = find_embedder(spec, client, server.env)
            request = EmbedRequest(texts=["a", "b"], task=task, dimensions=dimensions, encoding=encoding)
            await embedder.embed(request)

        await ask("openai/any", None, None)
        await ask("openai/any", None, 256, "base64")
        await ask("google/gemini-embedding-001", "query", 256)
        await ask("cohere/embed-v4.0", "clustering", 512, "ubinary")
        await ask("cohere/any", None, None)
        await ask("ollama/org/any:latest", None, 256)
    lines = [request.line.split()[1] for request in server.requests]
    assert lines == [
        "/v1/embeddings",
        "/v1/embeddings",
        "/v1/models/gemini-embedding-001:batchEmbedContents",
        "/v2/embed",
        "/v2/embed",
        "/api/embed",
    ]
    keys = ("authorization", "x-goog-api-key")
    sent = [next((request.headers[key] for key in keys if key in request.headers), None) for request in server.requests]
    assert sent == ["Bearer sk-openai", "Bearer sk-openai", "g-key", "Bearer co-key", "Bearer co-key", None]
    one = {"model": "models/gemini-embedding-001", "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 256}
    assert server.asked == [
        {"model": "any", "input": ["a", "b"], "encoding_format": "base64"},
        {"model": "any", "input": ["a", "b"], "encoding_format": "base64", "dimensions": 256},
        {"requests": [{**one, "content": {"parts": [{"text": text}]}} for text in "ab"]},
        {
            "model": "embed-v4.0",
            "texts": ["a", "b"],
            "input_type": "clustering",
            "embedding_types": ["ubinary"],
            "truncate": "NONE",
            "output_dimension": 512,
        },
        {
            "model": "any",
            "texts": ["a", "b"],
            "input_type": "search_document",
            "embedding_types": ["float"],
            "truncate": "NONE",
        },
        {"model": "org/any:latest", "input": ["a", "b"], "truncate": False, "dimensions": 256},
    ]


@pytest.mark.requirement("embedding:requests")
async def test_the_tasks_of_google_and_cohere_have_their_names() -> None:
    tasks: tuple[Task, ...] = ("query", "document", "classification", "clustering", "similarity")
    async with vector_server() as server, HttpClient(TRUSTED) as client:
        google, cohere = (find_embedder(f"{name}/any", client, server.env) for name in ("google", "cohere"))
        for task in tasks:
            await google.embed(EmbedRequest(texts=["a"], task=task))
        for task in tasks[:4]:
            await cohere.embed(EmbedRequest(texts=["a"], task=task))
    assert [asked["requests"][0]["taskType"] for asked in server.asked[:5]] == [
        "RETRIEVAL_QUERY",
        "RETRIEVAL_DOCUMENT",
        "CLASSIFICATION",
        "CLUSTERING",
        "SEMANTIC_SIMILARITY",
    ]
    assert [asked["input_type"] for asked in server.asked[5:]] == [
        "search_query",
        "search_document",
        "classification",
        "clustering",
    ]


@pytest.mark.requirement("embedding:refused-before-sending")
@pytest.mark.parametrize(
    ("spec", "request_", "words"),
    [
        ("openai/any", EmbedRequest(texts=["a"], task="query"), "does not know the task 'query': it knows none"),
        ("cohere/any", EmbedRequest(texts=["a"], task="similarity"), "'query', 'document', 'classification' or"),
        ("ollama/any", EmbedRequest(texts=["a"], task="document"), "give no task"),
        ("openai/any", EmbedRequest(texts=["a"], encoding="int8"), "ask for 'float' or 'base64'"),
        ("google/any", EmbedRequest(texts=["a"], encoding="base64"), "ask for 'float'$"),
        ("openai/text-embedding-ada-002", EmbedRequest(texts=["a"], dimensions=256), "always have 1536 dimensions"),
        ("openai/text-embedding-3-small", EmbedRequest(texts=["a"], dimensions=3072), "ask for 256 to 1536"),
        ("openai/text-embedding-3-large", EmbedRequest(texts=["a"], dimensions=255), "ask for 256 to 3072"),
        ("cohere/embed-v4.0", EmbedRequest(texts=["a"], dimensions=300), "ask for 256, 512, 1024 or 1536"),
        ("cohere/any", EmbedRequest(texts=["a"], dimensions=300, encoding="binary"), "multiple of 8"),
        ("google/any", EmbedRequest(texts=["a"], dimensions=0), "at least 1"),
        ("openai/any", EmbedRequest(texts=["a", ""]), "text 1 .* is empty"),
        ("openai/any", EmbedRequest(texts=["\udfff"]), "text 0 .* lone surrogate"),
    ],
)
async def test_what_a_provider_cannot_do_is_never_sent(spec: str, request_: EmbedRequest, words: str) -> None:
    async with vector_server() as server, HttpClient(TRUSTED) as client:
        with pytest.raises(UsageError, match=words):
            await find_embedder(spec, client, server.env).embed(request_)
    assert server.requests == []


@pytest.mark.requirement("embedding:environment")
@pytest.mark.parametrize(
    ("spec", "env", "words"),
    [
        ("openai/m", {}, "set OPENAI_API_KEY, or OPENAI_BASE_URL"),
        ("google/m", {}, "set GOOGLE_API_KEY, or GOOGLE_GEMINI_BASE_URL"),
        ("cohere/m", {"CO_API_URL": "https://api.cohere.com/v1"}, "set CO_API_KEY, or CO_API_URL"),
        ("google/m", {"GEMINI_API_KEY": "half a\nkey"}, "set GEMINI_API_KEY to the key alone"),
        ("cohere/m", {"COHERE_API_KEY": "schlüssel"}, "set COHERE_API_KEY to the key alone"),
    ],
)
async def test_a_missing_or_impossible_key_is_named_with_its_variable(
    spec: str, env: dict[str, str], words: str
) -> None:
    async with HttpClient(TRUSTED) as client:
        embedder = find_embedder(spec, client, env)
        for attempt in (embedder.check, None):
            with pytest.raises(AuthFailed, match=words):
                attempt() if attempt else await embedder.embed(EmbedRequest(texts=["a"]))


@pytest.mark.requirement("embedding:environment")
async def test_keys_are_taken_in_the_order_of_the_official_clients_and_a_server_of_ones_own_needs_none() -> None:
    async with vector_server() as server, HttpClient(TRUSTED) as client:
        env = {name: value for name, value in server.env.items() if not name.endswith("_KEY")}
        for spec, keys in (
            ("google/m", {"GEMINI_API_KEY": "second", "GOOGLE_API_KEY": "first"}),
            ("google/m", {"GEMINI_API_KEY": "second", "GOOGLE_API_KEY": " "}),
            ("cohere/m", {"COHERE_API_KEY": "second", "CO_API_KEY": "first"}),
            ("cohere/m", {"COHERE_API_KEY": "second"}),
            ("ollama/m", {"OLLAMA_API_KEY": "only"}),
            ("openai/m", {"OPENAI_ORG_ID": "org", "OPENAI_PROJECT_ID": "proj"}),
        ):
            await find_embedder(spec, client, {**env, **keys}).embed(EmbedRequest(texts=["a"]))
    heads = [request.headers for request in server.requests]
    assert [head.get("x-goog-api-key") for head in heads[:2]] == ["first", "second"]
    sent = [head.get("authorization") for head in heads[2:]]
    assert sent == ["Bearer first", "Bearer second", "Bearer only", None]
    assert (heads[5]["openai-organization"], heads[5]["openai-project"]) == ("org", "proj")


HOSTS = ("1.2.3.4", ":56789", "h:1", "example.com", "example.com/", "[::2]", "[::2]:5", "::", "example.com:5/a/b/")


@pytest.mark.requirement("embedding:environment")
@pytest.mark.parametrize(("scheme", "host"), [("", ""), *itertools.product(("", "http://", "https://"), HOSTS)])
def test_the_address_of_ollama_is_read_as_its_own_client_reads_it(scheme: str, host: str) -> None:
    from ollama._client import _parse_host  # pyright: ignore[reportPrivateUsage]

    assert ollama.__name__ == "ollama"
    try:
        expected = _parse_host(scheme + host)
    except ValueError:
        with pytest.raises(UsageError, match="OLLAMA_HOST"):
            ollama_url(scheme + host)
        return
    assert ollama_url(scheme + host) == expected


@pytest.mark.requirement("embedding:environment")
def test_an_address_that_a_server_listens_on_is_one_to_send_to_and_nonsense_is_refused() -> None:
    assert ollama_url("0.0.0.0") == "http://127.0.0.1:11434"
    assert ollama_url("http://[::]:5/a/") == "http://[::1]:5/a"
    for nonsense in ("h:x", "http://", "ftp://h", "://h", "unix://h", "http://user:pass@h:x"):
        with pytest.raises(UsageError, match=r"OLLAMA_HOST is .*write it like") as refused:
            ollama_url(nonsense)
        assert "pass" not in str(refused.value)


@pytest.mark.requirement("embedding:catalogue")
def test_every_model_of_the_catalogue_has_its_facts_and_an_unknown_one_none() -> None:
    assert len(known_embedders()) == 7
    for name in known_embedders():
        card = lookup_embedder(name)
        assert card.price is not None
        assert card.price.input > 0
        assert card.max_tokens
        assert card.dimensions
        assert card.batch
    small = lookup_embedder("openai/text-embedding-3-small")
    assert (small.max_tokens, small.dimensions, small.min_dimensions, small.batch) == (8192, 1536, 256, 2048)
    unknown = lookup_embedder("openai/other")
    assert (unknown.price, unknown.dimensions, unknown.batch) == (None, None, None)


@pytest.mark.requirement("embedding:refused-before-sending")
@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("nobody/m", "known: 'hashing', 'local', 'openai'"),
        ("openai/", "write 'openai/<model>'"),
        ("openai", "write 'openai/<model>'"),
        ("local/", "write 'local/<folder>'"),
        ("hashing/many", "write it like 'hashing/256'"),
        ("hashing/7", "write 'hashing/8' to 'hashing/16384'"),
        ("", "no provider"),
    ],
)
async def test_a_name_that_is_none_says_what_to_write(spec: str, words: str) -> None:
    async with HttpClient(TRUSTED) as client:
        with pytest.raises(UnknownModel, match=words):
            find_embedder(spec, client, {})


@pytest.mark.requirement("embedding:refused-before-sending")
async def test_an_address_that_is_no_url_is_an_error_that_names_its_variable() -> None:
    async with HttpClient(TRUSTED) as client:
        embedder = find_embedder("openai/m", client, {"OPENAI_BASE_URL": "ftp://x"})
        with pytest.raises(InvalidRequest, match="OPENAI_BASE_URL"):
            await embedder.embed(EmbedRequest(texts=["a"]))
