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

import re
from collections.abc import Iterator, Mapping
from typing import ClassVar, final

from holdfast.models.catalogue import ModelCard
from holdfast.models.failures import Origin
from holdfast.models.port import ModelRequest
from holdfast.models.providers.talking import HttpModel, check_key
from holdfast.models.wire.messages.requests import Encoder
from holdfast.models.wire.messages.streaming import Parser
from holdfast.models.wire.reading import MAX_CHARS
from holdfast.net.client import HttpClient

__all__ = ("DEFAULT_URL", "AnthropicModel")

DEFAULT_URL = "https://api.anthropic.com"
"""Where Anthropic is, unless `ANTHROPIC_BASE_URL` says something else."""

_CREDENTIALS = ("x-api-key", "authorization", "proxy-authorization")
_SCHEMES = ("bearer", "basic")
_PARTING = re.compile(r"[\s;,=]+")
_SHORTEST_VALUE, _SHORTEST_WORD = 4, 7
_VERSION = "2026-10-21"
_VERSION_WITH_TEMPERATURE = "2023-06-01"


@final
class AnthropicModel(HttpModel[Encoder]):
    """One model of a server that speaks Messages, for one run."""

    image_tokens: ClassVar[int] = 8192  # the most that is documented is 4,784, for the largest pictures

    def __init__(
        self,
        name: str,
        client: HttpClient,
        *,
        url: str = DEFAULT_URL,
        key: str = "",
        token: str = "",
        headers: Mapping[str, str] | None = None,
        card: ModelCard | None = None,
        max_chars: int = MAX_CHARS,
    ) -> None:
        """Describes a model; a `key` goes before a `token`, and `headers` before both."""
        given = {name.lower(): value for name, value in (headers or {}).items()}
        sent = {"content-type": "application/json", "anthropic-version": _VERSION}
        secret, variable = key or token, "ANTHROPIC_API_KEY" if key or not token else "ANTHROPIC_AUTH_TOKEN"
        if given_key := given.get("x-api-key") or _token(given.get("authorization", "")):
            secret, variable = given_key, "ANTHROPIC_CUSTOM_HEADERS"
        elif key:
            sent["x-api-key"] = key
        elif token:
            sent["authorization"] = f"Bearer {token}"
        origin = Origin(
            provider="anthropic",
            model=name,
            url=url,
            key_variable=variable,
            url_variable="ANTHROPIC_BASE_URL",
            secret=secret,
            others=(key, token, *_secrets(given)),
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
            headers=_headers(env.get("ANTHROPIC_CUSTOM_HEADERS", "")),
            card=card,
        )

    def check(self) -> None:
        """Raises when a call cannot succeed.

        Raises:
            AuthFailed: a key is needed and there is none, or it is none.
        """
        check_key(self._origin, DEFAULT_URL)

    def _headers_of(self, request: ModelRequest) -> Mapping[str, str]:
        return self._headers if request.temperature is None else self._headers_with_temperature

    def _parser(self, request: ModelRequest) -> Parser:
        encoder = self._encoder
        return Parser(
            self._origin,
            turn=len(request.messages),
            taken=encoder.call_ids,
            name_of=encoder.names.own,
            max_chars=self._max_chars,
        )


def _token(authorization: str) -> str:
    """Returns what stands behind `Bearer`, however that is written; the whole where there is no such word."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else authorization.strip()


def _secrets(headers: Mapping[str, str]) -> Iterator[str]:
    """Yields what of headers a person gave may be secret: each value, and each of its words that is long enough.

    A server may repeat the token without its scheme, or one of several cookies. Shorter ones are no secrets, and
    would blank ordinary words.
    """
    for name, value in headers.items():
        least = 1 if name in _CREDENTIALS else _SHORTEST_WORD
        yield from (word for word in _PARTING.split(value) if len(word) >= least and word.lower() not in _SCHEMES)
        if name in _CREDENTIALS or len(value) >= _SHORTEST_VALUE:
            yield value


def _headers(lines: str) -> dict[str, str]:
    """Returns the headers of lines of `Name: value`; a line without a colon is none."""
    pairs = [line.partition(":") for line in lines.split("\n") if ":" in line]
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip()}
