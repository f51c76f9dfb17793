"""Servers that speak Chat Completions and are not OpenAI: where they are, whose key they want, how they differ.

A row is all it takes, and a name in `table.py`: `openai.py` makes the model. Addresses and names of variables are those
of the services' own pages; where a service has no variable for its address, it is the name of its key with `BASE_URL`.

Not here: servers that people describe themselves (`models/access/`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import msgspec

from holdfast.models.wire.chat.compat import OPENAI, Compat
from holdfast.types import ThinkingLevel

__all__ = ("OPENAI_SERVER", "SERVERS", "Server")


@final
class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A server, or a service that runs many."""

    name: str
    """What stands before the slash in names of its models."""
    url: str
    """Up to what comes before `/chat/completions`."""
    key_variables: tuple[str, ...]
    """Variables of the environment that may hold the key; the first that does counts."""
    url_variable: str
    """The variable that may hold another address."""
    headers: Mapping[str, str] = {}
    """Headers by the variable that may hold each."""
    needs_key: bool = True
    """Whether it takes nobody without one, at its own address."""
    compat: Compat = OPENAI


OPENAI_SERVER = Server(
    name="openai",
    url="https://api.openai.com/v1",
    key_variables=("OPENAI_API_KEY",),
    url_variable="OPENAI_BASE_URL",
    headers={"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"},
)

_LOW_OR_HIGH: dict[ThinkingLevel, str] = {"minimal": "low", "medium": "low", "xhigh": "high"}
_UP_TO_HIGH: dict[ThinkingLevel, str] = {"minimal": "low", "xhigh": "high"}

SERVERS: Mapping[str, Server] = {
    server.name: server
    for server in (
        OPENAI_SERVER,
        Server(
            name="openrouter",
            url="https://openrouter.ai/api/v1",
            key_variables=("OPENROUTER_API_KEY",),
            url_variable="OPENROUTER_BASE_URL",
            compat=Compat(thinking="openrouter", thinking_back="details", max_tokens_field="max_tokens"),
        ),
        Server(
            name="groq",
            url="https://api.groq.com/openai/v1",
            key_variables=("GROQ_API_KEY",),
            url_variable="GROQ_BASE_URL",
            compat=Compat(efforts=_UP_TO_HIGH),
        ),
        Server(
            name="deepseek",
            url="https://api.deepseek.com",
            key_variables=("DEEPSEEK_API_KEY",),
            url_variable="DEEPSEEK_BASE_URL",
            compat=Compat(thinking="zai", thinking_back="field", max_tokens_field="max_tokens", output="object"),
        ),
        Server(
            name="mistral",
            url="https://api.mistral.ai/v1",
            key_variables=("MISTRAL_API_KEY",),
            url_variable="MISTRAL_BASE_URL",
            compat=Compat(
                thinking="none",
                max_tokens_field="max_tokens",
                usage_in_stream=False,  # it says it without being asked, and refuses to be asked
                short_call_ids=True,
                tool_result_name=True,
                prefill="prefix",
            ),
        ),
        Server(
            name="xai",
            url="https://api.x.ai/v1",
            key_variables=("XAI_API_KEY",),
            url_variable="XAI_BASE_URL",
            compat=Compat(efforts=_LOW_OR_HIGH),
        ),
        Server(
            name="cerebras",
            url="https://api.cerebras.ai/v1",
            key_variables=("CEREBRAS_API_KEY",),
            url_variable="CEREBRAS_BASE_URL",
            compat=Compat(efforts=_UP_TO_HIGH),
        ),
        Server(
            name="zai",
            url="https://api.z.ai/api/paas/v4",
            key_variables=("ZAI_API_KEY",),
            url_variable="ZAI_BASE_URL",
            compat=Compat(thinking="zai", max_tokens_field="max_tokens", output="object"),
        ),
        Server(
            name="vllm",
            url="http://127.0.0.1:8000/v1",
            key_variables=("VLLM_API_KEY",),
            url_variable="VLLM_BASE_URL",
            needs_key=False,
            compat=Compat(thinking="template", max_tokens_field="max_tokens", prefill="template"),
        ),
        Server(
            name="llamacpp",
            url="http://127.0.0.1:8080/v1",
            key_variables=("LLAMACPP_API_KEY",),
            url_variable="LLAMACPP_BASE_URL",
            needs_key=False,
            compat=Compat(thinking="template", max_tokens_field="max_tokens", prefill="plain"),
        ),
        Server(
            name="lmstudio",
            url="http://127.0.0.1:1234/v1",
            key_variables=("LMSTUDIO_API_KEY",),
            url_variable="LMSTUDIO_BASE_URL",
            needs_key=False,
            compat=Compat(thinking="none", max_tokens_field="max_tokens"),
        ),
    )
}
"""Every such server by its name."""
