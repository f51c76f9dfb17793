"""Google's Gemini API: `batchEmbedContents`.

What the official client reads from the environment is read here: `GOOGLE_API_KEY` before `GEMINI_API_KEY`,
`GOOGLE_GEMINI_BASE_URL` and `GOOGLE_GENAI_API_VERSION`. It gives numbers only. Whether a text over the model's length
is refused or cut is Google's to decide: this API has no switch for it. Not here: Vertex AI.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import ClassVar, final
from urllib.parse import quote

import msgspec

from holdfast.flow.clock import Clock
from holdfast.models.embedding.cards import EmbedderCard
from holdfast.models.embedding.port import TASKS, EmbedRequest, Encoding, Task
from holdfast.models.embedding.providers.talking import HttpEmbedder, Said
from holdfast.models.failures import Origin
from holdfast.net.client import HttpClient

__all__ = ("GoogleEmbedder",)

_URL = "https://generativelanguage.googleapis.com"
_VERSION = "v1"
_TASKS: Mapping[Task, str] = {
    "query": "RETRIEVAL_QUERY",
    "document": "RETRIEVAL_DOCUMENT",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
    "similarity": "SEMANTIC_SIMILARITY",
}


class _Part(msgspec.Struct, frozen=True, gc=False):
    text: str


class _Content(msgspec.Struct, frozen=True, gc=False):
    parts: tuple[_Part]


class _One(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename="camel"):
    model: str
    content: _Content
    task_type: str | None = None
    output_dimensionality: int | None = None


class _Body(msgspec.Struct, frozen=True):
    requests: list[_One]


class _Vector(msgspec.Struct, frozen=True, gc=False):
    values: msgspec.Raw


class _Usage(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    prompt_token_count: float | None = None


class _Answer(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    embeddings: list[_Vector]
    usage_metadata: _Usage | None = None


_answer = msgspec.json.Decoder(_Answer)


@final
class GoogleEmbedder(HttpEmbedder):
    """One model of the Gemini API."""

    own_url: ClassVar[str] = _URL
    batch: ClassVar[int] = 100

    def __init__(
        self,
        name: str,
        client: HttpClient,
        *,
        url: str = _URL,
        version: str = _VERSION,
        key: str = "",
        key_variable: str = "GOOGLE_API_KEY",
        card: EmbedderCard | None = None,
        clock: Clock | None = None,
    ) -> None:
        url = url.rstrip("/")
        sent = {"Content-Type": "application/json"}
        if key:
            sent["x-goog-api-key"] = key
        origin = Origin(
            provider="google",
            model=name,
            url=url,
            key_variable=key_variable,
            url_variable="GOOGLE_GEMINI_BASE_URL",
            secret=key,
        )
        bare = name.removeprefix("models/")
        self._model = f"models/{bare}"
        endpoint = f"{url}/{quote(version, safe='')}/models/{quote(bare, safe='')}:batchEmbedContents"
        super().__init__(origin, client, endpoint, headers=sent, card=card, clock=clock)

    @classmethod
    def from_env(
        cls,
        name: str,
        client: HttpClient,
        env: Mapping[str, str],
        card: EmbedderCard | None = None,
        clock: Clock | None = None,
    ) -> GoogleEmbedder:
        """Returns the model at the address and with the key that the environment names."""
        key, second = env.get("GOOGLE_API_KEY", "").strip(), env.get("GEMINI_API_KEY", "").strip()
        version = env.get("GOOGLE_GENAI_API_VERSION", "").strip()
        return cls(
            name,
            client,
            url=env.get("GOOGLE_GEMINI_BASE_URL", "").strip() or _URL,
            version="v1beta" if version == "beta" else version or _VERSION,
            key=key or second,
            key_variable="GOOGLE_API_KEY" if key or not second else "GEMINI_API_KEY",
            card=card,
            clock=clock,
        )

    @property
    def tasks(self) -> AbstractSet[Task]:
        """All of them."""
        return frozenset(TASKS)

    @property
    def encodings(self) -> AbstractSet[Encoding]:
        """Numbers only."""
        return frozenset(("float",))

    def _body(self, texts: Sequence[str], request: EmbedRequest) -> bytes:
        task = None if request.task is None else _TASKS[request.task]
        asked = [_One(self._model, _Content((_Part(text),)), task, request.dimensions) for text in texts]
        return msgspec.json.encode(_Body(asked))

    def _read(self, body: bytes, request: EmbedRequest) -> Said:
        answer = _answer.decode(body)
        usage = answer.usage_metadata
        return Said([each.values for each in answer.embeddings], usage.prompt_token_count if usage else None)
