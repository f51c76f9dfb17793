"""A model in a folder of this machine, and ten thousand texts at once."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
from model2vec import StaticModel
from tests.embedding_server import vector_server
from tests.static_model import make_static_model

from holdfast.errors import UsageError
from holdfast.models.embedding.finding import find_embedder
from holdfast.models.embedding.hashing import HashingEmbedder
from holdfast.models.embedding.local import LocalEmbedder
from holdfast.models.embedding.port import Embeddings, EmbedRequest
from holdfast.models.embedding.ranking import rank
from holdfast.net.client import HttpClient
from holdfast.safety.addresses import TRUSTED


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Refuses every look-up and connection, and says which were tried."""
    tried: list[object] = []

    def refuse(*arguments: object, **options: object) -> None:
        tried.append(arguments)
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tried


@pytest.mark.requirement("embedding:local-path")
async def test_a_folder_gives_the_vectors_that_its_library_gives(tmp_path: Path, no_network: list[object]) -> None:
    folder = make_static_model(tmp_path / "model")
    texts = ["bread with butter", "the weather in spring", "unheard", "number " * 3000 + "bread"]
    done = await LocalEmbedder(str(folder)).embed(EmbedRequest(texts=texts))
    own = StaticModel.from_pretrained(folder).encode(texts, max_length=None)
    assert [list(each.values) for each in done.embeddings] == [row.tolist() for row in own]
    assert no_network == []
    assert (done.cost, done.model) == (0, f"local/{folder}")


@pytest.mark.requirement("embedding:local-path")
@pytest.mark.parametrize("what", ["missing", "name of a hub", "empty", "damaged", "file"])
async def test_what_is_no_model_is_one_error_and_nothing_is_fetched(
    what: str, tmp_path: Path, no_network: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make_static_model(tmp_path / "model")
    names = {"missing": str(tmp_path / "no"), "name of a hub": "some/model", "empty": str(tmp_path / "empty")}
    (tmp_path / "empty").mkdir()
    if what == "damaged":
        (folder / "model.safetensors").write_bytes(b"\0" * 100)
    if what == "file":
        names["file"] = str(folder / "config.json")
    with pytest.raises(UsageError, match="name the folder of a model"):
        await LocalEmbedder(names.get(what, str(folder))).embed(EmbedRequest(texts=["a"]))
    assert no_network == []


@pytest.mark.requirement("embedding:local-path")
async def test_a_folder_that_vanishes_before_it_is_loaded_is_not_looked_for_elsewhere(
    tmp_path: Path, no_network: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = LocalEmbedder(str(tmp_path / "gone"))
    monkeypatch.setattr(embedder, "check", lambda: None)
    with pytest.raises(UsageError, match="cannot be loaded"):
        await embedder.embed(EmbedRequest(texts=["a"]))
    assert no_network == []


@pytest.mark.requirement("embedding:local-path")
async def test_the_length_of_its_vectors_is_the_models_own(tmp_path: Path) -> None:
    embedder = LocalEmbedder(str(make_static_model(tmp_path / "model")))
    done = await embedder.embed(EmbedRequest(texts=["bread"], dimensions=16))
    assert len(done.embeddings[0].values) == 16
    with pytest.raises(UsageError, match="always have 16 dimensions"):
        await embedder.embed(EmbedRequest(texts=["bread"], dimensions=8))


@pytest.mark.requirement("embedding:local-path")
def test_without_the_extra_the_error_names_it_and_other_embedders_never_load_the_library(tmp_path: Path) -> None:
    program = """
import asyncio, sys
sys.modules["model2vec"] = None
import importlib.util
from holdfast.errors import UsageError
from holdfast.models.embedding.finding import find_embedder
from holdfast.models.embedding.port import EmbedRequest
from holdfast.net.client import HttpClient
from holdfast.safety.addresses import TRUSTED
assert asyncio.run(find_embedder("hashing", HttpClient(TRUSTED), {}).embed(EmbedRequest(texts=["a"])))
assert "numpy" not in sys.modules
try:
    find_embedder("local/here", HttpClient(TRUSTED), {}).check()
except UsageError as error:
    print(error)
"""
    asked = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30, cwd=tmp_path
    )
    assert "pip install 'holdfast[vectors]'" in asked.stdout


MANY = """
import asyncio
from holdfast.models.embedding.hashing import HashingEmbedder
from holdfast.models.embedding.port import EmbedRequest

def most():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

async def go():
    texts = [f"text number {number} of a list, {number * 7919 % 1000}" for number in range(10_000)]
    await HashingEmbedder().embed(EmbedRequest(texts=texts[:1]))
    before = most()
    done = await HashingEmbedder().embed(EmbedRequest(texts=texts))
    assert [each.index for each in done.embeddings] == list(range(10_000))
    print((most() - before) * 1024)

asyncio.run(go())
"""


@pytest.mark.requirement("embedding:large-lists")
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own figure is read")
def test_ten_thousand_texts_take_little_more_memory_than_their_vectors() -> None:
    asked = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True, check=True, timeout=60)
    vectors = 4 * 1024 * 10_000
    assert vectors / 2 < int(asked.stdout) < 2 * vectors


@pytest.mark.requirement("embedding:large-lists")
@pytest.mark.parametrize("spec", ["local", "cohere/any", "openai/text-embedding-3-small"])
async def test_ten_thousand_texts_come_back_in_their_order(spec: str, tmp_path: Path) -> None:
    texts = [f"text number {number}" for number in range(10_000)]
    name = f"local/{make_static_model(tmp_path / 'model')}" if spec == "local" else spec
    async with vector_server() as server, HttpClient(TRUSTED) as client:
        done = await find_embedder(name, client, server.env).embed(EmbedRequest(texts=texts))
    assert [each.index for each in done.embeddings] == list(range(10_000))


class Watched:
    """The hashing embedder, and which of the vectors it gave are still held when it gives more."""

    def __init__(self) -> None:
        self._inner = HashingEmbedder(64)
        self._given: list[weakref.ref[Any]] = []
        self.asked: list[int] = []
        self.held: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        self.asked.append(len(request.texts))
        done = await self._inner.embed(request)
        self.held.append(sum(each() is not None for each in self._given))
        self._given += [weakref.ref(each.values) for each in done.embeddings]
        return done


@pytest.mark.requirement("embedding:large-lists")
async def test_ranking_holds_the_vectors_of_one_portion_at_a_time() -> None:
    embedder: Any = Watched()
    ranking = await rank(embedder, "text number 7777", [f"text number {number}" for number in range(10_000)], top=1)
    assert ranking.nearest[0].index == 7777
    assert embedder.asked == [1, 2048, 2048, 2048, 2048, 1808]
    assert max(embedder.held) == 1, "the query's"


@pytest.mark.requirement("embedding:large-lists")
async def test_others_in_the_loop_go_on_while_texts_are_embedded() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    texts = [f"text number {number}" for number in range(3000)]
    await HashingEmbedder().embed(EmbedRequest(texts=texts))
    task.cancel()
    assert turns > 3000 // 256, "at least between two portions"
