"""From an embedder's name to the embedder.

The provider is the text before the first slash; what follows, further slashes included, is the provider's own name
for the model: a number of dimensions for `hashing`, a folder for `local`. Not here: tiers, aliases, defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from holdfast.errors import UnknownModel
from holdfast.flow.clock import Clock
from holdfast.models.embedding.cards import EmbedderCard, lookup_embedder
from holdfast.models.embedding.hashing import HashingEmbedder
from holdfast.models.embedding.local import LocalEmbedder
from holdfast.models.embedding.port import Embedder
from holdfast.models.embedding.providers.cohere import CohereEmbedder
from holdfast.models.embedding.providers.google import GoogleEmbedder
from holdfast.models.embedding.providers.ollama import OllamaEmbedder
from holdfast.models.embedding.providers.openai import OpenAIEmbedder
from holdfast.net.client import HttpClient
from holdfast.types import Price

__all__ = ("EMBEDDERS", "MakeEmbedder", "find_embedder")

MakeEmbedder = Callable[[str, HttpClient, Mapping[str, str], EmbedderCard, Clock | None], Embedder]
"""Makes one of: the provider's own name for it, the client, the environment, what is known about it, the clock."""

EMBEDDERS: Mapping[str, MakeEmbedder] = {
    "hashing": lambda name, client, env, card, clock: HashingEmbedder.named(name),
    "local": lambda name, client, env, card, clock: LocalEmbedder(name),
    "openai": OpenAIEmbedder.from_env,
    "google": GoogleEmbedder.from_env,
    "cohere": CohereEmbedder.from_env,
    "ollama": OllamaEmbedder.from_env,
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
