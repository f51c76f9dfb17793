"""Cohere, and every server that speaks version 2 of its Chat.

Address and key come from the variables the official client reads: `CO_API_URL`, from which an old `/v1` of Cohere's own
is taken away, and `CO_API_KEY`, or `COHERE_API_KEY` where that is not set. Servers of one's own often want no key, so
only Cohere itself is not called without one.

A model that made neither an answer nor a call that can be read is reported as status 422, like a bad request; it is
the server's failure here, which is worth another try.

Not here: the exchange itself (`talking.py`), the protocol (`wire/cohere`), embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, final

from holdfast.errors import ModelError, ServerError
from holdfast.models.catalogue import ModelCard
from holdfast.models.failures import Origin
from holdfast.models.providers.described.places import Place
from holdfast.models.providers.talking import HttpModel, ParserOf, check_key
from holdfast.models.wire.cohere.requests import Encoder
from holdfast.models.wire.cohere.streaming import Parser
from holdfast.models.wire.reading import MAX_CHARS
from holdfast.net.client import HttpClient

if TYPE_CHECKING:
    from holdfast.net.exchange import Exchange

__all__ = ("DEFAULT_URL", "CohereModel")

DEFAULT_URL = "https://api.cohere.com"
"""Where Cohere is, unless `CO_API_URL` says something else."""

_PLACE = Place(name="cohere", url=DEFAULT_URL, key_variable="CO_API_KEY", url_variable="CO_API_URL")
_NOTHING_MADE = "no valid tool call or response"


@final
class CohereModel(HttpModel[Encoder]):
    """One model of a server that speaks Cohere's Chat, for one run."""

    image_tokens: ClassVar[int] = 4096  # the largest pictures are twelve tiles of 256 tokens and one for the whole
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
            url.rstrip("/") + "/v2/chat",
            Encoder(name, owner=origin.name, longest_answer=card.max_output_tokens if card else None),
            headers=sent,
            card=card,
            max_chars=max_chars,
        )
        self._own_url = place.own_url

    @classmethod
    def from_env(
        cls, name: str, client: HttpClient, env: Mapping[str, str], card: ModelCard | None = None
    ) -> CohereModel:
        """Returns the model at the address and with the key that the environment names."""
        url = env.get("CO_API_URL", "").strip().rstrip("/") or DEFAULT_URL
        if "cohere.com" in url or "cohere.ai" in url:
            url = url.replace("/v1", "")
        key = env.get("CO_API_KEY", env.get("COHERE_API_KEY", ""))
        return cls(name, client, url=url, key=key.strip(), card=card)

    def _check(self) -> None:
        check_key(self._origin, self._own_url)

    async def _refusal(self, answer: Exchange) -> ModelError:
        error = await super()._refusal(answer)
        if error.status == 422 and _NOTHING_MADE in str(error).lower():
            return ServerError(
                f"{self.name!r}: the model made neither an answer nor a call that can be read (HTTP 422); try again, "
                "and give it fewer or simpler tools if it happens often",
                status=422,
            )
        return error
