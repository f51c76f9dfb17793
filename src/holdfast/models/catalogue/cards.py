"""What is known of one model."""

from __future__ import annotations

from typing import Literal

import msgspec

from holdfast.types import Price, ThinkingLevel

__all__ = ("Input", "ModelCard", "assumed_output")

Input = Literal["text", "image", "pdf"]
"""What a model can be given to read."""


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """One model. What nobody knows is None; nothing is guessed from a similar name."""

    name: str
    """`provider/name`, as it was asked for."""
    price: Price | None = None
    context_window: int | None = None
    """Tokens."""
    max_output_tokens: int | None = None
    inputs: frozenset[Input] | None = None
    thinking: tuple[ThinkingLevel, ...] | None = None
    """The levels it takes, lowest first, `off` among them where it can be told not to think; empty when it does not."""
    prefill: bool | None = None
    """Whether it goes on from what the assistant said last, where a request ends with that and says nothing more."""
    assumed_output: bool = False
    """Whether `max_output_tokens` is no fact but a length that every model with such a window gives."""
    by_hour: bool = False
    """Whether it costs less at other hours: `price` is that of the dearest."""
    old: bool = False
    """Whether its provider has announced its end, or ended it."""
    given: frozenset[str] = frozenset()
    """The fields that come from settings, by their names there."""


def assumed_output(window: int | None) -> int | None:
    """Returns a length of answer that every model with such a window gives, where nobody named one."""
    return None if window is None else min(16_000, window // 8)
