"""The port of interpreters for snippets: code goes in, an answer comes out, and nothing stays.

A snippet is run in an interpreter that nobody has used before and nobody uses after it. It sees the inputs, what of the
standard library needs no operating system, and what its host lets it call. How it ended is a value, never an exception:
what a snippet does wrong is for its author to read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, Protocol

import msgspec

__all__ = ("USUAL", "Calls", "Ending", "Interpreter", "SnippetLimits", "SnippetResult")

Ending = Literal["ok", "error", "memory", "cpu", "wall", "output"]
"""How a snippet ended: well, by its own fault, or at the limit of that name."""

Calls = Callable[[str, Any], Awaitable[Any]]
"""What `call(name, arguments)` in a snippet does: both of these are JSON values, and so is what comes back.

A `HoldfastError` becomes an exception in the snippet; anything else ends the snippet and reaches whoever runs it.
"""


class SnippetLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much a snippet may use."""

    fuel: int = 20_000_000_000
    """Instructions, about: the same snippet uses the same number each time. A second is some 8 * 10**9 of them."""
    memory: int = 128 * 1024**2
    """Bytes, the interpreter's own included."""
    wall: float = 10.0
    """Seconds, with what it waits for in its calls."""
    output: int = 256 * 1024
    """Bytes it may print, and bytes its answer and what it passes to each call may have as JSON."""


USUAL: Final = SnippetLimits()
"""What a snippet may use when nobody says otherwise."""


class SnippetResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a snippet."""

    ended: Ending
    answer: Any = None
    """The value of its last expression, or else of its variable `result`; a JSON value."""
    printed: str = ""
    """What it printed, as text that is safe to show; at most `SnippetLimits.output` bytes of it."""
    error: str = ""
    """Its traceback, or what stopped it."""
    seconds: float = 0.0
    """Wall time from its first instruction on."""
    fuel: int = 0
    """Instructions used, about."""


class Interpreter(Protocol):
    """A source of fresh interpreters."""

    async def run(
        self,
        code: str,
        *,
        inputs: Any = None,
        limits: SnippetLimits = USUAL,
        calls: Calls | None = None,
        seed: int | None = None,
    ) -> SnippetResult:
        """Runs a snippet to its end; in it, `inputs` is the JSON value given here.

        With a `seed` it does the same each time, as far as its calls come to the same: its random numbers follow from
        that, all of them, and its clock begins with 1970 and goes on by a millisecond whenever it is looked at.

        Nothing is left of it afterwards, whatever it did. Cancelling ends it, also in an endless loop. The event loop
        is never kept waiting.

        Raises:
            IsolationMissing: such interpreters cannot be had here; nothing was run.
            UsageError: the inputs are no JSON value.
        """
        ...
