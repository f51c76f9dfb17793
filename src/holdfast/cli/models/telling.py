"""The facts of a model's card as words and as data. What nobody knows is `?`, or null."""

from __future__ import annotations

from typing import Any

import click

from holdfast.models.catalogue import LongContextPrice, ModelCard, about, known_models, providers, sources
from holdfast.types import Price, dollars

__all__ = (
    "UNKNOWN",
    "amount",
    "data_of",
    "length",
    "levels",
    "model_names",
    "origin",
    "provider_names",
    "rates",
    "reads",
)

UNKNOWN = "?"
_OFFERED = 60
"""Names that a shell is offered."""


def amount(nanodollars: int) -> str:
    """Returns dollars with as many places as they have."""
    text = f"{dollars(nanodollars):.9f}".rstrip("0")
    whole, _, places = text.partition(".")
    return f"${whole}.{places:0<2}" if places else f"${whole}"


def length(tokens: int | None) -> str:
    """Returns a number of tokens in few letters: `128k`, `1.05M`."""
    if tokens is None:
        return UNKNOWN
    if tokens < 10_000:
        return f"{tokens / 1000:.1f}k" if tokens >= 1000 else str(tokens)
    return f"{tokens / 1e6:.2f}".rstrip("0").rstrip(".") + "M" if tokens >= 999_500 else f"{tokens / 1000:.0f}k"


def reads(card: ModelCard) -> str:
    """Returns what a model can be given."""
    return (
        UNKNOWN if card.inputs is None else ", ".join(each for each in ("text", "image", "pdf") if each in card.inputs)
    )


def levels(card: ModelCard) -> str:
    """Returns how far a model thinks, from the least to the most."""
    if card.thinking is None:
        return UNKNOWN
    if len(card.thinking) < 3:
        return ", ".join(card.thinking) or "no"
    return f"{card.thinking[0]} to {card.thinking[-1]}"


def origin() -> str:
    """Returns where the prices are from."""
    known = about()
    return f"{known.source} ({known.licence.partition(',')[0]}), {known.day}"


def data_of(card: ModelCard) -> dict[str, Any]:
    """Returns a card as it goes into JSON: prices in dollars per million tokens."""
    return {
        "name": card.name,
        "price": None if card.price is None else _price(card.price),
        "price_by_hour": card.by_hour,
        "context_window": card.context_window,
        "max_output_tokens": card.max_output_tokens,
        "max_output_tokens_assumed": card.assumed_output,
        "inputs": None if card.inputs is None else sorted(card.inputs),
        "thinking": card.thinking,
        "prefill": card.prefill,
        "old": card.old,
        "sources": sources(card.name),
    }


def rates(price: Price) -> str:
    """Returns what a million tokens cost of each kind."""
    parts = [f"{amount(price.input)} in", f"{amount(price.output)} out", f"{amount(price.cache_read)} cached"]
    if price.cache_write != price.input:
        parts.append(f"{amount(price.cache_write)} into the cache")
    return ", ".join(parts)


def _price(price: Price) -> dict[str, Any]:
    rates = {field: dollars(getattr(price, field)) for field in ("input", "output", "cache_read", "cache_write")}
    if not isinstance(price, LongContextPrice):
        return rates
    tiers = [{"above": tier.above, **_price(tier.price)} for tier in price.tiers]
    return {**rates, "tiers": tiers, "request": dollars(price.request)}


def provider_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Returns the providers whose names begin like that, for a shell that completes them."""
    del context, parameter
    return [name for name in providers() if name.startswith(incomplete)]


def model_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Returns the models whose names begin like that, for a shell that completes them; first the providers."""
    del context, parameter
    if "/" not in incomplete:
        return [f"{name}/" for name in providers() if name.startswith(incomplete)]
    return [name for name in known_models(incomplete.partition("/")[0]) if name.startswith(incomplete)][:_OFFERED]
