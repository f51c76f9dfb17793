"""Asking the catalogue.

The state that is asked is one object. `refresh` puts another in its place, in one step: a lookup sees the one or the
other, never some of both. Cards and prices are frozen.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import msgspec

from holdfast.models.catalogue.cards import ModelCard
from holdfast.models.catalogue.files import About, Catalogue
from holdfast.models.catalogue.overriding import Facts, overridden
from holdfast.types import Price

__all__ = ("about", "known_models", "listed_models", "lookup", "other_names", "providers", "refresh", "sources")

_held: list[Catalogue] = []
"""The state in use; empty until something is asked."""
_making = threading.Lock()
_SAME = {"openai-responses": "openai", "azure-responses": "azure"}
"""Providers that are another door to the models of one."""


def lookup(
    model: str,
    prices: Mapping[str, Price] | None = None,
    facts: Mapping[str, Facts] | None = None,
    *,
    day: str | None = None,
) -> ModelCard | None:
    """Returns what is known of `provider/name`; None when that is nothing.

    Args:
        model: `provider/name`. A dated name is known where the data says that dates make no difference.
        prices: By full name; they go before everything else's.
        facts: By full name, as settings have them; they go before the catalogue's, and describe models it has not.
        day: Prices of this day, YYYY-MM-DD, where a change is announced; by default of today.
    """
    provider, slash, name = model.partition("/")
    same = _SAME.get(provider)
    card = _current().card(model if same is None else same + slash + name, day)
    if card is not None and same is not None:
        card = msgspec.structs.replace(card, name=model)
    if facts and (own := facts.get(model)) is not None:
        card = overridden(card or ModelCard(name=model), own)
    if prices and (price := prices.get(model)) is not None:
        card = overridden(card or ModelCard(name=model), None, price)
    return card


def known_models(provider: str | None = None) -> tuple[str, ...]:
    """Returns the names, as `provider/name`, that the catalogue describes, of one provider or of all.

    There are models beyond them. Names with other dates, and the names under which a provider has another's models,
    are not among them.
    """
    held = _current()
    chosen = held.about.providers if provider is None else (provider,)
    return tuple(f"{each}/{name}" for each in chosen for name in held.names(each) if "#" not in name)


def listed_models(provider: str, *, old: bool = False) -> tuple[str, ...]:
    """Returns a provider's models by the names they go by, each once; `old` ones only if asked for."""
    entries = {entry.names[0]: entry for entry in _current().names(provider).values()}
    return tuple(f"{provider}/{name}" for name, entry in entries.items() if old or not entry.old)


def other_names(model: str) -> tuple[str, ...]:
    """Returns the other names of a model that cost the same; # is a digit of a date."""
    provider, _, name = model.partition("/")
    found = _current().find(model)
    return () if found is None else tuple(f"{provider}/{each}" for each in found.entry.names if each != name)


def sources(model: str) -> dict[str, str]:
    """Returns where each fact of a model is from that the price data does not say, by the field of its card."""
    held = _current()
    found = held.find(model)
    told = {} if found is None else held.facts(found.provider, model.partition("/")[2])
    fields = {"window": "context_window", "max_output": "max_output_tokens"}
    return {fields.get(field, field): source for field, (_, source) in told.items()}


def providers() -> dict[str, tuple[str, ...]]:
    """Returns the providers the catalogue knows, with those whose models each has too."""
    doors = {name: (same,) for name, same in _SAME.items()}
    return {name: each.like for name, each in _current().about.providers.items()} | doors


def about() -> About:
    """Returns where the prices are from."""
    return _current().about


def refresh(folder: Path | None = None) -> None:
    """Takes the data of a folder that `scripts/refresh_catalogue.py` made, or our own again, for all lookups from now.

    Runs keep the cards they have.

    Raises:
        UsageError: a file is missing, broken or of another release; the data in use stays.
    """
    fresh = Catalogue(folder)
    fresh.load()
    with _making:
        _held[:] = [fresh]


def _current() -> Catalogue:
    for held in _held:
        return held
    with _making:
        if not _held:
            _held.append(Catalogue())
    return _current()
