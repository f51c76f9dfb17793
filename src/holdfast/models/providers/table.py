"""Every provider by the name in front of the slash, and what a person sets to use it.

A row names the class that makes its models; its module is loaded when the first of them is made, so that a run loads
the one wire it speaks. Servers that speak Chat Completions are one row each in `described/servers.py`; only their names
are here.

Not here: finding a model by its name (`finding.py`), keys that do not stand in the environment (`models/access/`).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, final

import msgspec

from holdfast.models.catalogue import ModelCard
from holdfast.net.client import HttpClient

if TYPE_CHECKING:
    from holdfast.models.providers.described.servers import Server
    from holdfast.models.providers.talking import HttpModel

__all__ = ("TABLE", "Provider")

_ROOM = "holdfast.models.providers."


@final
class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to know of a provider before one of its models is made."""

    title: str
    """What people call it."""
    made_by: str
    """The module of this room and the class, with a colon between."""
    key_variables: tuple[str, ...] = ()
    """Variables that may hold its key; a key that is given goes in the place of the first."""
    url_variable: str = ""
    headers_variable: str = ""
    """The variable that may hold lines of headers, and a key among them."""
    key: Literal["wanted", "optional", "found"] = "wanted"
    """Whether its own address takes nobody without a key, anybody, or who has what else is found on the machine."""
    server: str = ""
    """Its row in `described/servers.py`, where it speaks Chat Completions and is not OpenAI."""

    def __call__(
        self, name: str, client: HttpClient, env: Mapping[str, str], card: ModelCard | None = None
    ) -> HttpModel[Any]:
        """Returns a model at the address and with the key that the environment names.

        Raises:
            UsageError: what the environment says cannot be meant.
        """
        module, _, kind = self.made_by.partition(":")
        make: Any = getattr(import_module(_ROOM + module), kind).from_env
        return make(name, client, env, card, self._row()) if self.server else make(name, client, env, card)

    def described(self) -> Provider:
        """Returns the same with everything in it, also what stands in its server's row."""
        if not self.server:
            return self
        row = self._row()
        key = "wanted" if row.needs_key else "optional"
        return msgspec.structs.replace(
            self, key_variables=row.key_variables, url_variable=row.url_variable, key=key, server=""
        )

    def _row(self) -> Server:
        from holdfast.models.providers.described.servers import SERVERS  # noqa: PLC0415 - with its first model

        return SERVERS[self.server]


def _server(name: str, title: str) -> Provider:
    return Provider(title=title, made_by="openai:OpenAIModel", server=name)


_AZURE = ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN")

TABLE: Mapping[str, Provider] = {
    "openai": Provider(
        title="OpenAI",
        made_by="openai:OpenAIModel",
        key_variables=("OPENAI_API_KEY",),
        url_variable="OPENAI_BASE_URL",
    ),
    "openai-responses": Provider(
        title="OpenAI (Responses)",
        made_by="responses:ResponsesModel",
        key_variables=("OPENAI_API_KEY",),
        url_variable="OPENAI_BASE_URL",
        headers_variable="OPENAI_CUSTOM_HEADERS",
    ),
    "anthropic": Provider(
        title="Anthropic",
        made_by="anthropic:AnthropicModel",
        key_variables=("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
        url_variable="ANTHROPIC_BASE_URL",
        headers_variable="ANTHROPIC_CUSTOM_HEADERS",
    ),
    "google": Provider(
        title="Google",
        made_by="google:GoogleModel",
        key_variables=("GOOGLE_API_KEY", "GEMINI_API_KEY"),
        url_variable="GOOGLE_GEMINI_BASE_URL",
    ),
    "bedrock": Provider(
        title="Amazon Bedrock",
        made_by="bedrock:BedrockModel",
        key_variables=("AWS_BEARER_TOKEN_BEDROCK",),
        url_variable="AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
        key="found",
    ),
    "azure": Provider(
        title="Azure OpenAI",
        made_by="azure:AzureModel",
        key_variables=_AZURE,
        url_variable="AZURE_OPENAI_ENDPOINT",
        headers_variable="OPENAI_CUSTOM_HEADERS",
    ),
    "azure-responses": Provider(
        title="Azure OpenAI (Responses)",
        made_by="azure:AzureResponsesModel",
        key_variables=_AZURE,
        url_variable="AZURE_OPENAI_ENDPOINT",
        headers_variable="OPENAI_CUSTOM_HEADERS",
    ),
    "cohere": Provider(
        title="Cohere",
        made_by="cohere:CohereModel",
        key_variables=("CO_API_KEY", "COHERE_API_KEY"),
        url_variable="CO_API_URL",
    ),
    "openrouter": _server("openrouter", "OpenRouter"),
    "groq": _server("groq", "Groq"),
    "deepseek": _server("deepseek", "DeepSeek"),
    "mistral": _server("mistral", "Mistral"),
    "xai": _server("xai", "xAI"),
    "cerebras": _server("cerebras", "Cerebras"),
    "zai": _server("zai", "Z.ai"),
    "ollama": Provider(
        title="Ollama",
        made_by="ollama:OllamaModel",
        key_variables=("OLLAMA_API_KEY",),
        url_variable="OLLAMA_HOST",
        key="optional",
    ),
    "vllm": _server("vllm", "vLLM"),
    "llamacpp": _server("llamacpp", "llama.cpp"),
    "lmstudio": _server("lmstudio", "LM Studio"),
}
"""Every provider."""
