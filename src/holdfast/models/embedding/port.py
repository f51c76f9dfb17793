"""The port of an embedder: texts go in, one vector for each comes out, in their order.

Not here: how a list is cut into batches (`batching.py`), how a provider is asked (`providers/`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Literal, Protocol, TypeVar, cast

import msgspec

from holdfast.types import Nanodollars, Usage

__all__ = (
    "ENCODINGS",
    "TASKS",
    "EmbedRequest",
    "Embedder",
    "Embedding",
    "Embeddings",
    "Encoding",
    "Progress",
    "Task",
    "partial_of",
    "with_partial",
)

Task = Literal["query", "document", "classification", "clustering", "similarity"]
"""What vectors are for: a query is embedded otherwise than the documents it is compared with, where a model knows."""
Encoding = Literal["float", "base64", "int8", "uint8", "binary", "ubinary"]
"""How exact vectors are, and how they come: see `Embedding`."""
Progress = Callable[[int, int], None]
"""Told how many texts are done, and of how many; what it raises ends the work and reaches whoever asked for it."""

TASKS: tuple[Task, ...] = ("query", "document", "classification", "clustering", "similarity")
ENCODINGS: tuple[Encoding, ...] = ("float", "base64", "int8", "uint8", "binary", "ubinary")


class EmbedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be embedded, and how."""

    texts: Sequence[str]
    """As many as there are: an embedder cuts them into batches. None of them is empty."""
    task: Task | None = None
    """None says nothing; what then happens is the provider's own default."""
    dimensions: int | None = None
    """How many numbers each vector has; None is the model's own."""
    encoding: Encoding = "float"
    progress: Progress | None = None


class Embedding(msgspec.Struct, frozen=True):
    """The vector of one text."""

    index: int
    """The text's place in the request, from 0, across all batches."""
    values: Sequence[float]
    """One number for each dimension, in an `array`: 32-bit floats for `float` and `base64`, the provider's whole
    numbers for `int8` and `uint8`, and 1 or -1 for each bit of `binary` and `ubinary`."""
    raw: bytes = b""
    """What came packed, to be stored as it is: little-endian 32-bit floats of `base64`, a byte for each number of
    `int8` and `uint8`, a byte for eight bits of `binary` and `ubinary`. Empty for `float`."""


class Embeddings(msgspec.Struct, frozen=True, kw_only=True):
    """The vectors of a request."""

    embeddings: list[Embedding]
    """In the order of the texts."""
    model: str
    """`provider/name`."""
    usage: Usage | None = None
    """The tokens that were counted; None when the provider does not say, of one batch or of all."""
    cost: Nanodollars | None = None
    """None when nobody knows the price, or the tokens."""


class Embedder(Protocol):
    """One model that makes vectors; usable by many at once."""

    @property
    def name(self) -> str:
        """`provider/name`, as in the spec."""
        ...

    @property
    def tasks(self) -> AbstractSet[Task]:
        """The tasks it knows; any other one is refused, and to give none is always allowed."""
        ...

    @property
    def encodings(self) -> AbstractSet[Encoding]:
        """The encodings it can give; any other one is refused. `float` is always among them."""
        ...

    def check(self) -> None:
        """Raises when it is certain beforehand that no call can succeed; asks nobody.

        Raises:
            AuthFailed: the key it needs is missing.
            UsageError: what it needs is not on this machine.
        """
        ...

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Returns one vector for each text, in their order, all of one length.

        The same text twice gives two vectors. No texts give none, and nobody is asked. Every number is finite.

        Raises:
            UsageError: the request asks for what this embedder cannot do; nothing was sent.
            ModelError: a batch failed for good. Batches under way were waited for, no further one was sent, and
                `partial_of(error)` holds what succeeded.
        """
        ...


E = TypeVar("E", bound=BaseException)

_KEY = "embeddings"


def partial_of(error: BaseException) -> Embeddings | None:
    """Returns what an embedder had when it failed: vectors with their indices, tokens, cost; None of other errors."""
    return cast("Embeddings | None", vars(error).get(_KEY))


def with_partial(error: E, done: Embeddings) -> E:
    """Returns the error, which carries from now on what succeeded before it."""
    vars(error)[_KEY] = done
    return error
