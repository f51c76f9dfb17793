"""Anthropic, and every server that speaks its Messages.

What the official client reads from the environment is read here: `ANTHROPIC_BASE_URL` (without `/v1`),
`ANTHROPIC_API_KEY`, `ANTHROPIC_AUTH_TOKEN` where there is no key, and `ANTHROPIC_CUSTOM_HEADERS`, lines of
`Name: value` that go before everything else that is sent, so that a key among them is the only one. A key goes out as
`x-api-key`, which servers of every version take; a token as a bearer's. Servers of one's own often want neither.

Requests speak the newest version of the API. It has no temperature any more, so one that asks for it speaks the version
before, which models that still know temperatures take.

Not here: the exchange itself (`talking.py`), the protocol (`wire/messages`); profiles on disk and federated identities.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

from holdfast.models.catalogue import ModelCard
from holdfast.models.failures import Origin
from holdfast.models.port import ModelRequest
from holdfast.models.providers.custom_headers import bearer, read_headers, secrets_in
from holdfast.models.providers.described.places import Place
from holdfast.models.providers.talking import HttpModel, ParserOf, check_key
from holdfast.models.wire.counting import MESSAGES, Counting
from holdfast.models.wire.messages.requests import Encoder
from holdfast.models.wire.messages.streaming import Parser
from holdfast.models.wire.reading import MAX_CHARS
from holdfast.net.client import HttpClient

__all__ = ("DEFAULT_URL", "AnthropicModel")

DEFAULT_URL = "https://api.anthropic.com"
"""Where Anthropic is, unless `ANTHROPIC_BASE_URL` says something else."""

_PLACE = Place(name="anthropic", url=DEFAULT_URL, key_variable="ANTHROPIC_API_KEY", url_variable="ANTHROPIC_BASE_URL")
_VERSION = "2026-10-21"
_VERSION_WITH_TEMPERATURE = "2023-06-01"


@final
class AnthropicModel(HttpModel[Encoder]):
    """One model of a server that speaks Messages, for one run."""

    image_tokens: ClassVar[int] = 8192  # the most that is documented is 4,784, for the largest pictures
    parser: ClassVar[ParserOf] = Parser
    counting: Counting | None = MESSAGES

    def __init__(  # noqa: PLR0913 - where it is, whose key, what is known: each has its default
        self,
        name: str,
        client: HttpClient,
        *,
        place: Place = _PLACE,
        url: str = "",
        key: str = "",
        token: str = "",
        headers: Mapping[str, str] | None = None,
        card: ModelCard | None = None,
        max_chars: int = MAX_CHARS,
    ) -> None:
        """Describes a model of a `place`, which is at its own address unless there is a `url`.

        A `key` goes before a `token`, and `headers` before both.
        """
        url = url or place.url
        given = {name.lower(): value for name, value in (headers or {}).items()}
        sent = {"content-type": "application/json", "anthropic-version": _VERSION}
        secret, variable = key or token, place.key_variable
        if token and not key and place is _PLACE:
            variable = "ANTHROPIC_AUTH_TOKEN"
        if given_key := given.get("x-api-key") or bearer(given.get("authorization", "")):
            secret, variable = given_key, "ANTHROPIC_CUSTOM_HEADERS"
        elif key:
            sent["x-api-key"] = key
        elif token:
            sent["authorization"] = f"Bearer {token}"
        origin = Origin(
            provider=place.name,
            model=name,
            url=url,
            key_variable=variable,
            url_variable=place.url_variable,
            secret=secret,
            others=(key, token, *secrets_in(given)),
        )
        super().__init__(
            origin,
            client,
            url.rstrip("/") + "/v1/messages",
            Encoder(name, owner=origin.name, longest_answer=card.max_output_tokens if card else None),
            headers={**sent, **given},
            card=card,
            max_chars=max_chars,
        )
        self._own_url = place.own_url
        self._headers_with_temperature = {**sent, "anthropic-version": _VERSION_WITH_TEMPERATURE, **given}

    @classmethod
    def from_env(
        cls, name: str, client: HttpClient, env: Mapping[str, str], card: ModelCard | None = None
    ) -> AnthropicModel:
        """Returns the model at the address and with the key that the environment names."""
        return cls(
            name,
            client,
            url=env.get("ANTHROPIC_BASE_URL", "").strip().rstrip("/") or DEFAULT_URL,
            key=env.get("ANTHROPIC_API_KEY", "").strip(),
            token=env.get("ANTHROPIC_AUTH_TOKEN", "").strip(),
            headers=read_headers(env.get("ANTHROPIC_CUSTOM_HEADERS", "")),
            card=card,
        )

    def _check(self) -> None:
        check_key(self._origin, self._own_url)

    def _headers_of(self, request: ModelRequest) -> Mapping[str, str]:
        return self._headers if request.temperature is None else self._headers_with_temperature
