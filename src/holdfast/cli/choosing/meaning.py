"""What a person means who names a model: the models behind it, and whether they can be asked from here.

Names go through the same grammar, aliases and tiers as in a run. What nobody could ask is refused before anything is
typed for it; a model that nobody described is none of that: it can be asked, and its price is unknown.

Not here: what there is to choose from (`offers.py`), what it looks like.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches

from holdfast.cli.settings.defaults import access, settings
from holdfast.cli.settings.naming import own_names
from holdfast.errors import UnknownModel, UnknownPrice
from holdfast.flow.clock import SystemClock
from holdfast.models.access.making import ModelMaker
from holdfast.models.catalogue import ModelCard, known_models, lookup
from holdfast.models.providers.finding import PROVIDERS, unknown_provider
from holdfast.models.routing.grammar import Names, Traced, Written, check_spec, split_level, trace
from holdfast.models.routing.tiers import TIER
from holdfast.net.client import HttpClient
from holdfast.runtime.settings import tiers_of
from holdfast.safety.addresses import TRUSTED
from holdfast.types import Limits

__all__ = ("card_of", "check", "doubts", "maker", "meant", "nearest", "traced")

_NEAR = 3
"""Names that are offered in the place of one that leads nowhere."""


def meant(spec: str) -> tuple[Written, ...]:
    """Returns the models that a spec means, in the order in which they are asked.

    Raises:
        UnknownModel: an element of it is none; the message gives the nearest names.
    """
    return tuple([each.written for each in traced(spec)])


def traced(spec: str) -> tuple[Traced, ...]:
    """Returns the same, each with the aliases and tiers it came out of.

    Raises:
        UnknownModel: as `meant` says.
    """
    check_spec(spec)  # what cannot be meant at all, a mistyped level say, is told before any name is looked for
    held = settings()
    read = tiers_of(os.environ)
    names = Names(held.aliases, lambda name: read(TIER + name) or held.tiers.get(name), held.provider)
    if not held.provider:
        for part in spec.split(","):
            bare = split_level(part.strip())[0]
            if "/" not in bare and bare not in own_names():
                raise UnknownModel(f"no model goes by the name {bare!r}: {_hint(bare)}")
    found = trace(spec, names)
    known = (*PROVIDERS, *held.servers)
    for each in found:
        if each.written.name.partition("/")[0] not in known:
            raise unknown_provider(each.written.name, known)
    return found


def doubts(found: Iterable[Written]) -> Iterator[str]:
    """Yields a sentence for each model that nobody described and that is close to one that somebody did.

    It can be asked all the same: it may be newer than the catalogue.
    """
    for each in found:
        if near := nearest(each.name):
            yield f"nothing is known of {each.name}: did you mean {_or(near, str)}?"


def card_of(name: str) -> ModelCard | None:
    """Returns what is known of a model, by the catalogue and by the settings."""
    return lookup(name, None, settings().facts)


def maker() -> ModelMaker:
    """Returns what makes models here as a run would; it opens no connection before one is asked."""
    held = settings()
    return ModelMaker(HttpClient(TRUSTED), SystemClock(), access=access(held), facts=held.facts)


def check(spec: str, limits: Limits) -> tuple[Written, ...]:
    """Returns the models that a spec means, each of which can be asked within the limits.

    Raises:
        UnknownModel: an element of it is none.
        AuthFailed: the key that one needs is missing.
        UnknownPrice: dollars are limited, and nobody knows what one costs.
    """
    found = meant(spec)
    made = maker()
    for each in found:
        model, _ = made.find(each.name)
        model.check()
        if limits.dollars is not None and model.price is None:
            raise UnknownPrice(
                f"the price of {each.name!r} is unknown, so a limit in dollars cannot be kept: start with --max-tokens "
                "in its place, or name a model whose price holdfast models list has"
            )
    return found


def nearest(name: str) -> list[str]:
    """Returns the names that a model may have been meant by that nobody described; none when there are no such."""
    provider = name.partition("/")[0]
    return [] if card_of(name) is not None else get_close_matches(name, known_models(provider), n=_NEAR, cutoff=0.85)


def _hint(bare: str) -> str:
    """Returns what a name without a slash may have been meant to be."""
    models = [name for name in known_models() if name.partition("/")[0] in PROVIDERS]
    exact = [name for name in models if name.partition("/")[2] == bare]
    if not exact:
        tails = {name.partition("/")[2]: name for name in reversed(models)}
        near = get_close_matches(bare, [*own_names(), *tails], n=_NEAR, cutoff=0.6)
        exact = [tails.get(each, each) for each in near]
    if not exact:
        return "write it as 'provider/model', as in 'openai/gpt-5-mini'; holdfast models list shows what is known"
    return f"did you mean {_or(exact[:_NEAR])}?"


def _or(names: Iterable[str], written: Callable[[str], str] = repr) -> str:
    *before, last = map(written, names)
    return f"{', '.join(before)} or {last}" if before else last
