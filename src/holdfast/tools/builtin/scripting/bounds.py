"""How much a script may do: a light tier for most, and a full one for those that ask models or do much."""

from __future__ import annotations

import ast
from typing import Final, Literal

import msgspec

__all__ = ("AT_ONCE", "FULL", "LIGHT", "LONGEST_KEY", "Bounds", "Over", "bounds_for")

AT_ONCE: Final = 5
"""Model calls of a script that overlap."""
LONGEST_KEY: Final = 512
"""Characters of a key of its store."""
_ASKS = frozenset(("llm_batch", "llm_call"))


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What one script may use; bytes, unless it says otherwise."""

    tier: Literal["light", "full"]
    steps: int
    """Calls of any kind."""
    seconds: float
    """Wall time of one go: what waits for a person or a model is not running."""
    trace: int
    result: int
    store: int
    value: int
    memory: int
    """Of its interpreter."""
    llm_calls: int = 0
    llm_tokens: int = 0
    llm_dollars: float = 0.0


LIGHT: Final = Bounds(
    tier="light",
    steps=50,
    seconds=10.0,
    trace=256 * 1024,
    result=256 * 1024,
    store=16 * 1024**2,
    value=4 * 1024**2,
    memory=256 * 1024**2,
)
FULL: Final = Bounds(
    tier="full",
    steps=500,
    seconds=300.0,
    trace=4 * 1024**2,
    result=1024**2,
    store=512 * 1024**2,
    value=64 * 1024**2,
    memory=1024**3,
    llm_calls=50,
    llm_tokens=200_000,
    llm_dollars=20.0,
)


class Over(msgspec.Struct, frozen=True):
    """Why a script has to end: it met the limit of that name."""

    limit: str
    message: str


def bounds_for(code: str, max_steps: int | None) -> Bounds:
    """Returns what a script may use, by what is written in it and how many calls it wants to make."""
    full = (max_steps is not None and max_steps > LIGHT.steps) or _asks(code)
    bounds = FULL if full else LIGHT
    return bounds if max_steps is None else msgspec.structs.replace(bounds, steps=min(bounds.steps, max_steps))


def _asks(code: str) -> bool:
    """Returns whether a program names what asks a model; one that is none asks nobody."""
    if not any(name in code for name in _ASKS):
        return False
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # its author reads why when it is run
        return False
    return any(isinstance(node, ast.Name) and node.id in _ASKS for node in ast.walk(tree))
