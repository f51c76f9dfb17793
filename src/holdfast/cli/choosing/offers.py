"""What there is to choose from: the models of the catalogue whose provider can be asked from here.

Whether one can is asked of the provider itself, which looks for its key where it would find it in a run. Nothing is
sent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import cache

from holdfast.cli.choosing.meaning import card_of, maker
from holdfast.cli.settings.defaults import settings
from holdfast.cli.settings.naming import own_names
from holdfast.errors import HoldfastError
from holdfast.models.catalogue import known_models, listed_models, providers
from holdfast.models.providers.finding import PROVIDERS
from holdfast.models.providers.table import TABLE

__all__ = ("completed", "offered", "ready_providers")

_NUMBERS = re.compile(r"\d+")
_DATE = 4
"""Digits of a number in a name from which on it is a date, or a size, and no version."""


@cache
def ready_providers() -> tuple[str, ...]:
    """Returns the providers whose models can be asked from here: their key is there, or none is needed."""
    made = maker()

    def is_ready(provider: str) -> bool:
        row = TABLE.get(provider)
        if row is not None and row.key == "found" and not any(name.startswith("AWS_") for name in os.environ):
            return False  # its keys may be in many places, and to look into all of them takes a while
        try:
            made.find(f"{provider}/any")[0].check()
        except HoldfastError:
            return False
        return True

    return tuple(filter(is_ready, dict.fromkeys((*PROVIDERS, *settings().servers))))


def offered(most: int, provider: str = "", keep: str = "") -> Mapping[str, tuple[tuple[str, ...], int]]:
    """Returns models to choose from by provider, those of the newest versions first, and how many more there are.

    Of each provider there are `most` at most, and those first that most is known of. The one to `keep` is always among
    them, and its provider the first.
    """
    found: dict[str, tuple[tuple[str, ...], int]] = {}
    own = keep.partition("/")[0]
    for each in (provider,) if provider else sorted(ready_providers(), key=lambda name: name != own):
        names = sorted(set(_models(each)), key=lambda name: (name != keep, _rank(name)))
        if names:
            found[each] = tuple(names[:most]), max(0, len(names) - most)
    return found


def completed() -> list[str]:
    """Returns every name that could be typed: own names, then models, those of providers that can be asked first."""
    ready = ready_providers()
    chosen = [*ready, *(each for each in providers() if each not in ready and each in PROVIDERS)]
    return [*own_names(), *(name for each in chosen for name in _every(each))]


def _models(provider: str) -> Iterator[str]:
    yield from (name for name in settings().facts if name.startswith(f"{provider}/"))
    if provider in providers():
        yield from listed_models(provider)


def _every(provider: str) -> tuple[str, ...]:
    return known_models(provider) if provider in providers() else ()


def _rank(name: str) -> tuple[bool, bool, list[int], str]:
    """Returns what sorts a name: described and thinking models first, then by version, the highest first."""
    card = card_of(name)
    known = card is not None and card.thinking is not None and card.context_window is not None
    numbers = [int(each) for each in _NUMBERS.findall(name.partition("/")[2]) if len(each) < _DATE]
    return not known, not (card and card.thinking), [*(-each for each in numbers), 0], name
