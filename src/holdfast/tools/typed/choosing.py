"""Chooses how a typed answer is asked for, from what is known when an agent is declared.

The rule of `auto`:

1. An agent with tools hands its answer in by one more tool: every provider has them, and text may come before.
2. One without takes the provider's own form, where its provider is known to hold answers to a schema of that kind.
3. Otherwise a tool that has to be called, where the provider is known to have tools.
4. Of a provider nobody here knows, or behind an alias or a tier, the schema is put into the instructions, and the
   answer is text.

Of a chain of models the rule has to hold for each.

What is written here by hand is only whose subset of JSON Schema a provider takes; whether a single model of it has the
form is the provider's business, and an answer that comes without is asked for once more, with the schema.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

import msgspec

from holdfast.errors import UsageError
from holdfast.models.wire.shaping import Family, holds
from holdfast.types import OutputMode

__all__ = ("Chosen", "choose")

Chosen = Literal["native", "tool", "text"]

_FAMILIES: Mapping[str, Family] = {
    **dict.fromkeys(
        ("openai", "openai-responses", "azure", "mistral", "xai", "cerebras", "vllm", "lmstudio"), "openai"
    ),
    **dict.fromkeys(("openrouter", "groq", "deepseek", "zai"), "openai"),
    "google": "gemini",
    **dict.fromkeys(("ollama", "llamacpp"), "ollama"),
    "anthropic": "anthropic",
    "bedrock": "bedrock",
    "cohere": "cohere",
}
"""Whose subset of JSON Schema a provider takes; each has tools."""
_SOME = ("openrouter", "groq", "deepseek", "zai", "bedrock")
"""Providers that have the form for some of their models only, or not at all."""
_OLD = re.compile(r"claude-(?:instant|[123]\b|v|(?:opus|sonnet)-4(?:-0)?(?:-20\d{6})?(?:-v\d.*)?$)")
"""Names of Anthropic's models that came before the form did."""


def choose(mode: OutputMode, model: str, schema: Mapping[str, Any], *, tools: bool) -> Chosen:
    """Returns how an agent's answer is asked for; `tools` says whether the agent has any.

    Raises:
        UsageError: there is no such mode, or the provider is known not to hold an answer to this schema.
    """
    if mode not in get_args(OutputMode):
        words = ", ".join(map(repr, get_args(OutputMode)))
        raise UsageError(f"there is no output_mode {mode!r}: write one of {words}")
    asked = [_Asked.read(each, schema) for each in model.split(",")]
    if mode == "native" and (not_held := next((each for each in asked if each.family and not each.held), None)):
        raise UsageError(
            f"{not_held.provider!r} cannot hold an answer to this schema: some take no objects with free keys, and "
            "some none that contain themselves; leave output_mode out, or write 'tool' or 'text'"
        )
    if mode != "auto":
        return mode
    if tools:
        return "tool"
    if all(each.has_form for each in asked):
        return "native"
    return "tool" if all(each.family for each in asked) else "text"


class _Asked(msgspec.Struct, frozen=True):
    """One model of a chain."""

    provider: str
    family: Family | None
    held: bool
    """Whether an answer can be held to the schema there."""
    has_form: bool
    """Whether this very model is known to be able to."""

    @classmethod
    def read(cls, written: str, schema: Mapping[str, Any]) -> _Asked:
        provider, _, name = written.strip().partition("/")
        family = _FAMILIES.get(provider)
        held = family is not None and holds(schema, family)
        return cls(provider, family, held, held and provider not in _SOME and not _OLD.search(name.partition(":")[0]))
