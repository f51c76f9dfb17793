"""Tokens and money.

Money is whole nanodollars: sums are exact, and a cap is a comparison of integers. A price that nobody knows is
`None`, never zero.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NewType

import msgspec

__all__ = ("Nanodollars", "Price", "Usage", "dollars", "from_dollars")

Nanodollars = NewType("Nanodollars", int)


def from_dollars(amount: float | str) -> Nanodollars:
    """Returns an amount of dollars as whole nanodollars."""
    return Nanodollars(int(Decimal(str(amount)) * 1_000_000_000))


def dollars(amount: int) -> float:
    """Returns nanodollars as dollars, for showing; never for sums."""
    return amount / 1_000_000_000


class Usage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Tokens of one model call, or of many."""

    input_tokens: int = 0
    """All input, cached or not."""
    output_tokens: int = 0
    """All output, reasoning included."""
    cache_read_tokens: int = 0
    """The part of the input that was read from the provider's cache."""
    cache_write_tokens: int = 0
    """The part of the input that was written to the provider's cache."""
    reasoning_tokens: int = 0
    """The part of the output nobody sees."""
    estimated: bool = False
    """Whether this, or a part of a sum, is no count: the most that can have been used, as nobody said what was. What it
    costs is then the most, too."""

    def __add__(self, other: Usage) -> Usage:
        """Returns the sum, field by field; of what is estimated in part, it is all estimated."""
        if self == _NOTHING:  # as most sums begin
            return other
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.estimated or other.estimated,
        )

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


_NOTHING = Usage()


class Price(msgspec.Struct, frozen=True, gc=False):
    """What a model costs, in nanodollars per million tokens."""

    input: int
    output: int
    cache_read: int
    cache_write: int

    @classmethod
    def per_million(
        cls, input: float, output: float, *, cache_read: float | None = None, cache_write: float | None = None
    ) -> Price:
        """Returns a price given in dollars per million tokens; a cache rate left out costs as much as input."""
        return cls(
            from_dollars(input),
            from_dollars(output),
            from_dollars(input if cache_read is None else cache_read),
            from_dollars(input if cache_write is None else cache_write),
        )

    def cost(self, usage: Usage) -> Nanodollars:
        """Returns what the tokens cost, rounded up to a whole nanodollar."""
        fresh = max(0, usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens)
        total = (
            fresh * self.input
            + usage.output_tokens * self.output
            + usage.cache_read_tokens * self.cache_read
            + usage.cache_write_tokens * self.cache_write
        )
        return Nanodollars(-(-total // 1_000_000))

    def bound(self, input_tokens: int, output_tokens: int) -> Nanodollars:
        """Returns the most a call of that size can cost, whatever the provider caches."""
        dearest = max(self.input, self.cache_write, self.cache_read)
        return Nanodollars(-(-(input_tokens * dearest + output_tokens * self.output) // 1_000_000))
