"""A model of this machine: a folder in the format of model2vec, which the user names. Nothing is ever fetched.

The library is an extra (`holdfast[vectors]`) and is loaded with the first request, in a thread, as is the model;
texts are embedded in threads too. The only module that knows the library.
"""

from __future__ import annotations

import asyncio
import importlib.util
import threading
from array import array
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, final

from holdfast.errors import UsageError
from holdfast.models.embedding.cards import EmbedderCard
from holdfast.models.embedding.checking import check_request, sizes_of
from holdfast.models.embedding.port import Embedder, Embedding, Embeddings, EmbedRequest, Encoding, Task
from holdfast.models.embedding.vectors import floats_of
from holdfast.types import Nanodollars, Usage

__all__ = ("LocalEmbedder",)

_PORTION = 1024
"""Texts that are done between two looks at the event loop."""


@final
class LocalEmbedder(Embedder):
    """The model in a folder."""

    def __init__(self, path: str) -> None:
        """Takes the folder, from here or from `/`; `~` is the home. Nothing is read yet."""
        self._path = path
        self._folder = Path(path).expanduser()
        self._lock = threading.Lock()
        self._model: Any = None

    @property
    def name(self) -> str:
        """`local/<path>`."""
        return f"local/{self._path}"

    @property
    def tasks(self) -> AbstractSet[Task]:
        """None: a text has the same vector whatever it is for."""
        return frozenset()

    @property
    def encodings(self) -> AbstractSet[Encoding]:
        """Floats, as numbers or packed."""
        return frozenset(("float", "base64"))

    def check(self) -> None:
        """Raises when there is no such folder, or nothing to load it with.

        Raises:
            UsageError: it says which of the two, and what to do.
        """
        if importlib.util.find_spec("model2vec") is None:
            raise UsageError(f"{self.name!r} needs a library that is not here: pip install 'holdfast[vectors]'")
        if not self._folder.is_dir():
            raise UsageError(
                f"{self.name!r}: there is no folder {str(self._folder)!r}; name the folder of a model that you have "
                "(config.json, model.safetensors, tokenizer.json), nothing is downloaded"
            )

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Returns one vector for each text; the whole text counts, however long it is.

        Raises:
            UsageError: the request asks for what this embedder cannot do, or there is no model to be loaded.
        """
        check_request(request, EmbedderCard(name=self.name), self.tasks, self.encodings)
        texts = tuple(request.texts)
        sizes_of(texts, self.name)
        done: list[Embedding] = []
        if texts:
            self.check()
            own = await asyncio.to_thread(self._load)
            check_request(request, EmbedderCard(name=self.name, dimensions=own), self.tasks, self.encodings)
        for first in range(0, len(texts), _PORTION):
            vectors = await asyncio.to_thread(self._vectors, texts[first : first + _PORTION])
            done += [floats_of(each, first + place, request.encoding) for place, each in enumerate(vectors)]
            if request.progress is not None:
                request.progress(len(done), len(texts))
        return Embeddings(embeddings=done, model=self.name, usage=Usage(), cost=Nanodollars(0))

    def _load(self) -> int:
        """Loads the model unless it is loaded, and returns how long its vectors are."""
        with self._lock:
            if self._model is None:
                from model2vec import StaticModel  # noqa: PLC0415 - an extra, and slow to load

                try:
                    # The whole path: no name of a model that could be looked for elsewhere looks like it.
                    self._model = StaticModel.from_pretrained(self._folder.resolve(strict=True))
                except Exception as error:  # its libraries raise bare ones
                    raise UsageError(
                        f"{self.name!r}: what is in the folder cannot be loaded ({type(error).__name__}: {error}); "
                        "name the folder of a model in the format of model2vec"
                    ) from error
            return int(self._model.dim)

    def _vectors(self, texts: Sequence[str]) -> list[array[float]]:
        with self._lock:  # its tokenizer is set anew for each call
            rows = self._model.encode(list(texts), max_length=None, use_multiprocessing=False).astype("float32")
        return [array("f", row.tobytes()) for row in rows]
