"""A session that this process drives, and what drives it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import final

import msgspec

from holdfast.engine.attempt import Attempt
from holdfast.engine.decide import Decision, decide
from holdfast.engine.loop import Decide
from holdfast.engine.state import Call, State

__all__ = ("Live",)


@final
class Live(msgspec.Struct, eq=False):
    """A session this process drives. Nothing it holds refers back to it, so that none is left to the garbage
    collector.
    """

    attempt: Attempt
    stop_listening: Callable[[], None]
    decide: Decide = decide
    task: asyncio.Task[None] | None = None
    fenced: bool = False
    failed: bool = False
    """Whether it cannot go on, and is about to be let go."""
    glance: asyncio.Task[None] | None = None
    hinted: bool = False
    """Whether mail may have come since the glance that is under way began."""

    def step(self, state: State, now: int) -> Decision:
        """Returns what to do next; how that is decided may change while it is driven."""
        return self.decide(state, now)

    @property
    def is_doing(self) -> bool:
        """Whether a call is under way that cannot be made again when it is left in the middle."""
        return any(
            each.result is None and each.wait is None and _once(each) for each in self.attempt.state.calls.values()
        )

    @property
    def is_ending(self) -> bool:
        """Whether it was told to end, or may have been by mail that is being looked at; or has ended, and that is being
        written down.
        """
        state = self.attempt.state
        told = self.attempt.stopping or (not state.queue if state.run is None else state.run.abort is not None)
        return self.task is not None and not self.task.done() and (told or self.glance is not None)


def _once(call: Call) -> bool:
    """Whether nobody could say what became of a call that is cut off (see `recovering.py`)."""
    if (started := call.started) is None:
        return False
    effect = started.effect
    return effect.outside not in ("none", "keyed") or (effect.workspace and started.snapshot is None)
