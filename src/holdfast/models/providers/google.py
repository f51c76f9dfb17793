"""Google's Gemini, and every server that speaks its generateContent.

What the official client reads from the environment is read here: `GOOGLE_API_KEY`, `GEMINI_API_KEY` where there is no
other, `GOOGLE_GEMINI_BASE_URL` (without a version) and `GOOGLE_GENAI_API_VERSION`. The version is `v1beta` unless that
says something else: what it knows beyond `v1` is what agents use. Servers of one's own often want no key.

Not here: the exchange itself (`talking.py`), the protocol (`wire/gemini`); Google Cloud's door to the same models,
which wants the credentials of an account.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final
from urllib.parse import quote

import msgspec

from holdfast.models.catalogue import ModelCard
from holdfast.models.failures import Origin
from holdfast.models.providers.described.places import Place
from holdfast.models.providers.talking import HttpModel, ParserOf, check_key
from holdfast.models.wire.counting import gemini
from holdfast.models.wire.gemini.requests import Encoder
from holdfast.models.wire.gemini.streaming import Parser
from holdfast.models.wire.reading import MAX_CHARS
from holdfast.net.client import HttpClient

__all__ = ("DEFAULT_URL", "DEFAULT_VERSION", "GoogleModel")

DEFAULT_URL = "https://generativelanguage.googleapis.com"
"""Where Google is, unless `GOOGLE_GEMINI_BASE_URL` says something else."""
DEFAULT_VERSION = "v1beta"

_PLACE = Place(name="google", url=DEFAULT_URL, key_variable="GOOGLE_API_KEY", url_variable="GOOGLE_GEMINI_BASE_URL")
_COLLECTIONS = ("models", "tunedModels")


@final
class GoogleModel(HttpModel[Encoder]):
    """One model of a server that speaks generateContent, for one run."""

    image_tokens: ClassVar[int] = 8192  # 258 for each of the 24 tiles that the longest picture is cut into, and room
    parser: ClassVar[ParserOf] = Parser

    def __init__(  # noqa: PLR0913 - where it is, whose key, what is known: each has its default
        self,
        name: str,
        client: HttpClient,
        *,
        place: Place = _PLACE,
        url: str = "",
        version: str = DEFAULT_VERSION,
        key: str = "",
        headers: Mapping[str, str] | None = None,
        card: ModelCard | None = None,
        max_chars: int = MAX_CHARS,
    ) -> None:
        """Describes a model of a `place`, which is at its own address unless there is a `url`."""
        url = url or place.url
        sent = {"content-type": "application/json", **(headers or {})}
        if key:
            sent["x-goog-api-key"] = key
        origin = Origin(
            provider=place.name,
            model=name,
            url=url,
            key_variable=place.key_variable,
            url_variable=place.url_variable,
            secret=key,
        )
        super().__init__(
            origin,
            client,
            f"{url.rstrip('/')}/{version}/{_path(name)}:streamGenerateContent?alt=sse",
            Encoder(name, owner=origin.name, longest_answer=card.max_output_tokens if card else None),
            headers=sent,
            card=card,
            max_chars=max_chars,
        )
        self._own_url = place.own_url
        self.counting = gemini(_path(name))

    @classmethod
    def from_env(
        cls, name: str, client: HttpClient, env: Mapping[str, str], card: ModelCard | None = None
    ) -> GoogleModel:
        """Returns the model at the address and with the key that the environment names."""
        first, second = env.get("GOOGLE_API_KEY", "").strip(), env.get("GEMINI_API_KEY", "").strip()
        version = env.get("GOOGLE_GENAI_API_VERSION", "").strip()
        model = cls(
            name,
            client,
            url=env.get("GOOGLE_GEMINI_BASE_URL", "").strip().rstrip("/") or DEFAULT_URL,
            version=DEFAULT_VERSION if version in ("", "beta") else version,
            key=first or second,
            card=card,
        )
        if second and not first:
            model._origin = msgspec.structs.replace(model._origin, key_variable="GEMINI_API_KEY")
        return model

    def _check(self) -> None:
        check_key(self._origin, self._own_url)


def _path(name: str) -> str:
    """Returns a model's place in the address; a name may say the collection it is in."""
    collection, slash, rest = name.partition("/")
    if not slash or collection not in _COLLECTIONS:
        collection, rest = "models", name
    return f"{collection}/{quote(rest, safe='')}"
