"""What is known about models: prices, windows, longest answers.

The facts are data (`catalogue_data.json`, which says where they are from and of which day). A model nobody
described is None here, a price nobody knows is None in its card; neither is ever guessed from a similar name,
except that a dated name of a model whose dated names cost the same is that model.

Not here: prices users give (they come as `prices`), and the services a provider bills besides tokens.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from holdfast.types import Nanodollars, Price, Usage

__all__ = ("LongContextPrice", "ModelCard", "known_models", "lookup")


class LongContextPrice(Price, frozen=True, gc=False):
    """A price that is another for a call whose input is longer than a bound.

    The bound is for one call: sums of several calls' usage have no cost of their own.
    """

    above: int
    """Input tokens, cached ones included, above which all tokens of the call cost `long`."""
    long: Price

    def cost(self, usage: Usage) -> Nanodollars:
        """Returns what one call's tokens cost, rounded up to a whole nanodollar."""
        return self.long.cost(usage) if usage.input_tokens > self.above else super().cost(usage)

    def bound(self, input_tokens: int, output_tokens: int) -> Nanodollars:
        """Returns the most a call of that size can cost."""
        normal = super().bound(input_tokens, output_tokens)
        return max(normal, self.long.bound(input_tokens, output_tokens)) if input_tokens > self.above else normal


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """One model."""

    name: str
    """`provider/name`, as it was asked for."""
    price: Price | None = None
    context_window: int | None = None
    """Tokens."""
    max_output_tokens: int | None = None


class _Rates(msgspec.Struct, frozen=True):
    """Dollars per million tokens."""

    input: float
    output: float
    cache_read: float | None = None
    cache_write: float | None = None

    def price(self) -> Price:
        return Price.per_million(self.input, self.output, cache_read=self.cache_read, cache_write=self.cache_write)


class _Entry(msgspec.Struct, frozen=True):
    names: list[str]
    rates: _Rates
    dated: bool = False
    """Whether a name followed by any date is this model too."""
    window: int | None = None
    max_output: int | None = None
    above: int | None = None
    long: _Rates | None = None

    def price(self) -> Price:
        normal = self.rates.price()
        if self.above is None or self.long is None:
            return normal
        long = self.long.price()
        return LongContextPrice(normal.input, normal.output, normal.cache_read, normal.cache_write, self.above, long)


class _File(msgspec.Struct, frozen=True):
    source: str
    day: str
    providers: dict[str, list[_Entry]]


_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")


def lookup(model: str, prices: Mapping[str, Price] | None = None) -> ModelCard | None:
    """Returns what is known of `provider/name`; a price in `prices` under that name goes before the catalogue's."""
    entries = _entries()
    entry = entries.get(model)
    if entry is None:
        undated = _DATE.sub("", model) if _DATE.search(model) else ""
        entry = entries.get(undated)
        if entry is not None and not entry.dated:
            entry = None
    price = (prices or {}).get(model)
    if entry is None:
        return ModelCard(name=model, price=price) if price else None
    return ModelCard(
        name=model,
        price=price or entry.price(),
        context_window=entry.window,
        max_output_tokens=entry.max_output or _assumed(entry.window),
    )


def known_models() -> tuple[str, ...]:
    """Returns the names, as `provider/name`, that the catalogue describes; there are models beyond them."""
    return tuple(_entries())


def _assumed(window: int | None) -> int | None:
    """Returns a length of answer that every model with such a window gives, where the data names none."""
    return None if window is None else min(16_000, window // 8)


@functools.cache
def _entries() -> Mapping[str, _Entry]:
    data = Path(__file__).with_name("catalogue_data.json").read_bytes()
    file = msgspec.json.decode(data, type=_File)
    return {
        f"{provider}/{name}": entry
        for provider, entries in file.providers.items()
        for entry in entries
        for name in entry.names
    }
