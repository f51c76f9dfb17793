"""A session that this process drives, and what drives it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import final

import msgspec

from holdfast.engine.attempt import Attempt
from holdfast.engine.decide import decide
from holdfast.engine.loop import Decide

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

    @property
    def is_ending(self) -> bool:
        """Whether it was told to end, or may have been by mail that is being looked at; or has ended, and that is being
        written down.
        """
        state = self.attempt.state
        told = self.attempt.stopping or (not state.queue if state.run is None else state.run.abort is not None)
        return self.task is not None and not self.task.done() and (told or self.glance is not None)
