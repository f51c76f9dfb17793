"""Who wants to hear that a stream may have changed.

Hints carry nothing and promise nothing. They run as callbacks of the event loop in which they were asked for,
never inside the call that caused them: an error in one cannot look like a failed append.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from holdfast.types import StreamId

__all__ = ("Hints",)


_Listener = tuple[asyncio.AbstractEventLoop, Callable[[], None], bool]


class Hints:
    """Callbacks by stream; others may be told of from any thread, and one thread at a time says that it listens."""

    def __init__(self) -> None:
        self._listeners: dict[StreamId, tuple[_Listener, ...]] = {}

    def __len__(self) -> int:
        """Returns how many streams are listened to."""
        return len(self._listeners)

    @property
    def streams(self) -> tuple[StreamId, ...]:
        """The streams that are listened to."""
        return tuple(self._listeners)

    def listen(self, stream: StreamId, hint: Callable[[], None], *, mail: bool = False) -> Callable[[], None]:
        """Calls `hint` in this event loop whenever the stream (or, with `mail`, its inbox) is told of; returns how
        to stop it.
        """
        listener = (asyncio.get_running_loop(), hint, mail)
        self._listeners[stream] = (*self._listeners.get(stream, ()), listener)
        return partial(self._stop, stream, listener)

    def _stop(self, stream: StreamId, listener: _Listener) -> None:
        listeners = self._listeners.get(stream, ())
        if others := tuple([each for each in listeners if each is not listener]):
            self._listeners[stream] = others
        else:
            self._listeners.pop(stream, None)

    def wanted(self, stream: StreamId) -> bool:
        """Whether somebody wants to hear of more than mail."""
        for _, _, mail in self._listeners.get(stream, ()):  # noqa: SIM110 - a generator for each append costs more
            if not mail:
                return True
        return False

    def tell(self, stream: StreamId, *, mail: bool) -> None:
        """Hints those who listen to the stream; those who wait for mail only if there may be some."""
        listeners = self._listeners.get(stream)
        if listeners is None:
            return
        for listener in listeners:
            if (mail or not listener[2]) and not _call(listener):
                self._stop(stream, listener)


def _call(listener: _Listener) -> bool:
    """Hints one that listens, and returns whether its loop still runs."""
    loop, hint, _ = listener
    try:
        if loop is _running_loop():
            loop.call_soon(hint)
        else:
            loop.call_soon_threadsafe(hint)
    except RuntimeError:  # its loop is closed
        return False
    return True


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
