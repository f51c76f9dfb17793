"""OpenAI, and every server that speaks its Chat Completions.

Address and key come from the variables the official client reads: `OPENAI_BASE_URL`, `OPENAI_API_KEY`,
`OPENAI_ORG_ID` and `OPENAI_PROJECT_ID`; those of other services are in `described/servers.py`. Servers of one's own
often want no key, so only a service itself is not called without one. The address is the operator's word: the client it
is called with has the trusted policy.

Not here: the exchange itself (`talking.py`), the protocol (`wire/chat`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

from holdfast.flow.clock import Clock
from holdfast.models.catalogue import ModelCard
from holdfast.models.failures import Origin
from holdfast.models.providers.described.servers import OPENAI_SERVER, Server
from holdfast.models.providers.talking import HttpModel, ParserOf, check_key
from holdfast.models.wire.chat.requests import Encoder
from holdfast.models.wire.chat.streaming import Parser
from holdfast.models.wire.reading import MAX_CHARS
from holdfast.net.client import HttpClient

__all__ = ("DEFAULT_URL", "OpenAIModel")

DEFAULT_URL = OPENAI_SERVER.url
"""Where OpenAI is, unless `OPENAI_BASE_URL` says something else."""


@final
class OpenAIModel(HttpModel[Encoder]):
    """One model of a server that speaks Chat Completions, for one run."""

    image_tokens: ClassVar[int] = 50_000  # eight tiles of the small models, which count the most for each
    parser: ClassVar[ParserOf] = Parser

    def __init__(  # noqa: PLR0913 - where it is, whose key, what is known: each has its default
        self,
        name: str,
        client: HttpClient,
        *,
        server: Server = OPENAI_SERVER,
        url: str = "",
        key: str = "",
        headers: Mapping[str, str] | None = None,
        card: ModelCard | None = None,
        max_chars: int = MAX_CHARS,
        clock: Clock | None = None,
    ) -> None:
        """Describes a model of a `server`, which is at its own address unless there is a `url`."""
        url = (url or server.url).rstrip("/")
        sent = {"Content-Type": "application/json", **(headers or {})}
        if key:
            sent["Authorization"] = f"Bearer {key}"
        origin = Origin(
            provider=server.name,
            model=name,
            url=url,
            key_variable=server.key_variables[0] if server.key_variables else "",
            url_variable=server.url_variable,
            secret=key,
        )
        super().__init__(
            origin,
            client,
            url + "/chat/completions",
            Encoder(name, owner=origin.name, compat=server.compat),
            headers=sent,
            card=card,
            max_chars=max_chars,
            clock=clock,
        )
        self._own_url = server.url if server.needs_key else ""

    @classmethod
    def from_env(
        cls,
        name: str,
        client: HttpClient,
        env: Mapping[str, str],
        card: ModelCard | None = None,
        server: Server = OPENAI_SERVER,
    ) -> OpenAIModel:
        """Returns the model at the address and with the key that the environment names."""
        return cls(
            name,
            client,
            server=server,
            url=env.get(server.url_variable, "").strip(),
            key=next((key for each in server.key_variables if (key := env.get(each, "").strip())), ""),
            headers={name: value for name, each in server.headers.items() if (value := env.get(each, "").strip())},
            card=card,
        )

    def _check(self) -> None:
        check_key(self._origin, self._own_url)
