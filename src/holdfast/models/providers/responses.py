"""OpenAI by its Responses, and every server that speaks them.

What the official client reads from the environment is read here: `OPENAI_BASE_URL`, `OPENAI_API_KEY`, `OPENAI_ORG_ID`,
`OPENAI_PROJECT_ID`, and `OPENAI_CUSTOM_HEADERS`, lines of `Name: value` that go before everything else that is sent.
Servers of one's own often want no key, so only OpenAI itself is not called without one. The address is the operator's
word: the client it is called with has the trusted policy.

Not here: the exchange itself (`talking.py`), the protocol (`wire/responses`); answers in the background, conversations
that the server keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

from holdfast.flow.clock import Clock
from holdfast.models.catalogue import ModelCard
from holdfast.models.failures import Origin
from holdfast.models.providers.custom_headers import bearer, read_headers, secrets_in
from holdfast.models.providers.described.places import Place
from holdfast.models.providers.talking import HttpModel, ParserOf, check_key
from holdfast.models.wire.counting import RESPONSES, Counting
from holdfast.models.wire.reading import MAX_CHARS
from holdfast.models.wire.responses.requests import Encoder
from holdfast.models.wire.responses.streaming import Parser
from holdfast.net.client import HttpClient

__all__ = ("DEFAULT_URL", "RESPONSES_IMAGE_TOKENS", "ResponsesModel", "may_think")

DEFAULT_URL = "https://api.openai.com/v1"
"""Where OpenAI is, unless `OPENAI_BASE_URL` says something else."""

RESPONSES_IMAGE_TOKENS = 50_000
"""The most tokens of an image: eight tiles of the small models, which count the most for each."""

_PLACE = Place(name="openai-responses", url=DEFAULT_URL, key_variable="OPENAI_API_KEY", url_variable="OPENAI_BASE_URL")
_NAMED = (("openai-organization", "OPENAI_ORG_ID"), ("openai-project", "OPENAI_PROJECT_ID"))


@final
class ResponsesModel(HttpModel[Encoder]):
    """One model of a server that speaks Responses, for one run."""

    image_tokens: ClassVar[int] = RESPONSES_IMAGE_TOKENS
    parser: ClassVar[ParserOf] = Parser
    counting: Counting | None = RESPONSES

    def __init__(  # noqa: PLR0913 - where it is, whose key, what is known: each has its default
        self,
        name: str,
        client: HttpClient,
        *,
        place: Place = _PLACE,
        url: str = "",
        key: str = "",
        headers: Mapping[str, str] | None = None,
        card: ModelCard | None = None,
        max_chars: int = MAX_CHARS,
        clock: Clock | None = None,
    ) -> None:
        """Describes a model of a `place`, which is at its own address unless there is a `url`; `headers` go before the
        `key`.
        """
        url = url or place.url
        given = {name.lower(): value for name, value in (headers or {}).items()}
        given_key = bearer(given.get("authorization", ""))
        sent = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
        origin = Origin(
            provider=place.name,
            model=name,
            url=url,
            key_variable="OPENAI_CUSTOM_HEADERS" if given_key else place.key_variable,
            url_variable=place.url_variable,
            secret=given_key or key,
            others=(key, *secrets_in(given)),
        )
        super().__init__(
            origin,
            client,
            url.rstrip("/") + "/responses",
            Encoder(name, owner=origin.name, thinks=may_think(card)),
            headers={**sent, **given},
            card=card,
            max_chars=max_chars,
            clock=clock,
        )
        self._own_url = place.own_url

    @classmethod
    def from_env(
        cls, name: str, client: HttpClient, env: Mapping[str, str], card: ModelCard | None = None
    ) -> ResponsesModel:
        """Returns the model at the address and with the key that the environment names."""
        named = {header: value for header, variable in _NAMED if (value := env.get(variable, "").strip())}
        return cls(
            name,
            client,
            url=env.get("OPENAI_BASE_URL", "").strip().rstrip("/") or DEFAULT_URL,
            key=env.get("OPENAI_API_KEY", "").strip(),
            headers={**named, **read_headers(env.get("OPENAI_CUSTOM_HEADERS", ""))},
            card=card,
        )

    def _check(self) -> None:
        check_key(self._origin, self._own_url)


def may_think(card: ModelCard | None) -> bool:
    """Returns whether a model may reason, as far as anybody knows."""
    return card is None or card.thinking != ()
