"""Cohere's `/v2/embed`, and servers that speak it.

What the official client reads from the environment is read here: `CO_API_KEY` before `COHERE_API_KEY`, and
`CO_API_URL`. Cohere wants to know what vectors are for: without a task they are those of documents. A text over the
model's length is refused, where the provider's own default would cut it without a word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import ClassVar, final
from urllib.parse import urlsplit

import msgspec

from holdfast.flow.clock import Clock
from holdfast.models.embedding.cards import EmbedderCard
from holdfast.models.embedding.port import ENCODINGS, EmbedRequest, Encoding, Task
from holdfast.models.embedding.providers.talking import HttpEmbedder, Said
from holdfast.models.failures import Origin
from holdfast.net.client import HttpClient

__all__ = ("CohereEmbedder",)

_URL = "https://api.cohere.com"
_TASKS: Mapping[Task | None, str] = {
    None: "search_document",
    "query": "search_query",
    "document": "search_document",
    "classification": "classification",
    "clustering": "clustering",
}


class _Body(msgspec.Struct, frozen=True, omit_defaults=True):
    model: str
    texts: Sequence[str]
    input_type: str
    embedding_types: tuple[str]
    truncate: str
    output_dimension: int | None = None


class _Units(msgspec.Struct, frozen=True, gc=False):
    input_tokens: float | None = None


class _Meta(msgspec.Struct, frozen=True, gc=False):
    billed_units: _Units | None = None
    tokens: _Units | None = None


class _Answer(msgspec.Struct, frozen=True, gc=False):
    embeddings: dict[str, list[msgspec.Raw] | None]
    meta: _Meta | None = None


_answer = msgspec.json.Decoder(_Answer)


@final
class CohereEmbedder(HttpEmbedder):
    """One model of a server that speaks Cohere's second version."""

    own_url: ClassVar[str] = _URL
    batch: ClassVar[int] = 96

    def __init__(
        self,
        name: str,
        client: HttpClient,
        *,
        url: str = _URL,
        key: str = "",
        key_variable: str = "CO_API_KEY",
        card: EmbedderCard | None = None,
        clock: Clock | None = None,
    ) -> None:
        url = _without_version(url.rstrip("/"))
        sent = {"Content-Type": "application/json"}
        if key:
            sent["Authorization"] = f"Bearer {key}"
        origin = Origin(
            provider="cohere",
            model=name,
            url=url,
            key_variable=key_variable,
            url_variable="CO_API_URL",
            secret=key,
        )
        super().__init__(origin, client, f"{url}/v2/embed", headers=sent, card=card, clock=clock)

    @classmethod
    def from_env(
        cls,
        name: str,
        client: HttpClient,
        env: Mapping[str, str],
        card: EmbedderCard | None = None,
        clock: Clock | None = None,
    ) -> CohereEmbedder:
        """Returns the model at the address and with the key that the environment names."""
        key, second = env.get("CO_API_KEY", "").strip(), env.get("COHERE_API_KEY", "").strip()
        return cls(
            name,
            client,
            url=env.get("CO_API_URL", "").strip() or _URL,
            key=key or second,
            key_variable="CO_API_KEY" if key or not second else "COHERE_API_KEY",
            card=card,
            clock=clock,
        )

    @property
    def tasks(self) -> AbstractSet[Task]:
        """All but `similarity`, for which it has no vectors of their own."""
        return frozenset(task for task in _TASKS if task is not None)

    @property
    def encodings(self) -> AbstractSet[Encoding]:
        """All of them."""
        return frozenset(ENCODINGS)

    def _body(self, texts: Sequence[str], request: EmbedRequest) -> bytes:
        return msgspec.json.encode(
            _Body(
                self._origin.model,
                texts,
                _TASKS[request.task],
                (request.encoding,),
                "NONE",
                request.dimensions,
            )
        )

    def _read(self, body: bytes, request: EmbedRequest) -> Said:
        answer = _answer.decode(body)
        vectors = answer.embeddings.get(request.encoding)
        if vectors is None:
            came = ", ".join(map(repr, list(answer.embeddings)[:8])) or "none"
            raise ValueError(f"it has no vectors in the encoding {request.encoding!r} (it has: {came})")
        meta = answer.meta or _Meta()
        units = meta.billed_units or meta.tokens
        return Said(vectors, units.input_tokens if units else None)


def _without_version(url: str) -> str:
    """Returns Cohere's own address without the `/v1` that older settings have, as the official client does."""
    host = urlsplit(url).hostname or ""
    return url.removesuffix("/v1") if host.endswith((".cohere.com", ".cohere.ai")) else url
