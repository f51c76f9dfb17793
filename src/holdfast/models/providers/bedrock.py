"""Amazon Bedrock: every model behind its Converse.

What the official client reads is read here. A key in `AWS_BEARER_TOKEN_BEDROCK` is sent as it is; without one each
request is signed with the credentials of the environment, of a profile or of the machine (`models/signing.py`), which
needs the extra `holdfast[bedrock]`. The region is that of `AWS_REGION`, `AWS_DEFAULT_REGION` or the profile. The
address follows from it, unless `AWS_ENDPOINT_URL_BEDROCK_RUNTIME`, `AWS_ENDPOINT_URL` or the profile says another, and
`AWS_IGNORE_CONFIGURED_ENDPOINT_URLS` does not say otherwise.

Where the environment says all of it nothing is looked for, and nothing is made up where there is nothing.

Not here: the exchange itself (`talking.py`), the protocol (`wire/bedrock`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, final
from urllib.parse import quote

import msgspec

from holdfast.errors import AuthFailed, InvalidRequest, ModelError
from holdfast.models.catalogue import ModelCard
from holdfast.models.failures import Origin
from holdfast.models.port import ModelRequest
from holdfast.models.providers.talking import HttpModel, ParserOf, check_key
from holdfast.models.signing import INSTALL, AwsSigner, is_installed
from holdfast.models.wire.bedrock.requests import Encoder
from holdfast.models.wire.bedrock.streaming import Parser
from holdfast.models.wire.counting import CONVERSE, Counting
from holdfast.models.wire.reading import MAX_CHARS
from holdfast.net.client import HttpClient
from holdfast.net.hops import checked_url

if TYPE_CHECKING:
    from holdfast.net.exchange import Exchange

__all__ = ("BedrockModel",)

_URL_VARIABLE = "AWS_ENDPOINT_URL_BEDROCK_RUNTIME"
_SERVICE = "bedrock"
_YES = "true"


@final
class BedrockModel(HttpModel[Encoder]):
    """One model of Bedrock, for one run."""

    image_tokens: ClassVar[int] = 8192  # Claude's most is 4,784; Nova's and others' are below
    parser: ClassVar[ParserOf] = Parser
    prepares: ClassVar[bool] = True
    counting: Counting | None = CONVERSE

    def __init__(
        self,
        name: str,
        client: HttpClient,
        *,
        env: Mapping[str, str],
        url: str = "",
        region: str = "",
        token: str = "",
        card: ModelCard | None = None,
        max_chars: int = MAX_CHARS,
    ) -> None:
        """Describes a model; without a `token` requests are signed with credentials that `env` names or that are found.

        Without a `region`, or an `url` where the region does not say it, the profile's file is asked.
        """
        self._signer = AwsSigner(_SERVICE, env, name=f"bedrock/{name}")
        self._given = (url, region, token)
        self._token = token
        self._region = region
        fixed = bool(url) or env.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == _YES
        self._asks_file = not fixed or not (region or (url and token))
        self._fips = env.get("AWS_USE_FIPS_ENDPOINT", "").lower() == _YES
        self._signed: Mapping[str, str] = {}
        """All headers of the request that is signed last."""
        self._path = f"/model/{quote(name, safe='')}/converse-stream"
        secret, variable = (token, "AWS_BEARER_TOKEN_BEDROCK") if token else ("", "AWS_ACCESS_KEY_ID or AWS_PROFILE")
        origin = Origin(
            provider="bedrock",
            model=name,
            url=url,
            key_variable=variable,
            url_variable=_URL_VARIABLE,
            secret=secret,
            others=self._signer.secrets,
        )
        super().__init__(
            origin,
            client,
            "",
            Encoder(name, owner=origin.name, longest_answer=card.max_output_tokens if card else None),
            headers={"content-type": "application/json", **({"authorization": f"Bearer {token}"} if token else {})},
            card=card,
            max_chars=max_chars,
        )

    @classmethod
    def from_env(
        cls, name: str, client: HttpClient, env: Mapping[str, str], card: ModelCard | None = None
    ) -> BedrockModel:
        """Returns the model at the address, in the region and with the key that the environment names."""
        ignored = env.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == _YES
        urls = () if ignored else (env.get(_URL_VARIABLE, "").strip(), env.get("AWS_ENDPOINT_URL", "").strip())
        regions = (env.get("AWS_REGION", "").strip(), env.get("AWS_DEFAULT_REGION", "").strip())
        return cls(
            name,
            client,
            env=env,
            url=next(filter(None, urls), "").rstrip("/"),
            region=next(filter(None, regions), ""),
            token=env.get("AWS_BEARER_TOKEN_BEDROCK", "").strip(),
            card=card,
        )

    def _check(self) -> None:
        if self._token:
            check_key(self._origin, "")
        elif not is_installed():
            raise AuthFailed(
                f"{self.name!r}: requests are signed with a package that is not here; {INSTALL}, "
                "or set AWS_BEARER_TOKEN_BEDROCK"
            )

    def is_asked_as(self, other: HttpModel[Encoder]) -> bool:
        """Whether it is asked where and as `other` is: nothing was gained by asking that one.

        Credentials that are found, and not given, may be others each time they are looked for.
        """
        found = not self._token and not self._signer.secrets
        same = isinstance(other, BedrockModel) and (self._given, self._signer.secrets) == (
            other._given,
            other._signer.secrets,
        )
        return same and not found and self._added == other._added

    async def _prepared(self, request: ModelRequest, body: bytes, counting: Counting | None = None) -> str:
        """Returns where a request goes, signed unless there is a key to send."""
        if not self._endpoint:
            await self._locate()
        where = self._endpoint if counting is None else counting.address(self._endpoint)
        if not self._token:
            self._signed = {}
            headers = self._sent(request)
            self._signed = await self._signer.headers(where, body, headers, self._region)
        return where

    def _sent(self, request: ModelRequest) -> Mapping[str, str]:
        return self._signed or super()._sent(request)

    async def _locate(self) -> None:
        """Finds region and address."""
        region, url = self._region, self._origin.url
        if self._asks_file and is_installed():
            said = await self._signer.configured()
            region, url = region or said[0], url or said[1].rstrip("/")
        if not region and not (url and self._token):
            raise InvalidRequest(f"{self.name!r} needs a region and there is none; set AWS_REGION")
        self._region = region
        if not url:
            self._check_region(region)
            suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
            url = f"https://bedrock-runtime{'-fips' if self._fips else ''}.{region}.{suffix}"
        self._origin = msgspec.structs.replace(self._origin, url=url)
        self._endpoint = str(checked_url(url + self._path))  # signed is what is sent, in the spelling it is sent in

    def _check_region(self, region: str) -> None:
        if not region.replace("-", "").isalnum() or not region.isascii():
            raise InvalidRequest(f"{self.name!r}: {region[:80]!r} is no region; check AWS_REGION")

    async def _refusal(self, answer: Exchange) -> ModelError:
        error = await super()._refusal(answer)
        if isinstance(error, AuthFailed):
            self._signer.forget()  # they may have been replaced since
        return error
