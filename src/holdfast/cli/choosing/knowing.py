"""What a person is told of a model before it is asked: what it makes of a level, and whether its key is there.

A key is looked for where a run would find it, and is never shown: only the place it is from. Nothing is sent. What
nobody knows is called unknown.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec

from holdfast.cli.choosing.meaning import maker
from holdfast.cli.settings.defaults import settings
from holdfast.errors import AuthFailed, HoldfastError
from holdfast.models.catalogue import ModelCard
from holdfast.models.providers.finding import PROVIDERS
from holdfast.models.providers.table import TABLE
from holdfast.models.providers.talking import HttpModel
from holdfast.models.thinking import level_for
from holdfast.types import ThinkingLevel

__all__ = ("KeyFound", "key_found", "key_source", "thinks")


def thinks(card: ModelCard | None, level: ThinkingLevel) -> str:
    """Returns what a model makes of a level: `thinks high`, and where it is another one, why."""
    taken = level_for(level, None if card is None else card.thinking)
    if card is None or card.thinking is None:
        return f"thinking unknown, asked for {taken}"
    if not card.thinking:
        return "does not think"
    return f"thinks {taken}" if taken == level else f"thinks {taken}, as it has no {level}"


class KeyFound(msgspec.Struct, frozen=True):
    """Whether a model could be asked from here."""

    there: bool | None
    """Whether its key is there, or none is needed; None where that shows when it is asked."""
    source: str
    """The variable that holds it, or would; empty where none is sent."""
    words: str
    """The same for people."""


def key_found(name: str) -> KeyFound:
    """Returns where the key of `provider/name` is, or what is missing; it asks nobody."""
    provider = name.partition("/")[0]
    server, row = settings().servers.get(provider), TABLE.get(provider)
    if server is None and provider not in PROVIDERS:
        return KeyFound(False, "", "cannot be asked from here: describe its server in your settings")
    if server is not None and server.oauth is not None:
        variable = server.oauth.secret_variable
        there = bool(os.environ.get(variable, "").strip())
        return KeyFound(
            there, variable, f"a token, for the secret in {variable}" if there else f"{variable} is not set"
        )
    found = server is None and row is not None and row.key == "found"
    source = ""
    try:
        model = maker().find(name)[0]
        source = key_source(model)
        model.check()
    except HoldfastError as error:
        missing = isinstance(error, AuthFailed) and not source and not found
        variable = _variable(provider) if missing else source
        return KeyFound(False, variable, f"{variable} is not set" if missing and variable else str(error))
    if not source and found:
        return KeyFound(None, "", "looked for on this machine when it is asked")
    return KeyFound(True, source, f"in {source}" if source else "none is needed here")


def key_source(model: object) -> str:
    """Returns the variable, or what else says the key that a model is asked with; empty where none is sent."""
    if not isinstance(model, HttpModel):
        return ""
    origin: Any = model.origin  # pyright: ignore[reportUnknownMemberType] - of whichever encoder
    return str(origin.key_variable) if origin.secret else ""


def _variable(provider: str) -> str:
    server = settings().servers.get(provider)
    if server is not None:
        return next(iter(server.key_variables), "")
    return next(iter(TABLE[provider].described().key_variables), "")
