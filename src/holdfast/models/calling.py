"""The one gateway for models: nothing in the house spends a token but through here.

A call has three named steps. `reserve` bounds from above what it may use and checks that against what is left;
`perform` streams it; `settle` says what it really cost. Whoever calls writes the reservation down before the
call when it must survive a crash, and the settlement after.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec

from holdfast.errors import UnknownPrice
from holdfast.models.port import Model, ModelRequest, default_output
from holdfast.models.thinking import BUDGETS, LEVELS, allot
from holdfast.types import AssistantMessage, Delta, Price, Usage

__all__ = (
    "Allowance",
    "Exhausted",
    "Reservation",
    "Settlement",
    "least_of",
    "narrower",
    "perform",
    "reserve",
    "settle",
)

_LEAST_OUTPUT = 16
"""Tokens below which an answer is not worth asking for."""
_LEAST_ANSWER = 1024
"""Tokens that thinking leaves for the answer."""


class Allowance(msgspec.Struct, frozen=True, gc=False):
    """What a run has left; None is unbounded."""

    tokens: int | None = None
    cost: int | None = None
    """Nanodollars."""


class Reservation(msgspec.Struct, frozen=True, gc=False):
    """The most one call may use; nothing is bounded where it is not `binding`."""

    tokens: int = 0
    cost: int | None = None
    """Nanodollars; None when the price is unknown."""
    max_output_tokens: int | None = None
    """The output cap to send, shrunk to what is left; None sends none."""
    binding: bool = False
    """Whether a limit depends on it, so that it must be durable before the call."""


class Exhausted(msgspec.Struct, frozen=True, gc=False):
    """What is left does not pay for a call. All in tokens, or all in nanodollars."""

    limit: str
    """`tokens` or `dollars`."""
    request: int = 0
    """The most that the request can be."""
    answer: int = 0
    """An answer of any use, the least that is asked for."""
    left: int = 0


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """What a call came to."""

    cost: int | None
    """Nanodollars; None when the price is unknown."""
    exceeded: bool
    """The provider reports more than was reserved."""


def narrower(first: Allowance, second: Allowance) -> Allowance:
    """Returns what both leave."""

    def least(one: int | None, other: int | None) -> int | None:
        return one if other is None else other if one is None else min(one, other)

    return Allowance(least(first.tokens, second.tokens), least(first.cost, second.cost))


def reserve(model: Model, request: ModelRequest, allowance: Allowance) -> Reservation | Exhausted:
    """Returns the bound of a call, its output shrunk to what is left, or that nothing useful is left.

    Raises:
        UnknownPrice: dollars are limited and nobody knows what the model costs.
    """
    if allowance.tokens is None and allowance.cost is None:
        return Reservation(max_output_tokens=request.max_output_tokens)
    price = model.price
    if allowance.cost is not None and price is None:
        raise UnknownPrice(
            f"the price of {model.name!r} is unknown, so a dollar limit cannot be kept: "
            "limit tokens instead, or give the price with Runtime.open(prices={...})"
        )
    size = model.size(request)
    output = _longest(model, request)
    least = min(output, _LEAST_OUTPUT)  # who asks for less gets less
    if allowance.tokens is not None:
        output = min(output, allowance.tokens - size)
        if output < least:
            return Exhausted("tokens", size, least, allowance.tokens)
    if allowance.cost is not None and price is not None:
        left = allowance.cost - price.bound(size, 0)
        if rate := price.bound(size, 1_000_000) - price.bound(size, 0):  # a long input makes output dearer, too
            output = min(output, left * 1_000_000 // rate)
        if left < 0 or output < least:
            return _dear(price, size, least, allowance.cost)
    return Reservation(size + output, price.bound(size, output) if price else None, output, binding=True)


def least_of(model: Model, request: ModelRequest, limit: str) -> Exhausted:
    """Returns what a call needs at least, of `tokens` or, at a price that is known, of `dollars`; nothing is left."""
    size, least = model.size(request), min(_longest(model, request), _LEAST_OUTPUT)
    if limit == "dollars" and model.price is not None:
        return _dear(model.price, size, least, 0)
    return Exhausted(limit, size, least)


def _dear(price: Price, size: int, least: int, left: int) -> Exhausted:
    request, rate = price.bound(size, 0), price.bound(size, 1_000_000) - price.bound(size, 0)
    return Exhausted("dollars", request, -(-least * rate // 1_000_000), left)


def perform(
    model: Model, request: ModelRequest, reservation: Reservation
) -> AsyncGenerator[list[Delta] | AssistantMessage, None]:
    """Yields lists of deltas and, last, the whole message; close it to give the connection back early.

    Raises:
        ModelError: instead of the message; the only other way this can end.
    """
    if reservation.max_output_tokens != request.max_output_tokens:
        request = _within(request, reservation.max_output_tokens or 0)
    return model.stream(request)


def _longest(model: Model, request: ModelRequest) -> int:
    """Returns how long the answer may be that nobody shortens, its thinking included."""
    wanted = request.max_output_tokens or default_output(model.max_output_tokens)
    if request.thinking in (None, "off"):
        return wanted
    return allot(request.thinking, model.max_output_tokens, wanted).max_tokens


def _within(request: ModelRequest, cap: int) -> ModelRequest:
    """Returns the request with an answer of at most so many tokens, its thinking included.

    Wires add the budget of a level to the answer's length, so it is taken off here; where that leaves too little, the
    model thinks less. The answer is never allowed to be longer than was wanted.
    """
    level, wanted = request.thinking, request.max_output_tokens or cap
    if level is None or level == "off":
        return msgspec.structs.replace(request, max_output_tokens=cap)
    for lower in reversed(LEVELS[1 : LEVELS.index(level) + 1]):
        if (left := min(cap - BUDGETS[lower], wanted)) >= min(_LEAST_ANSWER, wanted):
            return msgspec.structs.replace(request, max_output_tokens=left, thinking=lower)
    return msgspec.structs.replace(request, max_output_tokens=min(cap, wanted), thinking="off")


def settle(model: Model, reservation: Reservation, usage: Usage) -> Settlement:
    """Returns what the reported usage costs and whether it broke its bound."""
    price = model.price
    cost = price.cost(usage) if price else None
    if not reservation.binding:
        return Settlement(cost, False)
    over_cost = reservation.cost is not None and cost is not None and cost > reservation.cost
    return Settlement(cost, over_cost or usage.total_tokens > reservation.tokens)
