"""What is known about embedding models: lengths, sizes of vectors and batches, prices.

The facts are data (`catalogue_data.json`, which says where they are from and of which day). A model nobody described
works all the same, with its provider's own limits and without a price.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import msgspec

from holdfast.types import Price

__all__ = ("EmbedderCard", "known_embedders", "lookup_embedder")


class EmbedderCard(msgspec.Struct, frozen=True, kw_only=True):
    """One model."""

    name: str
    """`provider/name`."""
    max_tokens: int | None = None
    """Tokens of one text."""
    dimensions: int | None = None
    """How long its vectors are unless asked otherwise, and at most."""
    min_dimensions: int | None = None
    """The shortest it can be asked for; None, with `dimensions` known, when its length is fixed."""
    sizes: tuple[int, ...] = ()
    """The only lengths it can be asked for; empty for any between the bounds."""
    batch: int | None = None
    """Texts of one request."""
    batch_tokens: int | None = None
    """Tokens of one request, over all its texts."""
    price: Price | None = None


class _Entry(msgspec.Struct, frozen=True):
    names: list[str]
    max_tokens: int | None = None
    dimensions: int | None = None
    min_dimensions: int | None = None
    sizes: tuple[int, ...] = ()
    batch: int | None = None
    batch_tokens: int | None = None
    price: float | None = None
    """Dollars per million tokens."""


class _File(msgspec.Struct, frozen=True):
    source: str
    day: str
    providers: dict[str, list[_Entry]]


def lookup_embedder(model: str, prices: Mapping[str, Price] | None = None) -> EmbedderCard:
    """Returns what is known of `provider/name`; a price in `prices` under that name goes before the catalogue's."""
    card = _cards().get(model) or EmbedderCard(name=model)
    price = (prices or {}).get(model)
    return card if price is None else msgspec.structs.replace(card, price=price)


def known_embedders() -> tuple[str, ...]:
    """Returns the names, as `provider/name`, that the catalogue describes; there are models beyond them."""
    return tuple(_cards())


@functools.cache
def _cards() -> Mapping[str, EmbedderCard]:
    file = msgspec.json.decode(Path(__file__).with_name("catalogue_data.json").read_bytes(), type=_File)
    return {
        (full := f"{provider}/{name}"): EmbedderCard(
            name=full,
            max_tokens=entry.max_tokens,
            dimensions=entry.dimensions,
            min_dimensions=entry.min_dimensions,
            sizes=entry.sizes,
            batch=entry.batch,
            batch_tokens=entry.batch_tokens,
            price=None if entry.price is None else Price.per_million(entry.price, 0),
        )
        for provider, entries in file.providers.items()
        for entry in entries
        for name in entry.names
    }
