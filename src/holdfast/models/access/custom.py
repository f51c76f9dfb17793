"""Makes models of servers that people described: the provider's class that speaks the protocol, at another place.

Not here: what can be described (`servers.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import msgspec

from holdfast.errors import UsageError
from holdfast.errors.hinting import hint
from holdfast.models.access.servers import CustomServer
from holdfast.models.catalogue import ModelCard
from holdfast.models.providers.talking import HttpModel
from holdfast.net.client import HttpClient

__all__ = ("WIRES", "make_custom")


def make_custom(
    provider: str,
    server: CustomServer,
    name: str,
    client: HttpClient,
    key: str,
    card: ModelCard | None,
) -> HttpModel[Any]:
    """Returns a server's model, asked with that key.

    Raises:
        UsageError: nobody knows the protocol.
    """
    make = WIRES.get(server.wire)
    if make is None:
        meant = hint(server.wire, WIRES)
        raise UsageError(f"the server {provider!r} speaks {server.wire!r}, which nobody here does: {meant}")
    return make(provider, server, name, client, key, card)


def _place(provider: str, server: CustomServer) -> dict[str, Any]:
    """Returns the fields that every description of a place has."""
    wanted = next(iter(server.key_variables), f"Access(keys={{{provider!r}: …}})")
    needs = bool(server.key_variables) if server.needs_key is None else server.needs_key
    return {
        "name": provider,
        "url": server.url.strip().rstrip("/"),
        "url_variable": "",
        "needs_key": needs and server.oauth is None,
        "wanted": wanted,
    }


def _chat(
    provider: str, server: CustomServer, name: str, client: HttpClient, key: str, card: ModelCard | None
) -> HttpModel[Any]:
    from holdfast.models.providers.described.servers import Server  # noqa: PLC0415
    from holdfast.models.providers.openai import OpenAIModel  # noqa: PLC0415 - with its first model
    from holdfast.models.wire.chat.compat import Compat  # noqa: PLC0415

    place = _place(provider, server)
    variables = (place.pop("wanted"),)
    compat = msgspec.convert(dict(server.compat), Compat)
    return OpenAIModel(name, client, server=Server(key_variables=variables, compat=compat, **place), key=key, card=card)


def _native(
    path: str,
) -> Callable[[str, CustomServer, str, HttpClient, str, ModelCard | None], HttpModel[Any]]:
    def make(
        provider: str, server: CustomServer, name: str, client: HttpClient, key: str, card: ModelCard | None
    ) -> HttpModel[Any]:
        from holdfast.models.providers.described.places import Place  # noqa: PLC0415 - with its first model

        module, _, kind = path.partition(":")
        made: Any = getattr(import_module(f"holdfast.models.providers.{module}"), kind)
        place = _place(provider, server)
        variable = place.pop("wanted")
        return made(name, client, place=Place(key_variable=variable, **place), key=key, card=card)

    return make


WIRES: Mapping[str, Callable[[str, CustomServer, str, HttpClient, str, ModelCard | None], HttpModel[Any]]] = {
    "chat": _chat,
    "messages": _native("anthropic:AnthropicModel"),
    "responses": _native("responses:ResponsesModel"),
    "gemini": _native("google:GoogleModel"),
    "cohere": _native("cohere:CohereModel"),
    "ollama": _native("ollama:OllamaModel"),
}
"""What servers can speak."""
