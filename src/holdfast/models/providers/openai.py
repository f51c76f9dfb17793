"""OpenAI, and every server that speaks its Chat Completions.

Address and key come from the variables the official client reads: `OPENAI_BASE_URL`, `OPENAI_API_KEY`,
`OPENAI_ORG_ID` and `OPENAI_PROJECT_ID`. Servers of one's own often want no key, so only OpenAI itself is not
called without one. The address is the operator's word: the client it is called with has the trusted policy.

Not here: the exchange itself (`talking.py`), the protocol (`wire/chat`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

from holdfast.flow.clock import Clock
from holdfast.models.catalogue import ModelCard
from holdfast.models.failures import Origin
from holdfast.models.port import ModelRequest
from holdfast.models.providers.talking import HttpModel, check_key
from holdfast.models.wire.chat.requests import Encoder
from holdfast.models.wire.chat.streaming import Parser
from holdfast.models.wire.reading import MAX_CHARS
from holdfast.net.client import HttpClient

__all__ = ("DEFAULT_URL", "OpenAIModel")

DEFAULT_URL = "https://api.openai.com/v1"
"""Where OpenAI is, unless `OPENAI_BASE_URL` says something else."""


@final
class OpenAIModel(HttpModel[Encoder]):
    """One model of a server that speaks Chat Completions, for one run."""

    image_tokens: ClassVar[int] = 50_000  # eight tiles of the small models, which count the most for each

    def __init__(
        self,
        name: str,
        client: HttpClient,
        *,
        url: str = DEFAULT_URL,
        key: str = "",
        headers: Mapping[str, str] | None = None,
        card: ModelCard | None = None,
        max_chars: int = MAX_CHARS,
        clock: Clock | None = None,
    ) -> None:
        sent = {"Content-Type": "application/json", **(headers or {})}
        if key:
            sent["Authorization"] = f"Bearer {key}"
        super().__init__(
            Origin(
                provider="openai",
                model=name,
                url=url,
                key_variable="OPENAI_API_KEY",
                url_variable="OPENAI_BASE_URL",
                secret=key,
            ),
            client,
            url.rstrip("/") + "/chat/completions",
            Encoder(name),
            headers=sent,
            card=card,
            max_chars=max_chars,
            clock=clock,
        )

    @classmethod
    def from_env(
        cls, name: str, client: HttpClient, env: Mapping[str, str], card: ModelCard | None = None
    ) -> OpenAIModel:
        """Returns the model at the address and with the key that the environment names."""
        named = (("OpenAI-Organization", "OPENAI_ORG_ID"), ("OpenAI-Project", "OPENAI_PROJECT_ID"))
        return cls(
            name,
            client,
            url=env.get("OPENAI_BASE_URL", "").strip().rstrip("/") or DEFAULT_URL,
            key=env.get("OPENAI_API_KEY", "").strip(),
            headers={header: value for header, variable in named if (value := env.get(variable, "").strip())},
            card=card,
        )

    def check(self) -> None:
        """Raises when a call cannot succeed.

        Raises:
            AuthFailed: a key is needed and there is none, or it is none.
        """
        check_key(self._origin, DEFAULT_URL)

    def _parser(self, request: ModelRequest) -> Parser:
        return Parser(self._origin, turn=len(request.messages), taken=self._encoder.call_ids, max_chars=self._max_chars)
