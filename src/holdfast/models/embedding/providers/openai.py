"""OpenAI, and every server that speaks its embeddings.

Address, key and headers come from the variables the official client reads, as for its chat. Vectors are asked for as
base64, as the official client does: they come whole and in a third of the bytes. A server that sends numbers all the
same is understood.
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
from holdfast.net.client import HttpClient

__all__ = ("OpenAIEmbedder",)

_URL = "https://api.openai.com/v1"
_OWN_BATCH = 2048
_OWN_BATCH_TOKENS = 300_000


class _Body(msgspec.Struct, frozen=True, omit_defaults=True):
    model: str
    input: Sequence[str]
    encoding_format: str
    dimensions: int | None = None


class _Item(msgspec.Struct, frozen=True, gc=False):
    embedding: msgspec.Raw
    index: int | None = None


class _Usage(msgspec.Struct, frozen=True, gc=False):
    prompt_tokens: float | None = None


class _Answer(msgspec.Struct, frozen=True, gc=False):
    data: list[_Item]
    usage: _Usage | None = None


_answer = msgspec.json.Decoder(_Answer)


@final
class OpenAIEmbedder(HttpEmbedder):
    """One model of a server that speaks OpenAI's embeddings."""

    own_url: ClassVar[str] = _URL
    batch: ClassVar[int] = 32  # what every server of one's own takes

    def __init__(
        self,
        name: str,
        client: HttpClient,
        *,
        url: str = _URL,
        key: str = "",
        headers: Mapping[str, str] | None = None,
        card: EmbedderCard | None = None,
        clock: Clock | None = None,
    ) -> None:
        url = url.rstrip("/")
        sent = {"Content-Type": "application/json", **(headers or {})}
        if key:
            sent["Authorization"] = f"Bearer {key}"
        origin = Origin(
            provider="openai",
            model=name,
            url=url,
            key_variable="OPENAI_API_KEY",
            url_variable="OPENAI_BASE_URL",
            secret=key,
        )
        card = card or EmbedderCard(name=origin.name)
        if url == _URL:  # OpenAI's own limits hold for all its models, also for those nobody described
            card = msgspec.structs.replace(
                card, batch=card.batch or _OWN_BATCH, batch_tokens=card.batch_tokens or _OWN_BATCH_TOKENS
            )
        super().__init__(origin, client, f"{url}/embeddings", headers=sent, card=card, clock=clock)

    @classmethod
    def from_env(
        cls,
        name: str,
        client: HttpClient,
        env: Mapping[str, str],
        card: EmbedderCard | None = None,
        clock: Clock | None = None,
    ) -> OpenAIEmbedder:
        """Returns the model at the address and with the key that the environment names."""
        named = (("OpenAI-Organization", "OPENAI_ORG_ID"), ("OpenAI-Project", "OPENAI_PROJECT_ID"))
        return cls(
            name,
            client,
            url=env.get("OPENAI_BASE_URL", "").strip() or _URL,
            key=env.get("OPENAI_API_KEY", "").strip(),
            headers={header: value for header, variable in named if (value := env.get(variable, "").strip())},
            card=card,
            clock=clock,
        )

    @property
    def tasks(self) -> AbstractSet[Task]:
        """None: its models make the same vectors for every task."""
        return frozenset()

    @property
    def encodings(self) -> AbstractSet[Encoding]:
        """Floats, as numbers or packed."""
        return frozenset(("float", "base64"))

    def _body(self, texts: Sequence[str], request: EmbedRequest) -> bytes:
        return msgspec.json.encode(_Body(self._origin.model, texts, "base64", request.dimensions))

    def _read(self, body: bytes, request: EmbedRequest) -> Said:
        answer = _answer.decode(body)
        return Said(_in_order(answer.data), answer.usage.prompt_tokens if answer.usage else None)


def _in_order(items: list[_Item]) -> list[msgspec.Raw]:
    """Returns the vectors by their indices; as they came where none has one."""
    if all(item.index is None for item in items):
        return [item.embedding for item in items]
    placed: dict[int, msgspec.Raw] = {}
    for item in items:
        if item.index is None or not 0 <= item.index < len(items):
            raise ValueError(f"a vector has the index {item.index}, and there are {len(items)}")
        if item.index in placed:
            raise ValueError(f"two vectors have the index {item.index}")
        placed[item.index] = item.embedding
    return [placed[index] for index in range(len(items))]
