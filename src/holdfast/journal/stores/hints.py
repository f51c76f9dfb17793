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
    """Callbacks by stream."""

    def __init__(self) -> None:
        self._listeners: dict[StreamId, list[_Listener]] = {}

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
        self._listeners.setdefault(stream, []).append(listener)
        return partial(self._stop, stream, listener)

    def _stop(self, stream: StreamId, listener: _Listener) -> None:
        listeners = self._listeners.get(stream, [])
        if listener in listeners:
            listeners.remove(listener)
            if not listeners:
                del self._listeners[stream]

    def wanted(self, stream: StreamId) -> bool:
        """Whether somebody wants to hear of more than mail."""
        for _, _, mail in self._listeners.get(stream, ()):  # noqa: SIM110 - a generator for each append costs more
            if not mail:
                return True
        return False

    def tell(self, stream: StreamId, *, mail: bool) -> None:
        """Hints those who listen to the stream; those who wait for mail only if there may be some."""
        if stream not in self._listeners:
            return
        gone: list[_Listener] = []
        for listener in self._listeners[stream]:
            loop, hint, only_mail = listener
            if only_mail and not mail:
                continue
            running = _running_loop()
            try:
                if loop is running:
                    loop.call_soon(hint)
                else:
                    loop.call_soon_threadsafe(hint)
            except RuntimeError:  # its loop is closed
                gone.append(listener)
        for listener in gone:
            self._listeners[stream].remove(listener)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
