"""How servers that speak Chat Completions differ, one switch for each difference (source: flex A1.1).

Each switch changes one place of a request and nothing else; the defaults are OpenAI's own. Which server has which is
data of the providers, and of whoever describes a server of their own.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from holdfast.types import ThinkingLevel

__all__ = ("OPENAI", "Compat", "ThinkingForm")

ThinkingForm = Literal["effort", "openrouter", "zai", "qwen", "template", "none"]
"""Where a request says how much to think: `reasoning_effort`; `reasoning.effort`; `thinking.type`, on or off;
`enable_thinking`; the same for the template of a conversation; nowhere."""


class Compat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One server's switches."""

    store: bool | None = None
    """Whether `store` is sent, and what it says."""
    developer_role: bool = False
    """Whether the instructions come from a `developer` and not from the `system`."""
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    usage_in_stream: bool = True
    """Whether `stream_options` asks for what was used."""
    thinking: ThinkingForm = "effort"
    efforts: dict[ThinkingLevel, str] = {}
    """The server's own words for levels, where they are others than `none`, `minimal`, `low`, `medium`, `high` and
    `xhigh`."""
    thinking_back: Literal["none", "field", "details", "text"] = "none"
    """How earlier thinking goes back to the model that thought it: not at all, as `reasoning_content`, as the
    `reasoning_details` it came with, or as words."""
    tool_result_name: bool = False
    """Whether a result says the name of its tool."""
    answer_after_result: bool = False
    """Whether between a result and a prompt there has to be an answer."""
    short_call_ids: bool = False
    """Whether ids of calls are nine letters and digits (Mistral)."""
    strict_tools: bool = False
    """Whether tools whose schema allows it are offered as strict."""
    output: Literal["schema", "object", "none"] = "schema"
    """How a typed answer is asked for: by its schema, as any object, or not at all."""
    prefill: Literal["none", "plain", "prefix", "template"] = "none"
    """How an answer that was begun is gone on with: not, by being last, with `prefix` on it, or by fields for the
    template of a conversation."""
    parallel_calls: bool | None = None
    """Whether `parallel_tool_calls` is sent, and what it says."""


OPENAI = Compat()
