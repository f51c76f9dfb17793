"""How far a run may go."""

from __future__ import annotations

import msgspec

__all__ = ("Limits",)


class Limits(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """Bounds of one run; `None` means unbounded. A run that meets one stops with `status="limited"` and keeps
    what it has.
    """

    steps: int | None = 200
    """Model calls."""
    tool_calls: int | None = None
    """Tool calls, refused ones included."""
    tokens: int | None = None
    """Input and output tokens together, lost calls at their reservation."""
    dollars: float | None = None
    """US dollars; needs a model whose price is known."""
    seconds: float | None = None
    """Wall time since the run started, waiting included."""
    consecutive_errors: int | None = 10
    """Steps in a row of which every tool call failed."""
    identical_repeats: int | None = 5
    """How often in a row the same calls may come back with the same results."""
    model_retries: int = 2
    """Retries of one model call whose error says that trying again may help."""
