"""An embedder at the other end of an HTTP connection: what is the same for every provider.

Not here: what a request and an answer look like, keys and addresses (the provider), retries (`batching.py`).
Invariants: nothing is sent that the checks refuse; an answer takes no more memory than its vectors can need; what
`embed` raises is a `UsageError` or a `ModelError`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, ClassVar

import msgspec

from holdfast.errors import ContextOverflow, ModelError, NetError
from holdfast.flow.clock import Clock, SystemClock
from holdfast.models.embedding.batching import Answer, Batch, cut, embed_batches
from holdfast.models.embedding.cards import EmbedderCard
from holdfast.models.embedding.checking import check_request, sizes_of
from holdfast.models.embedding.port import Embedder, Embeddings, EmbedRequest, Encoding, Task
from holdfast.models.embedding.vectors import read_vector
from holdfast.models.failures import Origin, excerpt, failure_from, failure_of
from holdfast.models.providers.talking import check_key
from holdfast.net.client import HttpClient

if TYPE_CHECKING:
    from holdfast.net.exchange import Exchange

__all__ = ("HttpEmbedder", "Said")

_REFUSAL_BYTES = 64 * 1024
_NUMBER_BYTES = 32
"""Bytes of one number of a vector in JSON, at most, with what stands around it."""
_UNKNOWN_DIMENSIONS = 16_384
_FRAME_BYTES = 1024 * 1024
"""What an answer may hold besides numbers."""


class Said(msgspec.Struct, frozen=True, gc=False):
    """An answer as its provider's reader understood it."""

    vectors: Sequence[msgspec.Raw]
    """In the order of the texts."""
    tokens: float | None
    """None when the answer does not say."""


class HttpEmbedder(Embedder):
    """One model of a provider that makes vectors."""

    own_url: ClassVar[str]
    """Where the provider itself is: a key is needed there."""
    batch: ClassVar[int]
    """Texts of one request to a model that the catalogue does not know."""

    def __init__(
        self,
        origin: Origin,
        client: HttpClient,
        endpoint: str,
        *,
        headers: Mapping[str, str],
        card: EmbedderCard | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._origin = origin
        self._client = client
        self._endpoint = endpoint
        self._headers = headers
        self._card = card or EmbedderCard(name=origin.name)
        self._clock = clock or SystemClock()

    @property
    def name(self) -> str:
        """`provider/name`."""
        return self._origin.name

    @property
    @abstractmethod
    def tasks(self) -> AbstractSet[Task]:
        """The tasks it knows."""

    @property
    @abstractmethod
    def encodings(self) -> AbstractSet[Encoding]:
        """The encodings it can give."""

    def check(self) -> None:
        """Raises when a call cannot succeed.

        Raises:
            AuthFailed: a key is needed and there is none, or it is none.
        """
        check_key(self._origin, self.own_url)

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Returns one vector for each text; see the port.

        Raises:
            UsageError: the request asks for what this embedder cannot do; nothing was sent.
            ModelError: a batch failed for good; it carries what succeeded.
        """
        check_request(request, self._card, self.tasks, self.encodings)
        texts = tuple(request.texts)
        batches = cut(texts, sizes_of(texts, self.name), self._card.batch or self.batch, self._card.batch_tokens)
        if batches:
            self.check()

        async def ask(batch: Batch) -> Answer:
            return await self._ask(batch, request)

        return await embed_batches(
            batches,
            ask,
            model=self.name,
            price=self._card.price,
            malformed=self._origin.malformed,
            clock=self._clock,
            dimensions=request.dimensions,
            progress=request.progress,
        )

    @abstractmethod
    def _body(self, texts: Sequence[str], request: EmbedRequest) -> bytes:
        """Returns the body of the request for a batch."""

    @abstractmethod
    def _read(self, body: bytes, request: EmbedRequest) -> Said:
        """Returns what the answer says.

        Raises:
            msgspec.DecodeError, ValueError: it is no answer of this protocol.
        """

    async def _ask(self, batch: Batch, request: EmbedRequest) -> Answer:
        try:
            async with self._client.post(self._endpoint, self._body(batch.texts, request), self._headers) as answer:
                if not 200 <= answer.status < 300:
                    raise await self._refusal(answer, batch)
                body = await answer.body(self._limit(batch, request))
        except NetError as error:
            raise failure_from(self._origin, error) from error
        try:
            said = self._read(body, request)
            if len(said.vectors) != len(batch.texts):
                raise ValueError(f"it has {len(said.vectors)} vectors for {len(batch.texts)} texts")
            vectors = [
                read_vector(raw, request.encoding, batch.first + place) for place, raw in enumerate(said.vectors)
            ]
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._nonsense(batch, f"{error}; it begins {excerpt(body[:400])!r}") from None
        except ValueError as error:  # that it is no text is one as well
            raise self._nonsense(batch, str(error)) from None
        tokens = said.tokens
        counted = tokens is not None and 0 <= tokens < 2**53
        return Answer(vectors, int(tokens) if counted and tokens is not None else None)

    def _nonsense(self, batch: Batch, why: str) -> ModelError:
        return self._origin.malformed(f"the answer to {batch.where} cannot be used: {why}")

    def _limit(self, batch: Batch, request: EmbedRequest) -> int:
        longest = request.dimensions or self._card.dimensions or _UNKNOWN_DIMENSIONS
        return _FRAME_BYTES + len(batch.texts) * longest * _NUMBER_BYTES

    async def _refusal(self, answer: Exchange, batch: Batch) -> ModelError:
        pieces: list[bytes] = []
        size = 0
        try:
            async for data in answer:
                pieces.append(data)
                size += len(data)
                if size > _REFUSAL_BYTES:
                    break
        except NetError:
            pass  # the status says enough
        headers = {name.lower(): value for name, value in answer.headers.items()}
        body = b"".join(pieces)[:_REFUSAL_BYTES]
        error = failure_of(self._origin, answer.status, headers, body)
        if not isinstance(error, ContextOverflow):
            return error
        most = self._card.max_tokens
        known = f", which are {most:,} tokens of one text" if most else ""
        said = self._origin.clean(excerpt(body))
        return ContextOverflow(
            f"{self.name!r}: more in {batch.where} than the model takes{known} (HTTP {answer.status})"
            f"{': ' if said else ''}{said}; split long texts, and embed the pieces",
            status=error.status,
        )
