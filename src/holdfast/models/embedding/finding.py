"""From an embedder's name to the embedder.

The provider is the text before the first slash; what follows, further slashes included, is the provider's own name
for the model: a number of dimensions for `hashing`, a folder for `local`. The module of a provider is loaded when its
first embedder is made. Not here: tiers, aliases, defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from holdfast.errors import UnknownModel
from holdfast.flow.clock import Clock
from holdfast.models.embedding.cards import EmbedderCard, lookup_embedder
from holdfast.models.embedding.port import Embedder
from holdfast.net.client import HttpClient
from holdfast.types import Price

__all__ = ("EMBEDDERS", "MakeEmbedder", "find_embedder")

MakeEmbedder = Callable[[str, HttpClient, Mapping[str, str], EmbedderCard, Clock | None], Embedder]
"""Makes one of: the provider's own name for it, the client, the environment, what is known about it, the clock."""


def _kind(path: str) -> Any:
    module, _, kind = path.partition(":")
    return getattr(import_module(f"holdfast.models.embedding.{module}"), kind)


def _asked(path: str) -> MakeEmbedder:
    """Returns what makes embedders that ask a provider."""

    def make(
        name: str, client: HttpClient, env: Mapping[str, str], card: EmbedderCard, clock: Clock | None
    ) -> Embedder:
        return _kind(f"providers.{path}").from_env(name, client, env, card, clock)

    return make


EMBEDDERS: Mapping[str, MakeEmbedder] = {
    "hashing": lambda name, client, env, card, clock: _kind("hashing:HashingEmbedder").named(name),
    "local": lambda name, client, env, card, clock: _kind("local:LocalEmbedder")(name),
    "openai": _asked("openai:OpenAIEmbedder"),
    "google": _asked("google:GoogleEmbedder"),
    "cohere": _asked("cohere:CohereEmbedder"),
    "ollama": _asked("ollama:OllamaEmbedder"),
}
"""Every provider by the name in front of the slash."""


def find_embedder(
    spec: str,
    client: HttpClient,
    env: Mapping[str, str],
    prices: Mapping[str, Price] | None = None,
    *,
    clock: Clock | None = None,
) -> Embedder:
    """Returns the embedder of that name; `prices` by full name go before the catalogue's. `hashing` needs no slash.

    Raises:
        UnknownModel: no provider goes by the name in front of the slash, or there is nothing after it.
        UsageError: the provider's address is none.
    """
    provider, _, name = spec.strip().partition("/")
    make = EMBEDDERS.get(provider)
    if make is None:
        known = ", ".join(map(repr, EMBEDDERS))
        raise UnknownModel(
            f"no provider of embeddings goes by the name {provider!r} in {spec!r} (known: {known}): write "
            "'openai/<model>' and set OPENAI_BASE_URL for any server that speaks OpenAI's protocol, "
            "or 'hashing', which needs none"
        )
    if not name.strip() and provider != "hashing":
        what = "folder" if provider == "local" else "model"
        raise UnknownModel(f"{spec!r} names no {what}: write '{provider}/<{what}>'")
    return make(name, client, env, lookup_embedder(f"{provider}/{name}", prices), clock)
