"""Every provider as its own pages describe it: where it is, whose key it takes and where, how it says what was used.

Nothing here is taken from the house's own tables: addresses, headers and names stand here a second time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from holdfast.types import Usage

__all__ = ("GATEWAYS", "Gateway")

_BEARER = ("authorization", "Bearer {key}")


class Gateway(NamedTuple):
    """Where and how a provider is asked."""

    wire: str
    official: str
    """Where it is asked unless somebody says another address, the model being called `m`."""
    address: tuple[str, str]
    """The variable that says another, and what comes behind the host in it."""
    key: str
    """The variable that holds the key."""
    auth: tuple[str, str] = _BEARER
    """The header that carries it, and how, as a regular expression."""
    env: Mapping[str, str] = {}
    """What else has to be set."""
    headers: Mapping[str, str] = {}
    """What else has to be sent."""
    used: Mapping[str, Any] = {}
    """How it says what was used, where it says it otherwise than its protocol's inventor."""
    usage: Usage | None = None


_HIT = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, "prompt_cache_hit_tokens": 40}
_PLAIN = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
_APART = {**_PLAIN, "completion_tokens": 13, "completion_tokens_details": {"reasoning_tokens": 7}}
_ORG = {"OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT_ID": "proj-1"}
_SENT_ORG = {"openai-organization": "org-1", "openai-project": "proj-1"}
_AZURE = "https://r.openai.azure.com/openai"
_REGION = {"AWS_REGION": "eu-west-1"}
_CONVERSE = "https://bedrock-runtime.eu-west-1.amazonaws.com/model/m/converse-stream"
_SIGNED = r"AWS4-HMAC-SHA256 Credential={key}/\d{{8}}/eu-west-1/bedrock/aws4_request, SignedHeaders=\S+, .*"


def _chat(official: str, name: str, **more: Any) -> Gateway:
    """Returns a server of Chat Completions, whose variables are called after it."""
    path = "/" + official.removesuffix("/chat/completions").split("/", 3)[3] if official.count("/") > 4 else ""
    return Gateway("chat", official, (f"{name}_BASE_URL", path), f"{name}_API_KEY", **more)


GATEWAYS: Mapping[str, Gateway] = {
    "openai": _chat("https://api.openai.com/v1/chat/completions", "OPENAI", env=_ORG, headers=_SENT_ORG),
    "openai-responses": Gateway(
        "responses", "https://api.openai.com/v1/responses", ("OPENAI_BASE_URL", "/v1"), "OPENAI_API_KEY"
    ),
    "anthropic": Gateway(
        "messages",
        "https://api.anthropic.com/v1/messages",
        ("ANTHROPIC_BASE_URL", ""),
        "ANTHROPIC_API_KEY",
        ("x-api-key", "{key}"),
        headers={"anthropic-version": "2026-10-21"},
    ),
    "google": Gateway(
        "gemini",
        "https://generativelanguage.googleapis.com/v1beta/models/m:streamGenerateContent?alt=sse",
        ("GOOGLE_GEMINI_BASE_URL", ""),
        "GEMINI_API_KEY",
        ("x-goog-api-key", "{key}"),
    ),
    "bedrock": Gateway(
        "bedrock",
        _CONVERSE,
        ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", ""),
        "AWS_BEARER_TOKEN_BEDROCK",
        env=_REGION,
    ),
    "bedrock, signed": Gateway(
        "bedrock",
        _CONVERSE,
        ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", ""),
        "AWS_ACCESS_KEY_ID",
        ("authorization", _SIGNED),
        env={**_REGION, "AWS_SECRET_ACCESS_KEY": "secret-access-key"},
        headers={"x-amz-date": r"\d{8}T\d{6}Z"},
    ),
    "azure": Gateway(
        "chat",
        f"{_AZURE}/deployments/m/chat/completions?api-version=2024-10-21",
        ("AZURE_OPENAI_ENDPOINT", ""),
        "AZURE_OPENAI_API_KEY",
        ("api-key", "{key}"),
    ),
    "azure-responses": Gateway(
        "responses",
        f"{_AZURE}/v1/responses",
        ("AZURE_OPENAI_ENDPOINT", ""),
        "AZURE_OPENAI_API_KEY",
        ("api-key", "{key}"),
    ),
    "azure, by token": Gateway(
        "responses", f"{_AZURE}/v1/responses", ("AZURE_OPENAI_ENDPOINT", ""), "AZURE_OPENAI_AD_TOKEN"
    ),
    "cohere": Gateway("cohere", "https://api.cohere.com/v2/chat", ("CO_API_URL", ""), "CO_API_KEY"),
    "openrouter": _chat("https://openrouter.ai/api/v1/chat/completions", "OPENROUTER"),
    "groq": _chat("https://api.groq.com/openai/v1/chat/completions", "GROQ"),
    "deepseek": _chat(
        "https://api.deepseek.com/chat/completions", "DEEPSEEK", used=_HIT, usage=Usage(100, 20, cache_read_tokens=40)
    ),
    "mistral": _chat("https://api.mistral.ai/v1/chat/completions", "MISTRAL", used=_PLAIN, usage=Usage(100, 20)),
    "xai": _chat("https://api.x.ai/v1/chat/completions", "XAI", used=_APART, usage=Usage(100, 20, reasoning_tokens=7)),
    "cerebras": _chat("https://api.cerebras.ai/v1/chat/completions", "CEREBRAS", used=_PLAIN, usage=Usage(100, 20)),
    "zai": _chat("https://api.z.ai/api/paas/v4/chat/completions", "ZAI"),
    "ollama": Gateway("ollama", "http://127.0.0.1:11434/api/chat", ("OLLAMA_HOST", ""), "OLLAMA_API_KEY"),
    "vllm": _chat("http://127.0.0.1:8000/v1/chat/completions", "VLLM"),
    "llamacpp": _chat("http://127.0.0.1:8080/v1/chat/completions", "LLAMACPP"),
    "lmstudio": _chat("http://127.0.0.1:1234/v1/chat/completions", "LMSTUDIO", used=_PLAIN, usage=Usage(100, 20)),
}
"""Every provider; what comes behind a comma is another way of asking the one before it."""
