"""Ollama's `/api/embed`.

What the official client reads from the environment is read here, as it reads it: `OLLAMA_HOST`, which may be a name,
an address, a port or a URL, and `OLLAMA_API_KEY`. A text over the model's length is refused, where the server's own
default would cut it without a word. Nobody knows what a server of one's own costs, so its price is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import ClassVar, final

import msgspec

from holdfast.flow.clock import Clock
from holdfast.models.embedding.cards import EmbedderCard
from holdfast.models.embedding.port import EmbedRequest, Encoding, Task
from holdfast.models.embedding.providers.talking import HttpEmbedder, Said
from holdfast.models.failures import Origin
from holdfast.models.providers.described.hosts import ollama_url
from holdfast.net.client import HttpClient

__all__ = ("OllamaEmbedder",)


class _Body(msgspec.Struct, frozen=True, omit_defaults=True):
    model: str
    input: Sequence[str]
    truncate: bool
    dimensions: int | None = None


class _Answer(msgspec.Struct, frozen=True, gc=False):
    embeddings: list[msgspec.Raw]
    prompt_eval_count: float | None = None


_answer = msgspec.json.Decoder(_Answer)


@final
class OllamaEmbedder(HttpEmbedder):
    """One model of an Ollama server."""

    own_url: ClassVar[str] = ""  # no address of theirs needs a key for certain
    batch: ClassVar[int] = 32

    def __init__(
        self,
        name: str,
        client: HttpClient,
        *,
        url: str = "",
        key: str = "",
        card: EmbedderCard | None = None,
        clock: Clock | None = None,
    ) -> None:
        url = ollama_url(url)
        sent = {"Content-Type": "application/json"}
        if key:
            sent["Authorization"] = f"Bearer {key}"
        origin = Origin(
            provider="ollama",
            model=name,
            url=url,
            key_variable="OLLAMA_API_KEY",
            url_variable="OLLAMA_HOST",
            secret=key,
        )
        super().__init__(origin, client, f"{url}/api/embed", headers=sent, card=card, clock=clock)

    @classmethod
    def from_env(
        cls,
        name: str,
        client: HttpClient,
        env: Mapping[str, str],
        card: EmbedderCard | None = None,
        clock: Clock | None = None,
    ) -> OllamaEmbedder:
        """Returns the model at the address and with the key that the environment names.

        Raises:
            UsageError: `OLLAMA_HOST` is no address.
        """
        key = env.get("OLLAMA_API_KEY", "").strip()
        return cls(name, client, url=env.get("OLLAMA_HOST", "").strip(), key=key, card=card, clock=clock)

    @property
    def tasks(self) -> AbstractSet[Task]:
        """None: what a model wants to know stands in the text itself."""
        return frozenset()

    @property
    def encodings(self) -> AbstractSet[Encoding]:
        """Numbers only."""
        return frozenset(("float",))

    def _body(self, texts: Sequence[str], request: EmbedRequest) -> bytes:
        return msgspec.json.encode(_Body(self._origin.model, texts, False, request.dimensions))

    def _read(self, body: bytes, request: EmbedRequest) -> Said:
        answer = _answer.decode(body)
        return Said(answer.embeddings, answer.prompt_eval_count)
