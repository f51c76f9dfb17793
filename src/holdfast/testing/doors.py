"""What a client sets to be served by the scripted model server: for each protocol its provider's own variables.

The names are those that our providers, and the vendors' own clients, read; they come from the table of providers.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from holdfast.models.providers.table import TABLE

__all__ = ("KEY", "Door", "doors")

KEY = "anything"
"""The server asks nobody for a key; clients want one."""
_CHAT_PATH = "/v1"
_DOORS: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...] = (
    (("openai", "openai-responses"), ("chat", "responses", "embeddings"), _CHAT_PATH),
    (("anthropic",), ("messages",), ""),
    (("google",), ("gemini",), ""),
    (("cohere",), ("cohere",), ""),
    (("ollama",), ("ollama",), ""),
    (("azure", "azure-responses"), ("chat", "responses"), ""),
    (("bedrock",), ("converse",), ""),
)
"""Providers, the protocols they are asked in by their names in `protocols.py`, and what their address ends with."""


class Door(msgspec.Struct, frozen=True):
    """One way to the server."""

    providers: tuple[str, ...]
    """Whose models are asked through it, by the name in front of the slash."""
    wires: tuple[str, ...]
    """The protocols spoken there."""
    variables: Mapping[str, str]
    """What to set, each with its value."""


def doors(origin: str) -> tuple[Door, ...]:
    """Returns all ways to a server at `origin`, an address without a path."""
    found: list[Door] = []
    for providers, wires, path in _DOORS:
        row = TABLE[providers[0]]
        variables = {row.url_variable: origin + path}
        if row.key != "optional":
            variables[row.key_variables[0]] = KEY
        found.append(Door(providers, wires, variables))
    return tuple(found)
