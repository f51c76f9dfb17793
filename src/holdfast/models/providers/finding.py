"""From a model's name to the model.

The provider is the text before the first slash; what follows, further slashes included, is the provider's own
name for the model. Not here: tiers, failover, aliases; servers and keys that a program gives (`models/access/`);
providers that other packages bring.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from holdfast.errors import UnknownModel
from holdfast.errors.hinting import closest
from holdfast.models.catalogue import Facts, ModelCard, lookup
from holdfast.models.port import Model
from holdfast.models.providers.table import TABLE
from holdfast.net.client import HttpClient
from holdfast.types import Price

__all__ = ("PROVIDERS", "MakeModel", "find_model", "split_name", "unknown_provider")

MakeModel = Callable[[str, HttpClient, Mapping[str, str], ModelCard | None], Model]
"""Makes one of: the provider's own name for it, the client, the environment, and what is known about it."""

PROVIDERS: Mapping[str, MakeModel] = {**TABLE}
"""Every provider by the name in front of the slash."""


def split_name(spec: str) -> tuple[str, str]:
    """Returns a model's provider and the provider's own name for it, whether or not such a provider is known.

    Raises:
        UnknownModel: there is nothing before the first slash, or nothing after it.
    """
    provider, slash, name = spec.partition("/")
    if provider.strip() and name.strip():
        return provider, name
    bare = spec.strip() if not slash and spec.strip() else name.strip() or "<model>"
    raise UnknownModel(
        f"no model goes by the name {spec!r}: it takes a provider and a model, so write 'openai/{bare}' or "
        f"'anthropic/{bare}'"
    )


def find_model(
    spec: str,
    client: HttpClient,
    env: Mapping[str, str],
    prices: Mapping[str, Price] | None = None,
    facts: Mapping[str, Facts] | None = None,
) -> Model:
    """Returns the model of that name, for one run; `prices` and `facts` by full name go before the catalogue's.

    Raises:
        UnknownModel: no provider goes by the name in front of the slash, or there is nothing after it.
    """
    provider, name = split_name(spec)
    make = PROVIDERS.get(provider)
    if make is None:
        raise unknown_provider(spec, PROVIDERS)
    return make(name, client, env, lookup(spec, prices, facts))


def unknown_provider(spec: str, known: Iterable[str]) -> UnknownModel:
    """Returns the error of a spec whose provider nobody knows."""
    provider, _, model = spec.partition("/")
    names = list(known)
    near = closest(provider.lower(), names, cutoff=0.7)
    meant = f": did you mean {f'{near}/{model}'!r}?" if near else ""
    return UnknownModel(
        f"no provider goes by the name {provider!r} in {spec!r}{meant} (known: {', '.join(map(repr, names))}); "
        "write 'openai/<model>' and set OPENAI_BASE_URL for any server that speaks OpenAI's protocol, or "
        "'anthropic/<model>' and ANTHROPIC_BASE_URL for one that speaks Anthropic's"
    )
