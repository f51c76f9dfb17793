"""How far a run may go."""

from __future__ import annotations

import msgspec

from holdfast.errors import UsageError

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

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value: object = getattr(self, name)
            whole = name not in ("dollars", "seconds")
            fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
            if value is None and name != "model_retries":
                continue
            if not fits or not value >= 0:  # type: ignore[operator] - a number by now; NaN is not >= 0
                kind = "a whole number from 0" if whole else "a number from 0"
                raise UsageError(f"Limits({name}={value!r}) is no limit: give {kind}, or None for no bound")
