"""How far a run may go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import astuple

from holdfast.errors import UsageError
from holdfast.errors.hinting import hint

__all__ = ("Limits",)

_SEEN: set[tuple[type, ...]] = set()
"""Types of values that were found right; there are few combinations."""


_ALWAYS = ("model_retries", "depth", "children", "descendants", "calls_at_once")
"""Limits that there always are."""


class _Named(msgspec.StructMeta):
    """Says of a limit that there is none of that name which one was meant; what is decoded does not come by here."""

    if not TYPE_CHECKING:  # who checks types knows the names

        def __call__(cls, *given: Any, **named: Any) -> Any:
            try:
                return super().__call__(*given, **named)
            except TypeError:
                if given:
                    raise UsageError("limits are given by name: Limits(steps=50)") from None
                for name in named:
                    if name not in cls.__struct_fields__:
                        raise UsageError(f"there is no limit {name!r}: {hint(name, cls.__struct_fields__)}") from None
                raise


class Limits(msgspec.Struct, metaclass=_Named, frozen=True, gc=False, kw_only=True, omit_defaults=True):
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
    last_answer: bool = False
    """Whether a run that meets the limit of steps, tool calls, errors or repeats is asked once more, without tools, so
    that it can say what it came to."""
    press_on: bool = True
    """Whether a model that used tools and ends by only announcing what it does next is told, once, to do it."""
    depth: int = 5
    """How deep agents may start one another below this run; 0 lets it start none."""
    children: int = 20
    """Agents that this run may start."""
    descendants: int = 100
    """Agents that this run, those it starts, and so on may start together; said of the run at the root."""
    model_retries: int = 2
    """Retries of one model call whose error says that trying again may help."""
    calls_at_once: int = 32
    """Tool calls of a turn that overlap; the others wait their turn, and those that change files always do."""

    def __post_init__(self) -> None:
        values: tuple[Any, ...] = astuple(self)
        kinds = tuple(map(type, values))
        if kinds in _SEEN and min(filter(bool, values), default=0) >= 0 and self.calls_at_once:
            return  # every run reads its limits again: what was right with values of these types is right now
        self._check()
        if float not in kinds:  # NaN is not compared
            _SEEN.add(kinds)

    def _check(self) -> None:
        if self.calls_at_once == 0:
            raise UsageError("Limits(calls_at_once=0) would let no call run: give a whole number from 1")
        for name in self.__struct_fields__:
            value: object = getattr(self, name)
            if name in ("last_answer", "press_on") and isinstance(value, bool):
                continue
            whole = name not in ("dollars", "seconds")
            fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
            if value is None and name not in _ALWAYS:
                continue
            if not fits or not value >= 0:  # type: ignore[operator] - a number by now; NaN is not >= 0
                kind = "a whole number from 0" if whole else "a number from 0"
                raise UsageError(f"Limits({name}={value!r}) is no limit: give {kind}, or None for no bound")
