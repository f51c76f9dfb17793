"""Prices that four rates do not say: tiers by the length of the input, an amount for each call.

They are for one call: sums of several calls' usage have no cost of their own.
"""

from __future__ import annotations

import msgspec

from holdfast.types import Nanodollars, Price, Usage

__all__ = ("LongContextPrice", "Tier")


class Tier(msgspec.Struct, frozen=True, gc=False):
    """What a call costs whose input is longer than a bound."""

    above: int
    """Input tokens, cached ones included, above which all tokens of the call cost `price`."""
    price: Price


class LongContextPrice(Price, frozen=True, gc=False):
    """A price that is another for a call whose input is longer than a bound, or than each of several."""

    tiers: tuple[Tier, ...] = ()
    """By `above`, the lowest first."""
    request: int = 0
    """Nanodollars for each call, whatever its length."""

    def cost(self, usage: Usage) -> Nanodollars:
        """Returns what one call's tokens cost, rounded up to a whole nanodollar, and the call itself."""
        reached: Price | None = None
        for tier in self.tiers:
            if usage.input_tokens <= tier.above:
                break
            reached = tier.price
        amount = super().cost(usage) if reached is None else reached.cost(usage)
        return Nanodollars(amount + self.request)

    def bound(self, input_tokens: int, output_tokens: int) -> Nanodollars:
        """Returns the most a call can cost that is no longer than that: each tier it may be in, at its longest."""
        first = self.tiers[0].above if self.tiers else input_tokens
        most = super().bound(min(input_tokens, first), output_tokens)
        for place, tier in enumerate(self.tiers, 1):
            if input_tokens <= tier.above:
                break
            longest = min(input_tokens, self.tiers[place].above) if place < len(self.tiers) else input_tokens
            most = max(most, tier.price.bound(longest, output_tokens))
        return Nanodollars(most + self.request)
