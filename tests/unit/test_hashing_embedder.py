"""The embedder that needs nothing: the same bytes everywhere, and near what is near."""

from __future__ import annotations

import math
import subprocess
import sys
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import UsageError
from holdfast.models.embedding.batching import cut
from holdfast.models.embedding.hashing import HashingEmbedder
from holdfast.models.embedding.port import EmbedRequest
from holdfast.models.embedding.ranking import rank
from holdfast.models.embedding.vectors import similarity
from holdfast.types import Usage

SAMPLE = [
    "A lease lasts 30 seconds and is renewed.",
    "maxTokens of the ﬁrst Straße: 東京の天気 — Zürich, ÇA VA? 🙂",
    "same same same word",
    "x" * 5000,
    "...",
]
DIGEST = "9ec3b094c099b0d093d98acad35fbf39e46b80a69ef7d7eace2d3647181fc63e"
"""Of the vectors of the sample, at 64 dimensions: what was stored yesterday must fit what is embedded today."""
PROGRAM = """
import asyncio, hashlib, sys
from holdfast.models.embedding.hashing import HashingEmbedder
from holdfast.models.embedding.port import EmbedRequest
texts = sys.stdin.buffer.read().decode().split("\\0")
done = asyncio.run(HashingEmbedder(64).embed(EmbedRequest(texts=texts, encoding="base64")))
print(hashlib.sha256(b"".join(each.raw for each in done.embeddings)).hexdigest())
"""


@pytest.mark.requirement("embedding:hashing-stable")
@pytest.mark.parametrize("seed", ["0", "1", "random"])
def test_every_process_gives_the_bytes_that_were_given_before(seed: str) -> None:
    asked = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input="\0".join(SAMPLE).encode(),
        env={"PYTHONHASHSEED": seed},
        capture_output=True,
        check=True,
        timeout=30,
    )
    assert asked.stdout.decode().strip() == DIGEST


async def vectors(*texts: str, dimensions: int = 64) -> list[array[float]]:
    done = await HashingEmbedder(dimensions).embed(EmbedRequest(texts=texts))
    return [array("f", each.values) for each in done.embeddings]


@pytest.mark.requirement("embedding:hashing-stable")
@settings(max_examples=150, deadline=None)
@given(texts=st.lists(st.text(min_size=1, max_size=60).filter(lambda text: text.isprintable()), min_size=1, max_size=5))
async def test_a_vector_never_depends_on_its_neighbours_and_always_has_length_one_or_zero(texts: list[str]) -> None:
    together = await vectors(*texts)
    for text, vector in zip(texts, together, strict=True):
        assert (await vectors(text))[0].tobytes() == vector.tobytes()
        length = math.sqrt(sum(value * value for value in vector))
        assert length == 0 or math.isclose(length, 1, rel_tol=1e-5)


@pytest.mark.requirement("embedding:hashing-stable")
async def test_it_needs_no_key_costs_nothing_and_takes_any_length_within_its_bounds() -> None:
    embedder = HashingEmbedder()
    embedder.check()
    done = await embedder.embed(EmbedRequest(texts=["a b c"], dimensions=8))
    assert (done.usage, done.cost, len(done.embeddings[0].values)) == (Usage(), 0, 8)
    with pytest.raises(UsageError, match="ask for 8 to 16384"):
        await embedder.embed(EmbedRequest(texts=["a"], dimensions=16_385))


@pytest.mark.requirement("embedding:hashing-ranks")
@pytest.mark.parametrize(
    ("query", "best"),
    [
        ("restart the service", "After a crash, services are restarted."),
        ("lease renewal", "A lease is renewed by its owner."),
        ("max tokens", "the field maxTokens of a request"),
        ("MAX_TOKENS", "the field maxTokens of a request"),
        ("wether forecast", "The weather forecast for Zurich"),
        ("straße", "Die STRASSE ist gesperrt"),
        ("東京", "今日の東京は晴れです"),
        ("cafe\u0301", "a caf\u00e9 at the corner"),
    ],
)
async def test_what_shares_words_forms_or_spelling_ranks_first(query: str, best: str) -> None:
    others = ["bread with butter", "a long walk by the sea", "毎朝パンを食べる", "the price of a ticket"]
    ranking = await rank(HashingEmbedder(), query, [*others, best])
    assert ranking.nearest[0].index == len(others)
    assert ranking.nearest[0].score > ranking.nearest[1].score + 0.03


@pytest.mark.requirement("embedding:hashing-ranks")
async def test_a_text_is_nearest_to_itself_and_one_without_words_to_nothing() -> None:
    one, same, none, other = await vectors("A b C deed", "a B c  deed!", "?!", "zebra", dimensions=512)
    assert math.isclose(similarity(one, same), 1, rel_tol=1e-6)
    assert similarity(one, none) == 0
    assert abs(similarity(one, other)) < 0.2


@pytest.mark.requirement("embedding:hashing-ranks")
async def test_a_ranking_keeps_the_order_of_equals_and_embeds_what_stands_twice_once() -> None:
    told: list[tuple[int, int]] = []
    texts = ["same", "other", "same", "same"]
    ranking = await rank(HashingEmbedder(), "same", texts, top=3, progress=lambda *each: told.append(each))
    assert [each.index for each in ranking.nearest] == [0, 2, 3]
    assert told[-1] == (2, 2)


@pytest.mark.requirement("embedding:batch-bounds")
@settings(max_examples=300, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 50), max_size=60),
    most=st.integers(1, 10),
    most_bytes=st.one_of(st.none(), st.integers(1, 100)),
)
def test_batches_always_hold_every_text_once_in_order_and_stay_in_bounds(
    sizes: list[int], most: int, most_bytes: int | None
) -> None:
    texts = [f"{number}" for number in range(len(sizes))]
    batches = cut(texts, sizes, most, most_bytes)
    assert [text for batch in batches for text in batch.texts] == texts
    for batch in batches:
        assert texts[batch.first] == batch.texts[0]
        assert len(batch.texts) <= most
        weight = sum(sizes[batch.first : batch.first + len(batch.texts)])
        assert most_bytes is None or weight <= most_bytes or len(batch.texts) == 1
