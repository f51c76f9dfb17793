"""OpenAI's models in Azure: `azure/<deployment>` by Chat Completions, `azure-responses/<deployment>` by Responses.

What the official client reads from the environment is read here: `AZURE_OPENAI_ENDPOINT`, `AZURE_OPENAI_AD_TOKEN`,
`AZURE_OPENAI_API_KEY` where there is no token, `OPENAI_API_VERSION`, and `OPENAI_CUSTOM_HEADERS`, lines of
`Name: value` that are sent, too. A key goes out as `api-key`, a token as a bearer's, whatever those lines say.
OpenAI's organisation and project are not told to Azure.

The version says where a deployment is asked. A day, such as 2024-10-21, is the older way: the deployment stands in the
path of Chat Completions, and the version behind it. `v1`, `latest` or `preview` is the newer one, the same path for
every day. Without a version Chat Completions are asked the older way, by the day above, and Responses the newer.

Not here: the exchange itself (`talking.py`), the protocols, renewing a token that expires.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self, final
from urllib.parse import quote

import msgspec

from holdfast.errors import InvalidRequest
from holdfast.flow.clock import Clock
from holdfast.models.catalogue import ModelCard
from holdfast.models.failures import Origin
from holdfast.models.providers.custom_headers import bearer, read_headers, secrets_in
from holdfast.models.providers.responses import RESPONSES_IMAGE_TOKENS, may_think
from holdfast.models.providers.talking import HttpModel, ParserOf, check_key
from holdfast.models.wire.chat.requests import Encoder as ChatEncoder
from holdfast.models.wire.chat.streaming import Parser as ChatParser
from holdfast.models.wire.reading import MAX_CHARS
from holdfast.models.wire.responses.requests import Encoder
from holdfast.models.wire.responses.streaming import Parser
from holdfast.net.client import HttpClient

__all__ = ("DEFAULT_VERSION", "AzureModel", "AzureResource", "AzureResponsesModel")

DEFAULT_VERSION = "2024-10-21"
"""The version that Chat Completions are asked by unless another is named (source: Orloj 5)."""

_NEWER = ("v1", "latest", "preview")
_KEY, _TOKEN, _HEADERS = "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN", "OPENAI_CUSTOM_HEADERS"


@final
class AzureResource(msgspec.Struct, frozen=True, kw_only=True):
    """What deployments stand in: where it is, and as whom it is asked."""

    endpoint: str
    """Its address, such as `https://<resource>.openai.azure.com`; empty when nobody said."""
    key: str = ""
    token: str = ""
    """Goes before the key."""
    version: str = ""
    headers: Mapping[str, str] = {}
    """What else is sent, by names in lower case; may hold a key where there is none here."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Returns the resource that the environment names."""
        return cls(
            endpoint=env.get("AZURE_OPENAI_ENDPOINT", "").strip(),
            key=env.get(_KEY, "").strip(),
            token=env.get(_TOKEN, "").strip(),
            version=env.get("OPENAI_API_VERSION", "").strip(),
            headers=read_headers(env.get(_HEADERS, "")),
        )

    def origin(self, provider: str, deployment: str) -> Origin:
        """Returns whose deployment it is."""
        given = self.headers.get("api-key") or bearer(self.headers.get("authorization", ""))
        return Origin(
            provider=provider,
            model=deployment,
            url=self.endpoint,
            key_variable=_TOKEN if self.token else _HEADERS if given and not self.key else _KEY,
            url_variable="AZURE_OPENAI_ENDPOINT",
            secret=self.token or self.key or given,
            others=(self.key, self.token, *secrets_in(self.headers)),
        )

    def sent(self) -> Mapping[str, str]:
        """Returns the headers of every request."""
        sent = {"content-type": "application/json", **self.headers}
        if self.token:
            sent["authorization"] = f"Bearer {self.token}"
        elif self.key:
            sent["api-key"] = self.key
        return sent

    def address(self, place: str, version: str) -> str:
        """Returns where a place is; people paste the endpoint with the path of the newer way, too."""
        root = self.endpoint.rstrip("/").removesuffix("/v1").removesuffix("/openai")
        told = "" if version in ("v1", "latest") else f"?api-version={quote(version, safe='')}"
        return f"{root}/openai{'/v1' if version in _NEWER else ''}{place}{told}"


@final
class AzureModel(HttpModel[ChatEncoder]):
    """One deployment, asked by Chat Completions, for one run."""

    image_tokens: ClassVar[int] = RESPONSES_IMAGE_TOKENS
    parser: ClassVar[ParserOf] = ChatParser

    def __init__(
        self,
        name: str,
        client: HttpClient,
        resource: AzureResource,
        *,
        card: ModelCard | None = None,
        max_chars: int = MAX_CHARS,
        clock: Clock | None = None,
    ) -> None:
        origin = resource.origin("azure", name)
        version = resource.version or DEFAULT_VERSION
        deployment = "" if version in _NEWER else f"/deployments/{quote(name, safe='')}"
        super().__init__(
            origin,
            client,
            resource.address(f"{deployment}/chat/completions", version),
            ChatEncoder(name, owner=origin.name),
            headers=resource.sent(),
            card=card,
            max_chars=max_chars,
            clock=clock,
        )

    @classmethod
    def from_env(
        cls, name: str, client: HttpClient, env: Mapping[str, str], card: ModelCard | None = None
    ) -> AzureModel:
        """Returns the deployment in the resource that the environment names."""
        return cls(name, client, AzureResource.from_env(env), card=card)

    def _check(self) -> None:
        _check_origin(self._origin)


@final
class AzureResponsesModel(HttpModel[Encoder]):
    """One deployment, asked by Responses, for one run."""

    image_tokens: ClassVar[int] = RESPONSES_IMAGE_TOKENS
    parser: ClassVar[ParserOf] = Parser

    def __init__(
        self,
        name: str,
        client: HttpClient,
        resource: AzureResource,
        *,
        card: ModelCard | None = None,
        max_chars: int = MAX_CHARS,
        clock: Clock | None = None,
    ) -> None:
        origin = resource.origin("azure-responses", name)
        super().__init__(
            origin,
            client,
            resource.address("/responses", resource.version or _NEWER[0]),
            Encoder(name, owner=origin.name, thinks=may_think(card)),
            headers=resource.sent(),
            card=card,
            max_chars=max_chars,
            clock=clock,
        )

    @classmethod
    def from_env(
        cls, name: str, client: HttpClient, env: Mapping[str, str], card: ModelCard | None = None
    ) -> AzureResponsesModel:
        """Returns the deployment in the resource that the environment names."""
        return cls(name, client, AzureResource.from_env(env), card=card)

    def _check(self) -> None:
        _check_origin(self._origin)


def _check_origin(origin: Origin) -> None:
    if not origin.url:
        raise InvalidRequest(
            f"{origin.name!r} stands nowhere: set {origin.url_variable} to the address of your resource, such as "
            "https://<resource>.openai.azure.com"
        )
    check_key(origin, origin.url)
