"""Ollama: models on one's own machine, another's, or in Ollama's cloud.

What the official client reads from the environment is read here, and as it reads it: `OLLAMA_HOST`
(`described/hosts.py`), and `OLLAMA_API_KEY`, a bearer's token, which the cloud wants and servers of one's own do not.

**Servers cut a prompt that is longer than their context, silently.** Requests ask to be refused instead, which servers
since late 2025 do; the error says how to get more context. Earlier servers go on cutting: the option
`{"options": {"num_ctx": 32768}}` gives the model more (`wire/ollama`).

Not here: the exchange itself (`talking.py`), the protocol (`wire/ollama`), fetching and keeping of models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, final

from holdfast.errors import ContextOverflow, ModelError, ModelNotFound
from holdfast.models.catalogue import ModelCard
from holdfast.models.failures import Origin
from holdfast.models.providers.described.hosts import ollama_url
from holdfast.models.providers.described.places import Place
from holdfast.models.providers.talking import HttpModel, ParserOf, check_key
from holdfast.models.wire.ollama.requests import Encoder
from holdfast.models.wire.ollama.streaming import Parser
from holdfast.models.wire.reading import MAX_CHARS
from holdfast.net.client import HttpClient

if TYPE_CHECKING:
    from holdfast.net.exchange import Exchange

__all__ = ("DEFAULT_URL", "OllamaModel")

DEFAULT_URL = "http://127.0.0.1:11434"
"""Where Ollama is, unless `OLLAMA_HOST` says something else."""

_PLACE = Place(
    name="ollama", url=DEFAULT_URL, key_variable="OLLAMA_API_KEY", url_variable="OLLAMA_HOST", needs_key=False
)


@final
class OllamaModel(HttpModel[Encoder]):
    """One model of an Ollama server, for one run."""

    image_tokens: ClassVar[int] = 16_384  # what models with tiles of any number count at most
    parser: ClassVar[ParserOf] = Parser

    def __init__(
        self,
        name: str,
        client: HttpClient,
        *,
        place: Place = _PLACE,
        url: str = "",
        key: str = "",
        card: ModelCard | None = None,
        max_chars: int = MAX_CHARS,
    ) -> None:
        """Describes a model of a `place`, which is at its own address unless there is a `url`."""
        url = url or place.url
        origin = Origin(
            provider=place.name,
            model=name,
            url=url,
            key_variable=place.key_variable,
            url_variable=place.url_variable,
            secret=key,
        )
        sent = {"content-type": "application/json"}
        if key:
            sent["authorization"] = f"Bearer {key}"
        super().__init__(
            origin,
            client,
            url.rstrip("/") + "/api/chat",
            Encoder(name, owner=origin.name),
            headers=sent,
            card=card,
            max_chars=max_chars,
        )
        self._own_url = place.own_url

    @classmethod
    def from_env(
        cls, name: str, client: HttpClient, env: Mapping[str, str], card: ModelCard | None = None
    ) -> OllamaModel:
        """Returns the model at the address and with the key that the environment names.

        Raises:
            UsageError: `OLLAMA_HOST` is no address.
        """
        url = ollama_url(env.get("OLLAMA_HOST", ""))
        return cls(name, client, url=url, key=env.get("OLLAMA_API_KEY", "").strip(), card=card)

    def _check(self) -> None:
        check_key(self._origin, self._own_url)

    async def _refusal(self, answer: Exchange) -> ModelError:
        error = await super()._refusal(answer)
        words = str(error)
        if isinstance(error, ModelNotFound) and "not found" in words and "page not found" not in words:
            return ModelNotFound(
                f"{words}; if it was never fetched, run 'ollama pull {self._origin.model}' there", status=404
            )
        if isinstance(error, ContextOverflow):
            more = "or give it a larger context: num_ctx in the option 'options', or the server's OLLAMA_CONTEXT_LENGTH"
            return ContextOverflow(f"{words}, {more}", status=error.status)
        return error
