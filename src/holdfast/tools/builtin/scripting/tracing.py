"""What a script did, call by call, and how much of each: for whoever reads its result."""

from __future__ import annotations

from typing import Any, final

import msgspec

__all__ = ("Stats", "Trace")

_SHOWN = 2_000
"""Characters of what a call was given, or came to."""


class Stats(msgspec.Struct):
    """How much a script did."""

    steps: int = 0
    duration_ms: int = 0
    """Of its last go."""
    tool_calls: int = 0
    discover_calls: int = 0
    describe_calls: int = 0
    llm_calls: int = 0
    llm_tokens_used: int = 0
    llm_cost_usd: float = 0.0
    """As far as prices are known."""
    store_ops: int = 0


class Step(msgspec.Struct, frozen=True):
    """One call."""

    kind: str
    name: str
    input: str
    output: str
    error: str
    duration_ms: int


@final
class Trace:
    """The calls of a script, as far as they fit."""

    def __init__(self, limit: int) -> None:
        self.steps: list[Step] = []
        self.truncated = False
        self._left = limit

    def add(self, kind: str, name: str, given: Any, came: Any, error: str, duration_ms: int) -> None:
        """Notes a call."""
        step = Step(kind, name[:200], _shown(given), _shown(came), error[:_SHOWN], duration_ms)
        size = len(msgspec.json.encode(step))
        if self.truncated or size > self._left:
            self.truncated = True
            return
        self._left -= size
        self.steps.append(step)

    def first(self, size: int) -> list[Step]:
        """Returns the first calls, as many as have so many bytes."""
        shown: list[Step] = []
        for step in self.steps:
            size -= len(msgspec.json.encode(step))
            if size < 0:
                break
            shown.append(step)
        return shown


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"
