"""Answers to requests: whole ones, and those that are streamed while they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final, final

from holdfast.errors import HoldfastError
from holdfast.models.wire.saying import Saying
from holdfast.server.doors.models.turns.ending import Ended
from holdfast.server.doors.models.turns.turning import Turn
from holdfast.server.problems import Refused
from holdfast.server.streams.port import Stream
from holdfast.types import AssistantMessage, Delta, Reset

__all__ = ("Telling", "whole")

_PEEK: Final = 10.0
"""Seconds until a stream begins of which nothing was said yet: what goes wrong before that is answered with its status.
"""
_Items = AsyncGenerator[Sequence[Delta] | Ended, None]
Noting = Callable[[Ended], Awaitable[None]]


async def whole(turn: Turn, noting: Noting) -> AssistantMessage:
    """Returns the answer; a run that nobody waits for any more is aborted.

    Raises:
        Refused: there is none.
    """
    async with aclosing(_heard(turn, noting)) as items:
        async for item in items:
            if isinstance(item, Ended):
                if item.problem is not None:
                    raise item.problem
                return item.message
    raise Refused(502, "no_answer", "the run ended without an answer: ask again")


@final
class Telling:
    """One answer that is streamed.

    Args:
        turn: What comes.
        saying: Renders it.
        failed: Renders what goes wrong in the middle.
        noting: Is told how it ended.
        kept: Whether the run goes on when nobody listens.
    """

    def __init__(
        self,
        turn: Turn,
        saying: Saying,
        failed: Callable[[Refused], bytes],
        noting: Noting,
        *,
        kept: bool = False,
        beat: bytes = b": keep-alive\n\n",
    ) -> None:
        self._items = _heard(turn, noting, kept=kept)
        self._saying, self._failed, self._beat = saying, failed, beat
        self._said = False

    async def stream(self) -> Stream:
        """Returns the stream, once something is said, or it is known that nothing will be soon.

        Raises:
            Refused: it went wrong before anything was said.
        """
        first = asyncio.ensure_future(anext(self._items))
        try:
            await asyncio.wait((first,), timeout=_PEEK)
            if first.done():
                item = first.result()
                if isinstance(item, Ended) and item.problem is not None:
                    raise item.problem
        except BaseException:
            await _over(first, self._items)
            raise
        return self.stream_now(first)

    def stream_now(self, first: asyncio.Future[Sequence[Delta] | Ended] | None = None) -> Stream:
        """Returns the stream at once."""
        return Stream(pieces=self._pieces(first), failed=self._failed, beat=self._beat)

    async def _pieces(self, first: asyncio.Future[Sequence[Delta] | Ended] | None) -> AsyncGenerator[bytes, None]:
        try:
            yield b"".join(self._saying.begin())
            item = await (first or anext(self._items))
            while True:
                if told := self._told(item):
                    yield told
                if isinstance(item, Ended):
                    return
                item = await anext(self._items)
        finally:
            await _over(first, self._items)

    def _told(self, item: Sequence[Delta] | Ended) -> bytes:
        """Returns the events of what comes.

        Raises:
            Refused: the answer ends without one, or begins again (source: Orloj 6.9).
        """
        if isinstance(item, Ended):
            if item.problem is not None:
                raise item.problem
            return b"".join(self._saying.finish(item.message))
        if self._said and any(isinstance(delta, Reset) for delta in item):
            raise Refused(502, "restarted", "the answer began again after a part of it was sent: ask again")
        told = b"".join(self._saying.more(item))
        self._said = self._said or bool(told)
        return told


async def _heard(turn: Turn, noting: Noting, *, kept: bool = False) -> _Items:
    """Yields what comes, and notes how it ended; a run whose answer nobody waits for is aborted."""
    over = kept
    try:
        async with aclosing(turn.items()) as items:
            async for item in items:
                if isinstance(item, Ended):
                    over = True
                    await noting(item)
                yield item
    finally:
        if not over:
            with suppress(HoldfastError):
                await turn.run.abort("whoever asked is gone")


async def _over(first: asyncio.Future[Any] | None, items: _Items) -> None:
    """Ends what was listened to; whoever waits for its first word is told to stop."""
    if first is not None:
        if not first.done():
            first.cancel()
        await asyncio.wait((first,))
        if not first.cancelled():
            first.exception()
    await items.aclose()
